//! W5 and W5h: translating addresses of W1.

use std::hint::black_box;

use anyhow::{Context, Result};
use nested_paging::GuestPhysAddr;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{
    GIB, GUEST, HOST, OPERATIONS, Workload, guest, random_numbers, verify_linear,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Where an address leads, and nothing else: W5h.
    Host,
    /// That, what the guest may do there, and how large the leaf is: W5.
    Leaf,
}

/// Translates pseudo-random addresses in 1 GiB of pages.
#[derive(Clone, Debug)]
pub(crate) struct Translate {
    answer: Answer,
    /// Whole addresses, so that the compiler does not know that all walks begin alike.
    addresses: Vec<GuestPhysAddr>,
}

impl Translate {
    /// The workload, with its addresses.
    pub(crate) fn new(answer: Answer) -> Self {
        let offsets = random_numbers(OPERATIONS, GIB as u32).into_iter();
        let address = |offset| GuestPhysAddr::new(GUEST.as_u64() + u64::from(offset));
        let addresses = offsets.map(address).collect();
        Self { answer, addresses }
    }

    /// What is asked for.
    pub(crate) const fn answer(&self) -> Answer {
        self.answer
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> &[GuestPhysAddr] {
        &self.addresses
    }
}

impl Workload for Translate {
    fn name(&self) -> &'static str {
        match self.answer {
            Answer::Host => "W5h",
            Answer::Leaf => "W5",
        }
    }

    fn units(&self) -> u64 {
        OPERATIONS
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        table.map(guest(GIB)?, HOST, Access::ReadWrite)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let mut sum = 0_u64;
        for table in tables {
            for &address in self.addresses() {
                sum = sum.wrapping_add(match self.answer {
                    Answer::Host => table.host_of(address).context("not mapped")?.as_u64(),
                    Answer::Leaf => table.translate(address).context("not mapped")?.sum(),
                });
            }
        }
        black_box(sum);
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        verify_linear(tables, HOST, GIB)
    }
}
