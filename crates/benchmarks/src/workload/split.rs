//! W8: unmapping a page in each of many huge leaves.

use anyhow::{Context, Result};
use nested_paging::HostPhysAddr;
use nested_paging::guest_addr::PAGE_SIZE_4K;

use crate::contender::{Access, Leaves, PageTable};
use crate::workload::{
    BLOCK_2M, GIB, GUEST, HOST, PAGES, Workload, guest, guest_page, verify_absent_around,
    verify_equal,
};

/// Where the leaves lead: not to a multiple of 1 GiB.
const TARGET: HostPhysAddr = HostPhysAddr::new(HOST.as_u64() + BLOCK_2M);
const LEAVES: u32 = (GIB / BLOCK_2M) as u32;
const PAGES_OF_LEAF: u32 = PAGES as u32 / LEAVES;

/// Unmaps the first page of each of 512 leaves of 2 MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split;

impl Workload for Split {
    fn name(&self) -> &'static str {
        "W8"
    }

    fn units(&self) -> u64 {
        u64::from(LEAVES)
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        let mut table = T::new(Leaves::Largest)?;
        table.map(guest(GIB)?, TARGET, Access::ReadWrite)?;
        Ok(vec![table])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        for table in tables {
            for leaf in 0..LEAVES {
                table.unmap_page_of_leaf(guest_page(leaf * PAGES_OF_LEAF))?;
            }
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        for table in tables {
            for offset in (0..GIB).step_by(PAGE_SIZE_4K as usize) {
                let address = GUEST.checked_add(offset).context("past the end")?;
                let is_first = offset.is_multiple_of(BLOCK_2M);
                let expected = TARGET.checked_add(offset).filter(|_| !is_first);
                verify_equal(address, table.host_of(address), expected)?;
            }
            verify_absent_around(table, GIB)?;
        }
        Ok(())
    }
}
