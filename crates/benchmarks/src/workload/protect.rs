//! W4: protecting all of W1.

use anyhow::Result;

use crate::contender::{Leaves, PageTable};
use crate::workload::{
    GIB, HOST, PAGES, SAMPLES, Workload, guest, guest_page, random_numbers, verify_equal,
    verify_linear,
};

/// Makes 1 GiB of writable pages read-only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protect;

impl Workload for Protect {
    fn name(&self) -> &'static str {
        "W4"
    }

    fn units(&self) -> u64 {
        PAGES
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        table.map(guest(GIB)?, HOST)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let range = guest(GIB)?;
        for table in tables {
            table.protect(range)?;
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        verify_linear(tables, HOST, GIB)?;
        for table in tables {
            for number in random_numbers(SAMPLES, PAGES as u32) {
                let page = guest_page(number);
                verify_equal(page, table.is_writable(page), Some(false))?;
            }
        }
        Ok(())
    }
}
