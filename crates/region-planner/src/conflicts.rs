//! Which regions may not stand together.

use alloc::vec::Vec;

use guest_addr::GuestPhysAddr;

use crate::class::Class;
use crate::error::{OverlapReason, PlanError};
use crate::owned::OwnedPages;
use crate::pages::Pages;
use crate::reach::{Reach, Reached};
use crate::region::{Origin, Region};

/// Sees the sorted regions one by one and names, for each, an earlier one that it conflicts with.
#[derive(Debug)]
pub(crate) struct Conflicts<'r, 'a> {
    regions: &'r [Region<'a>],
    owned: &'r OwnedPages,
    /// RAM and emulated regions.
    owners: Reach,
    /// Explicit passthrough regions.
    explicit: Reach,
    /// Device-tree regions, without the owned pages at their ends.
    device_tree: Reach,
    /// The last requested byte of RAM so far, and whose it is.
    ram: Option<(GuestPhysAddr, u32)>,
}

impl<'r, 'a> Conflicts<'r, 'a> {
    pub(crate) const fn new(regions: &'r [Region<'a>], owned: &'r OwnedPages) -> Self {
        Self {
            regions,
            owned,
            owners: Reach::NOTHING,
            explicit: Reach::NOTHING,
            device_tree: Reach::NOTHING,
            ram: None,
        }
    }

    /// Compares `region`, which stands at `index`, with the earlier ones and remembers it.
    ///
    /// `pages` are its pages, trimmed when a device tree is its origin. One overlap is reported
    /// when there are any, and one of requested RAM besides when that is with another region.
    #[inline]
    pub(crate) fn check(
        &mut self,
        region: &Region<'a>,
        index: u32,
        pages: Pages,
        class: Class,
        errors: &mut Vec<PlanError<'a>>,
    ) {
        let overlap = self.find_overlap(region, pages, class);
        let ram = self.find_requested_ram(region, index);
        if overlap.is_some() || ram.is_some() {
            self.report(region, overlap, ram, errors);
        }
        let end = pages.end;
        let group = match region.origin() {
            Origin::DeviceTree => &mut self.device_tree,
            Origin::Explicit if region.owns_pages() => &mut self.owners,
            Origin::Explicit => &mut self.explicit,
        };
        group.record(Reached { end, class, index });
    }

    #[inline]
    fn find_overlap(&self, region: &Region<'a>, pages: Pages, class: Class) -> Option<u32> {
        let explicit = self.explicit.conflict(pages.start, class);
        if region.origin() == Origin::DeviceTree {
            return explicit.or_else(|| self.device_tree.conflict(pages.start, class));
        }
        let owner = self.owners.conflict(pages.start, class).or(explicit);
        if owner.is_some() || region.owns_pages() || self.device_tree.is_empty() {
            return owner;
        }
        let trimmed = self.owned.trim(pages)?;
        self.device_tree.conflict(trimmed.start, class)
    }

    /// The earlier RAM region that has the first byte of this one.
    #[inline]
    fn find_requested_ram(&mut self, region: &Region<'a>, index: u32) -> Option<u32> {
        if !region.kind().is_ram() {
            return None;
        }
        let last = region.requested()?.last();
        let (reached, earlier) = self.ram.unwrap_or((last, index));
        if self.ram.is_none() || reached < last {
            self.ram = Some((last, index));
        }
        (earlier != index && reached >= region.guest()).then_some(earlier)
    }

    #[cold]
    fn report(
        &self,
        second: &Region<'a>,
        overlap: Option<u32>,
        ram: Option<u32>,
        errors: &mut Vec<PlanError<'a>>,
    ) {
        let region = |index: u32| self.regions.get(index as usize).copied();
        if let Some(first) = overlap.and_then(region) {
            errors.push(PlanError::Overlap {
                first,
                second: *second,
                reason: OverlapReason::between(&first, second),
            });
        }
        if let Some(first) = ram.filter(|_| ram != overlap).and_then(region) {
            errors.push(PlanError::Overlap {
                first,
                second: *second,
                reason: OverlapReason::RamBytes,
            });
        }
    }
}
