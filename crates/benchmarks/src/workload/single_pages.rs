//! W6, W6f and W6s: mapping and unmapping single pages, over and over.

use anyhow::Result;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{
    BLOCK_2M, GIB, PAGES, Workload, access_in_turn, host_page, placed_page, random_numbers,
    verify_equal,
};

/// Maps and unmaps one random page of 1 GiB at a time. The tables are there before, for those that
/// keep them. `FLAGS`: with two kinds of flags in turn. `SPREAD`: the GiB lies in 64 GiB.
#[derive(Clone, Debug)]
pub(crate) struct SinglePages<const FLAGS: bool = false, const SPREAD: bool = false> {
    /// The pages.
    pub(crate) pages: Vec<u32>,
}

impl<const FLAGS: bool, const SPREAD: bool> SinglePages<FLAGS, SPREAD> {
    /// The workload, with so many pairs.
    pub(crate) fn new(pairs: u64) -> Self {
        let pages = random_numbers(pairs, PAGES as u32);
        Self { pages }
    }
}

impl<const FLAGS: bool, const SPREAD: bool> Workload for SinglePages<FLAGS, SPREAD> {
    fn name(&self) -> &'static str {
        match (FLAGS, SPREAD) {
            (false, false) => "W6",
            (true, false) => "W6f",
            (false, true) => "W6s",
            (true, true) => "W6fs",
        }
    }

    fn units(&self) -> u64 {
        self.pages.len() as u64
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Pages)?;
        for block in 0..GIB / BLOCK_2M {
            let page = (block * PAGES / (GIB / BLOCK_2M)) as u32;
            let guest = placed_page::<SPREAD>(page);
            table.map_page(guest, host_page(page), Access::ReadWrite)?;
            table.unmap_page(guest)?;
        }
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        for table in tables {
            for (turn, &page) in self.pages.iter().enumerate() {
                let guest = placed_page::<SPREAD>(page);
                table.map_page(guest, host_page(page), access_in_turn::<FLAGS>(turn))?;
                table.unmap_page(guest)?;
            }
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        for table in tables {
            for &page in self.pages.iter().step_by(997) {
                let guest = placed_page::<SPREAD>(page);
                verify_equal(guest, table.host_of(guest), None)?;
            }
        }
        Ok(())
    }
}
