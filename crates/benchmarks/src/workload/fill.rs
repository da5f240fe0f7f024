//! W7, W7f and W7s: filling a table page by page.

use std::cell::RefCell;

use anyhow::{Context, Result};
use nested_paging::HostPhysAddr;

use crate::contender::{Leaves, PageTable};
use crate::workload::{
    GIB, PAGES, Workload, access_in_turn, host_page, placed_page, verify_absent_around,
    verify_equal,
};

/// Maps the pages of 1 GiB in random order, each to a frame from an allocator, as faults of a guest
/// would have it. `FLAGS`: with two kinds of flags in turn. `SPREAD`: the GiB lies in 64 GiB.
#[derive(Clone, Debug)]
pub(crate) struct Fill<const FLAGS: bool = false, const SPREAD: bool = false> {
    /// The pages, in their order.
    pub(crate) pages: Vec<u32>,
    /// The allocator: a stack.
    frames: RefCell<Vec<HostPhysAddr>>,
}

impl<const FLAGS: bool, const SPREAD: bool> Fill<FLAGS, SPREAD> {
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

impl<const FLAGS: bool, const SPREAD: bool> Workload for Fill<FLAGS, SPREAD> {
    fn name(&self) -> &'static str {
        match (FLAGS, SPREAD) {
            (false, false) => "W7",
            (true, false) => "W7f",
            (false, true) => "W7s",
            (true, true) => "W7fs",
        }
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
            for (turn, &page) in self.pages.iter().enumerate() {
                let (guest, access) = (placed_page::<SPREAD>(page), access_in_turn::<FLAGS>(turn));
                table.map_page(guest, Self::take_frame(&mut frames)?, access)?;
            }
        }
        Ok(())
    }

    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()> {
        for table in tables {
            for (&page, number) in self.pages.iter().zip(0..).step_by(101) {
                let frame = host_page(PAGES as u32 - 1 - number);
                let page = placed_page::<SPREAD>(page);
                verify_equal(page, table.host_of(page), Some(frame))?;
            }
            verify_absent_around(table, if SPREAD { 64 * GIB } else { GIB })?;
        }
        Ok(())
    }
}
