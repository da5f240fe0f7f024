//! W3: unmapping all of W1.

use anyhow::Result;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{GIB, HOST, PAGES, Workload, guest, verify_absent};

/// Unmaps 1 GiB of pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unmap;

impl Workload for Unmap {
    fn name(&self) -> &'static str {
        "W3"
    }

    fn units(&self) -> u64 {
        PAGES
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        table.map(guest(GIB)?, HOST, Access::ReadWrite)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let range = guest(GIB)?;
        for table in tables {
            table.unmap(range)?;
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        tables
            .iter()
            .try_for_each(|table| verify_absent(table, GIB))
    }
}
