//! W5: translating addresses of W1.

use std::hint::black_box;

use anyhow::{Context, Result};
use nested_paging::GuestPhysAddr;

use crate::contender::{Leaves, PageTable};
use crate::workload::{
    GIB, GUEST, HOST, OPERATIONS, Workload, guest, random_numbers, verify_linear,
};

/// Translates pseudo-random addresses in 1 GiB of pages.
#[derive(Clone, Debug)]
pub(crate) struct Translate {
    /// Whole addresses, so that the compiler does not know that all walks begin alike.
    addresses: Vec<GuestPhysAddr>,
}

impl Translate {
    /// The workload, with its addresses.
    pub(crate) fn new() -> Self {
        let offsets = random_numbers(OPERATIONS, GIB as u32).into_iter();
        let address = |offset| GuestPhysAddr::new(GUEST.as_u64() + u64::from(offset));
        let addresses = offsets.map(address).collect();
        Self { addresses }
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> &[GuestPhysAddr] {
        &self.addresses
    }
}

impl Workload for Translate {
    fn name(&self) -> &'static str {
        "W5"
    }

    fn units(&self) -> u64 {
        OPERATIONS
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        table.map(guest(GIB)?, HOST)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let mut sum = 0_u64;
        for table in tables {
            for &address in self.addresses() {
                let host = table.translate(address).context("not mapped")?;
                sum = sum.wrapping_add(host.as_u64());
            }
        }
        black_box(sum);
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        verify_linear(tables, HOST, GIB)
    }
}
