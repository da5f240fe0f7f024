//! The floor of each workload.

use std::hint::black_box;

use anyhow::{Result, bail};

use crate::contender::PageTable;
use crate::floor::FloorTable;
use crate::trial::Trial;
use crate::workload::{
    Answer, Fill, GUEST, Map, Protect, SinglePages, Split, Translate, Unmap, Workload,
    access_in_turn, host_page, placed_page,
};

/// A workload that has a floor.
pub(crate) trait Floor: Workload {
    /// Does what [`Workload::run`] does, with the least that it takes.
    ///
    /// # Safety
    ///
    /// `tables` are those of [`Workload::prepare`], and nothing was done to them since.
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()>;
}

impl Floor for Map {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        for table in tables {
            let map = match self.leaf_shift() {
                12 => FloorTable::map_pages,
                21 => FloorTable::map_2m,
                30 => FloorTable::map_1g,
                shift => bail!("no floor for leaves of 1 << {shift} bytes"),
            };
            // SAFETY: GUEST is 64 GiB above 0, and no workload maps more than 64 GiB.
            unsafe { map(table, GUEST, self.host, self.gibibytes)? }
        }
        Ok(())
    }
}

impl Floor for Unmap {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        for table in tables {
            // SAFETY: the workload has prepared a GiB of pages.
            unsafe { table.unmap_pages(GUEST) }
        }
        Ok(())
    }
}

impl Floor for Protect {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        for table in tables {
            // SAFETY: the workload has prepared a GiB of pages.
            unsafe { table.protect_pages(GUEST) }
        }
        Ok(())
    }
}

impl Floor for Translate {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        let mut sum = 0_u64;
        for table in tables {
            for &address in self.addresses() {
                // SAFETY: the workload has prepared a GiB of pages, and the addresses lie in it.
                let leaf = unsafe { table.translate_leaf(address, 12) };
                sum = sum.wrapping_add(match self.answer() {
                    Answer::Host => leaf.host.as_u64(),
                    Answer::Leaf => leaf.sum(),
                });
            }
        }
        black_box(sum);
        Ok(())
    }
}

impl<const FLAGS: bool, const SPREAD: bool> Floor for SinglePages<FLAGS, SPREAD> {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        for table in tables {
            for (turn, &page) in self.pages.iter().enumerate() {
                let (guest, access) = (placed_page::<SPREAD>(page), access_in_turn::<FLAGS>(turn));
                // SAFETY: the workload has prepared the tables of a GiB, and the pages lie in it.
                unsafe { table.map_and_unmap_page(guest, host_page(page), access) }
            }
        }
        Ok(())
    }
}

impl<const FLAGS: bool, const SPREAD: bool> Floor for Fill<FLAGS, SPREAD> {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        let mut frames = self.frames();
        for table in tables {
            for (turn, &page) in self.pages.iter().enumerate() {
                let (guest, access) = (placed_page::<SPREAD>(page), access_in_turn::<FLAGS>(turn));
                table.map_new_page(guest, Self::take_frame(&mut frames)?, access)?;
            }
        }
        Ok(())
    }
}

impl Floor for Split {
    unsafe fn run_floor(&self, tables: &mut [FloorTable]) -> Result<()> {
        for table in tables {
            // SAFETY: the workload has prepared 512 leaves of 2 MiB.
            unsafe { table.split(GUEST)? }
        }
        Ok(())
    }
}

/// The floor of the workload `W`.
pub(crate) struct FloorTrial<'w, W> {
    workload: &'w W,
    tables: Vec<FloorTable>,
    /// Whether nothing was done to the tables since they were prepared.
    is_prepared: bool,
}

impl<'w, W> FloorTrial<'w, W> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(workload: &'w W) -> Self {
        Self {
            workload,
            tables: Vec::new(),
            is_prepared: false,
        }
    }
}

impl<W: Floor> Trial for FloorTrial<'_, W> {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.tables = self.workload.prepare()?;
        self.is_prepared = true;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        if !self.is_prepared {
            bail!("the floor has no tables");
        }
        self.is_prepared = false;
        // SAFETY: the tables are as the workload has prepared them.
        unsafe { self.workload.run_floor(&mut self.tables) }
    }

    fn verify(&self) -> Result<()> {
        self.workload.verify(&self.tables)
    }

    fn clean_up(&mut self) {
        self.tables.clear();
    }
}
