//! The planner and what it answers.

use alloc::vec;
use alloc::vec::Vec;

use crate::alias::{self, Alias};
use crate::builder::{Builder, Entry};
use crate::conflicts::Conflicts;
use crate::crossing::Crossing;
use crate::error::PlanError;
use crate::leaves::LeafCounts;
use crate::mapping::Mapping;
use crate::owned::OwnedPages;
use crate::pairs;
use crate::region::{Origin, Region};
use crate::warning::Warning;

/// Sorted, disjoint, maximal mappings for a set of regions, made by [`plan()`].
///
/// It borrows the regions and takes 24 bytes for each mapping, and 20 to 36 for each device-tree region.
#[derive(Debug)]
pub struct Plan<'r, 'a> {
    pub(crate) regions: &'r [Region<'a>],
    pub(crate) crossing: Crossing,
    entries: Vec<Entry>,
    aliases: Vec<Alias>,
}

/// Turns regions into mappings.
///
/// - **Rounding.** A region is extended to whole 4 KiB pages: its start is rounded down and its end is
///   rounded up. A region may end at the last byte of the space.
/// - **Overlap.** Two regions with a common page must have the same kind, the same flags and the
///   same distance between guest and host address. (Alloc regions have no host address, and count as equal in
///   it.) Emulated regions may share pages with each other only. RAM regions whose *requested* bytes overlap
///   are always an error.
/// - **Device trees.** A region from a device tree is rounded. Then it loses the pages of all RAM and
///   emulated regions, which may cut it into pieces or remove it. The rest obeys the rule
///   above.
/// - **Host pages.** A host page that is RAM (identical or reserved) and passed through at another guest
///   address is an error: the two would differ in memory type. A page that is passed through twice is
///   the warning [`Warning::HostAlias`]. Each mapping is named with one other at most.
/// - **Merging.** Regions that overlap without an error, or touch, become one mapping if kind, flags and
///   distance between guest and host address are equal. Emulated regions become no mapping.
///
/// `regions` is sorted in place by guest address and then by input order, even if the plan fails.
/// [`Region::index`] returns the original position. O(n log n) for n regions: one sort, then a linear
/// pass that allocates nothing for each region. Device-tree regions cost up to three more
/// passes of O(n log n).
///
/// # Errors
///
/// All errors: first those of single regions, in input order, then overlaps by guest address.
///
/// - [`PlanError::ZeroLength`]: a region has no bytes.
/// - [`PlanError::GuestPastEnd`]: a region's guest bytes run past 2^64.
/// - [`PlanError::HostPastEnd`]: a region's host bytes run past 2^64.
/// - [`PlanError::PageOffset`]: guest and host address differ in their offset within a 4 KiB page.
/// - [`PlanError::Overlap`]: two regions break the rule on overlap. Every such pair is reported, with one limit:
///   if more pairs overlap than four for each region plus 4096, each region that conflicts with
///   earlier regions, in sorted order, is reported with one region that it really overlaps. RAM whose
///   requested bytes overlap is reported with at most one more. So the list, and the time for it, is linear in the
///   number of regions.
/// - [`PlanError::HostAlias`]: RAM and a passthrough region lead to the same host page. Beside an overlap,
///   regions from device trees are not compared.
/// - [`PlanError::WholeSpace`]: a mapping would be all 2^64 bytes.
/// - [`PlanError::TooManyRegions`]: there are more than 2^32 - 1 regions.
///
/// A region without a valid guest range takes part in no comparison.
pub fn plan<'r, 'a>(regions: &'r mut [Region<'a>]) -> Result<Plan<'r, 'a>, Vec<PlanError<'a>>> {
    if u32::try_from(regions.len()).is_err() {
        let count = regions.len();
        return Err(vec![PlanError::TooManyRegions { count }]);
    }
    let mut errors = Vec::new();
    let has_device_tree = number_and_check(regions, &mut errors);
    regions.sort_unstable_by_key(Region::sort_key);
    let regions: &'r [Region<'a>] = regions;
    let owned = match has_device_tree {
        true => OwnedPages::of(regions),
        false => OwnedPages::default(),
    };
    let entries = sweep(regions, &owned, &mut errors);
    if !errors.is_empty() {
        pairs::complete(regions, &owned, &mut errors);
        alias::find_without_plan(regions, &mut errors);
        return Err(errors);
    }
    let crossing = match has_device_tree {
        true => Crossing::of(regions, &owned),
        false => Crossing::default(),
    };
    let mut plan = Plan {
        regions,
        crossing,
        entries,
        aliases: Vec::new(),
    };
    let aliases = alias::find(&plan, &mut errors);
    plan.aliases = aliases;
    match errors.is_empty() {
        true => Ok(plan),
        false => Err(errors),
    }
}

