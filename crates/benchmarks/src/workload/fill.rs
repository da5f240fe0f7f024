//! W7: filling a table page by page.

use std::cell::RefCell;

use anyhow::{Context, Result};
use nested_paging::HostPhysAddr;

use crate::contender::{Leaves, PageTable};
use crate::workload::{PAGES, Workload, guest_page, host_page, verify_absent_around, verify_equal};

/// Maps the pages of 1 GiB in random order, each to a frame from an allocator, as faults of a guest
/// would have it.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    /// The pages, in their order.
    pub(crate) pages: Vec<u32>,
    /// The allocator: a stack.
    frames: RefCell<Vec<HostPhysAddr>>,
}

impl Fill {
    /// The workload, for the first `count` pages of the order.
    pub(crate) fn new(count: usize) -> Self {
        let mut pages: Vec<u32> = (0..PAGES as u32).collect();
        fastrand::Rng::with_seed(PAGES).shuffle(&mut pages);
        pages.truncate(count);
        let frames = RefCell::default();
        Self { pages, frames }
    }

    /// The next frame.
    #[inline]
    pub(crate) fn take_frame(frames: &mut Vec<HostPhysAddr>) -> Result<HostPhysAddr> {
        frames.pop().context("no frame for a page")
    }

    /// The frames, for one run.
    pub(crate) fn frames(&self) -> Vec<HostPhysAddr> {
        self.frames.take()
    }
}

impl Workload for Fill {
    fn name(&self) -> &'static str {
        "W7"
    }

    fn units(&self) -> u64 {
        self.pages.len() as u64
    }

    fn prepare<T: PageTable>(&self) -> Result<Vec<T>> {
        *self.frames.borrow_mut() = (0..PAGES as u32).map(host_page).collect();
        Ok(vec![T::new(Leaves::Pages)?])
    }

    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()> {
        let mut frames = self.frames();
        for table in tables {
            for &page in &self.pages {
                table.map_page(guest_page(page), Self::take_frame(&mut frames)?)?;
            }
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        for table in tables {
            for (&page, number) in self.pages.iter().zip(0..).step_by(101) {
                let frame = host_page(PAGES as u32 - 1 - number);
                let page = guest_page(page);
                verify_equal(page, table.translate(page), Some(frame))?;
            }
            verify_absent_around(table, PAGES << 12)?;
        }
        Ok(())
    }
}
