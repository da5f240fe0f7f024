//! W6: mapping and unmapping single pages, over and over.

use anyhow::Result;

use crate::contender::{Leaves, PageTable};
use crate::workload::{
    BLOCK_2M, GIB, PAGES, Workload, guest_page, host_page, random_numbers, verify_absent,
};

/// Maps and unmaps one random page of 1 GiB at a time. The tables are there before, for those that
/// keep them.
#[derive(Clone, Debug)]
pub(crate) struct SinglePages {
    /// The pages.
    pub(crate) pages: Vec<u32>,
}

impl SinglePages {
    /// The workload, with so many pairs.
    pub(crate) fn new(pairs: u64) -> Self {
        let pages = random_numbers(pairs, PAGES as u32);
        Self { pages }
    }
}

impl Workload for SinglePages {
    fn name(&self) -> &'static str {
        "W6"
    }

    fn units(&self) -> u64 {
        self.pages.len() as u64
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        for block in 0..GIB / BLOCK_2M {
            let page = (block * PAGES / (GIB / BLOCK_2M)) as u32;
            table.map_page(guest_page(page), host_page(page))?;
            table.unmap_page(guest_page(page))?;
        }
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        for table in tables {
            for &page in &self.pages {
                table.map_page(guest_page(page), host_page(page))?;
                table.unmap_page(guest_page(page))?;
            }
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        tables
            .iter()
            .try_for_each(|table| verify_absent(table, GIB))
    }
}