/// Gives each region its index and reports its own faults. Says whether any is from a device tree.
fn number_and_check<'a>(regions: &mut [Region<'a>], errors: &mut Vec<PlanError<'a>>) -> bool {
    let mut has_device_tree = false;
    for (index, region) in (0_u32..).zip(regions) {
        region.set_index(index);
        has_device_tree |= region.origin() == Origin::DeviceTree;
        if region.requested().is_none()
            || region.host_runs_past_end()
            || region.differs_in_page_offset()
        {
            report_faults(*region, errors);
        }
    }
    has_device_tree
}

#[cold]
fn report_faults<'a>(region: Region<'a>, errors: &mut Vec<PlanError<'a>>) {
    if region.length() == 0 {
        errors.push(PlanError::ZeroLength { region });
    } else if region.requested().is_none() {
        errors.push(PlanError::GuestPastEnd { region });
    }
    if region.host_runs_past_end() {
        errors.push(PlanError::HostPastEnd { region });
    }
    if region.differs_in_page_offset() {
        errors.push(PlanError::PageOffset { region });
    }
}

/// Compares and merges the sorted regions in one pass.
fn sweep<'a>(
    regions: &[Region<'a>],
    owned: &OwnedPages,
    errors: &mut Vec<PlanError<'a>>,
) -> Vec<Entry> {
    let mut conflicts = Conflicts::new(regions, owned);
    let mut builder = Builder::default();
    for (index, region) in (0_u32..).zip(regions) {
        if let Some(pages) = owned.visible(region) {
            let class = region.class();
            conflicts.check(region, index, pages, class, errors);
            builder.add(index, pages, class);
        }
    }
    builder.finish();
    let whole_space = builder
        .whole_space
        .and_then(|index| regions.get(index as usize));
    errors.extend(whole_space.map(|&region| PlanError::WholeSpace { region }));
    builder.entries
}

impl<'r, 'a> Plan<'r, 'a> {
    /// The mappings by ascending guest address. No two overlap, and none could be merged.
    pub fn mappings(&self) -> impl DoubleEndedIterator<Item = Mapping<'_, 'a>> + Clone {
        let mapping = |entry| Mapping::new(self, entry);
        self.entries.iter().filter_map(mapping)
    }

    /// The number of mappings, in constant time.
    #[must_use]
    pub const fn mapping_count(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn mapping(&self, position: u32) -> Option<Mapping<'_, 'a>> {
        let entry = self.entries.get(position as usize)?;
        Mapping::new(self, entry)
    }

    /// All regions, by guest address and then by input order; the emulated ones among them.
    #[must_use]
    pub const fn regions(&self) -> &'r [Region<'a>] {
        self.regions
    }

    /// Warnings about a plan that may not be what the user meant: page exposure by mapping, then host pages
    /// that are passed through twice by mapping, then rounded RAM by region, each by ascending guest
    /// address.
    ///
    /// The iterator computes them, in time that is linear in all sources of all mappings.
    pub fn warnings(&self) -> impl Iterator<Item = Warning<'_, 'a>> {
        let exposure = self.mappings().filter_map(Warning::of_mapping);
        let aliases = self.aliases.iter();
        let aliases = aliases.filter_map(|alias| Warning::of_alias(self, *alias));
        let exposure = exposure.chain(aliases);
        exposure.chain(self.regions.iter().filter_map(Warning::of_region))
    }

    /// The leaves of all mappings by size, as [`Extent::leaf_counts`](crate::Extent::leaf_counts)
    /// counts them.
    #[must_use]
    pub fn leaf_counts(&self) -> LeafCounts {
        self.mappings()
            .map(|mapping| mapping.extent().leaf_counts())
            .sum()
    }

    /// The 4 KiB frames of the page tables of all mappings, as
    /// [`table_frames`](crate::table_frames()) counts them.
    #[must_use]
    pub fn table_frames(&self, shifts: &[u32], root_bytes: u64) -> u64 {
        let extents = self.mappings().map(|mapping| mapping.extent());
        crate::table_count::table_frames(extents, shifts, root_bytes)
    }
}
