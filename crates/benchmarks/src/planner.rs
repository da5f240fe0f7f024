//! W10: planning many regions.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::region_planner::{Region, plan};
use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::contender::PageTable;
use crate::floor::FloorTable;
use crate::trial::Trial;

/// How many regions there are.
pub(crate) const REGIONS: u64 = 1_000_000;
/// How far the host's address is above the guest's.
const OFFSET: u64 = 0x100_0000_0000;

/// The regions, in random order, and what is to come of them.
pub(crate) struct Regions {
    regions: Vec<Region<'static>>,
    mappings: usize,
}

impl Regions {
    /// Devices of one page, up to three pages apart: every fourth touches the one before, and merges.
    pub(crate) fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(REGIONS);
        let (mut page, mut mappings) = (0, 0);
        let mut next = |_| {
            let gap = random.u64(0..4);
            mappings += usize::from(gap > 0 || page == 0);
            page += 1 + gap;
            let address = page * PAGE_SIZE_4K;
            let (guest, host) = (
                GuestPhysAddr::new(address),
                HostPhysAddr::new(address + OFFSET),
            );
            Region::passthrough("device", guest, host, PAGE_SIZE_4K)
        };
        let mut regions: Vec<_> = (0..REGIONS).map(&mut next).collect();
        random.shuffle(&mut regions);
        Self { regions, mappings }
    }
}

/// The planner.
pub(crate) struct Planner<'w> {
    input: &'w Regions,
    regions: Vec<Region<'static>>,
    mappings: usize,
}

impl<'w> Planner<'w> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(input: &'w Regions) -> Self {
        Self {
            input,
            regions: Vec::new(),
            mappings: 0,
        }
    }
}

impl Trial for Planner<'_> {
    fn contender(&self) -> &'static str {
        "region-planner"
    }

    fn prepare(&mut self) -> Result<()> {
        self.regions.clone_from(&self.input.regions);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let plan = plan(&mut self.regions).ok().context("no two conflict")?;
        self.mappings = plan.mapping_count();
        black_box(plan);
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let (found, expected) = (self.mappings, self.input.mappings);
        ensure!(found == expected, "{found} mappings, not {expected}");
        Ok(())
    }

    fn clean_up(&mut self) {}
}

/// Sorting the same array.
pub(crate) struct SortFloor<'w> {
    input: &'w Regions,
    regions: Vec<Region<'static>>,
}

impl<'w> SortFloor<'w> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(input: &'w Regions) -> Self {
        let regions = Vec::new();
        Self { input, regions }
    }
}

impl Trial for SortFloor<'_> {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.regions.clone_from(&self.input.regions);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.regions.sort_unstable_by_key(Region::guest);
        black_box(self.regions.as_mut_slice());
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        ensure!(self.regions.is_sorted_by_key(Region::guest), "not sorted");
        Ok(())
    }

    fn clean_up(&mut self) {}
}
