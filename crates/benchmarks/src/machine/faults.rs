//! W13: faults on memory that is filled on first use.
#![expect(unsafe_code, reason = "the floor clears frames")]

use std::ptr;

use anyhow::{Context, Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::{FaultOutcome, MapType, MemoryRegion, Population, VmConfig};
use nested_paging::nested_page_table::{LeafPolicy, Level};
use nested_paging::{HostPhysAddr, MappingFlags, Vm};

use crate::contender::nested::{Backend, CountingHost, Ept, Nested};
use crate::contender::{Access, Leaves, PageTable};
use crate::floor::FloorTable;
use crate::frames;
use crate::machine::{CountingHal, Machine, NAME};
use crate::trial::Trial;
use crate::workload::{GUEST, guest_page};

/// The pages: 32 MiB.
const FAULTS: usize = 8192;

/// The pages, in the order in which the guest uses them.
fn pages() -> Vec<u32> {
    let mut pages: Vec<u32> = (0..FAULTS as u32).collect();
    fastrand::Rng::with_seed(FAULTS as u64).shuffle(&mut pages);
    pages
}

/// Handles a fault at each page of lazy memory, in random order.
pub(crate) struct HandleFaults {
    pages: Vec<u32>,
    machine: Option<Machine>,
}

impl HandleFaults {
    /// How many units a round does.
    pub(crate) const UNITS: u64 = FAULTS as u64;

    /// The trial, with nothing prepared.
    pub(crate) fn new() -> Self {
        Self {
            pages: pages(),
            machine: None,
        }
    }
}

impl Trial for HandleFaults {
    fn contender(&self) -> &'static str {
        NAME
    }

    fn prepare(&mut self) -> Result<()> {
        let mut config = VmConfig::new(1, "benchmark", Ept::format()?);
        config.leaf_policy = LeafPolicy::up_to(Level::PAGE_4K);
        let flags = u64::from(MappingFlags::READ_WRITE.bits());
        let size = Self::UNITS * PAGE_SIZE_4K;
        let ram = MemoryRegion::new("ram", GUEST, size, flags, MapType::Alloc);
        let lazy = ram.with_population(Population::ON_FIRST_USE);
        config.memory_regions.push(lazy);
        let machine = Vm::new(config, CountingHal::default());
        self.machine = Some(machine.context("the machine is not made")?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        for &page in &self.pages {
            let outcome = machine.handle_page_fault(guest_page(page), MappingFlags::WRITE)?;
            ensure!(outcome == FaultOutcome::Filled, "{outcome:?}");
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let machine = self.machine.as_ref().context("no machine")?;
        let mapped = machine.statistics().mapped_bytes;
        ensure!(mapped == Self::UNITS * PAGE_SIZE_4K, "{mapped} bytes");
        Ok(())
    }

    fn clean_up(&mut self) {
        self.machine = None;
    }
}

/// Takes and clears as many frames, and maps each with a table alone.
pub(crate) struct ZeroAndMap {
    pages: Vec<u32>,
    table: Option<Nested<Ept, CountingHost>>,
    frames: Vec<HostPhysAddr>,
}

impl ZeroAndMap {
    /// The trial, with nothing prepared.
    pub(crate) fn new() -> Self {
        Self {
            pages: pages(),
            table: None,
            frames: Vec::with_capacity(FAULTS),
        }
    }
}

impl Trial for ZeroAndMap {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.table = Some(Nested::new(Leaves::Pages)?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let table = self.table.as_mut().context("no table")?;
        for &page in &self.pages {
            let frame = frames::take().context("no frame")?;
            // SAFETY: the frame was just taken, and is as long as that.
            unsafe { ptr::write_bytes(frames::pointer(frame), 0, PAGE_SIZE_4K as usize) };
            table.map_page(guest_page(page), frame, Access::ReadWrite)?;
            self.frames.push(frame);
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let table = self.table.as_ref().context("no table")?;
        let mapped =
            |(page, frame): (&u32, &HostPhysAddr)| table.host_of(guest_page(*page)) == Some(*frame);
        let mut pages = self.pages.iter().zip(&self.frames);
        ensure!(pages.all(mapped), "not mapped");
        Ok(())
    }

    fn clean_up(&mut self) {
        self.table = None;
        for frame in self.frames.drain(..) {
            // SAFETY: it was taken in `run`, and the table that led to it is gone.
            unsafe { frames::give_back(frame) }
        }
    }
}
