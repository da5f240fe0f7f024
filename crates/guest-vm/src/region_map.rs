//! The regions of a machine, by guest address.

use alloc::vec::Vec;
use core::ops::Range;

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use mapping_flags::MappingFlags;

use crate::error::VmError;
use crate::region::{Backing, Region};

/// How many regions are joined one by one.
const FEW: usize = 4;

/// Sorted, disjoint regions. Lookups are logarithmic; a change looks at the regions that it concerns and
/// moves those behind them.
///
/// Changes cannot fail: [`reserve`](Self::reserve) takes the memory that one change needs, before
/// anything else is changed.
#[derive(Debug, Default)]
pub(crate) struct RegionMap {
    regions: Vec<Region>,
}

impl RegionMap {
    /// Room for one change: a range cuts at most two regions, or adds one.
    pub(crate) fn reserve(&mut self) -> Result<(), VmError> {
        self.regions
            .try_reserve(2)
            .map_err(|_| VmError::NoBookkeepingMemory)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.regions.iter()
    }

    pub(crate) fn find(&self, address: GuestPhysAddr) -> Option<&Region> {
        self.regions
            .get(self.first_ending_at_or_after(address))
            .filter(|region| region.guest.contains(address))
    }

    /// The regions that share a byte with `range`, in order.
    pub(crate) fn overlapping(&self, range: &GuestPhysRange) -> &[Region] {
        self.regions.get(self.places(range)).unwrap_or_default()
    }

    /// Where the regions are that share a byte with `range`.
    fn places(&self, range: &GuestPhysRange) -> Range<usize> {
        let first = self.first_ending_at_or_after(range.start());
        let end = self
            .regions
            .partition_point(|region| region.guest.start() <= range.last());
        first..end
    }

    /// Adds a region that overlaps none.
    pub(crate) fn insert(&mut self, region: Region) {
        let place = self.first_ending_at_or_after(region.guest.start());
        self.regions.insert(place, region);
        self.join_around(place..place.saturating_add(1));
    }

    /// Forgets `range`, emulated devices excepted.
    pub(crate) fn remove(&mut self, range: &GuestPhysRange) {
        self.cut_around(range);
        let places = self.places(range);
        let is_memory = |region: &mut Region| region.backing != Backing::Emulated;
        let (first, before) = (places.start, self.regions.len());
        self.regions
            .extract_if(places.clone(), is_memory)
            .for_each(drop);
        let removed = before.saturating_sub(self.regions.len());
        self.join_around(first..places.end.saturating_sub(removed));
    }

    /// Gives `range` other permissions, emulated devices excepted.
    pub(crate) fn protect(&mut self, range: &GuestPhysRange, permissions: MappingFlags) {
        self.cut_around(range);
        let places = self.places(range);
        for region in self.regions.get_mut(places.clone()).unwrap_or_default() {
            if region.backing != Backing::Emulated {
                region.flags = with_permissions(region.flags, permissions);
            }
        }
        self.join_around(places);
    }

    /// The first `size` bytes in `range` that no region has.
    pub(crate) fn free_range(&self, range: &GuestPhysRange, size: u64) -> Option<GuestPhysRange> {
        let mut start = range.start();
        for region in self.overlapping(range) {
            match GuestPhysRange::from_start_size(start, size) {
                Ok(free) if free.last() < region.guest.start() => return Some(free),
                _ => start = region.guest.end()?.max(start),
            }
        }
        let free = GuestPhysRange::from_start_size(start, size).ok()?;
        range.contains_range(&free).then_some(free)
    }

    fn first_ending_at_or_after(&self, address: GuestPhysAddr) -> usize {
        self.regions
            .partition_point(|region| region.guest.last() < address)
    }

    /// Makes the edges of `range` edges of regions.
    fn cut_around(&mut self, range: &GuestPhysRange) {
        self.cut(range.start());
        if let Some(end) = range.end() {
            self.cut(end);
        }
    }

    fn cut(&mut self, boundary: GuestPhysAddr) {
        let place = self.first_ending_at_or_after(boundary);
        let Some(region) = self.regions.get_mut(place) else {
            return;
        };
        if let Some((low, high)) = region.split_at(boundary) {
            *region = high;
            self.regions.insert(place, low);
        }
    }

    /// Joins the regions at `places`, and those beside them, where that says the same. Each join moves
    /// what lies behind, so that many are made in one pass over all.
    fn join_around(&mut self, places: Range<usize>) {
        if places.len() > FEW {
            self.regions.dedup_by(|next, region| region.absorb(next));
            return;
        }
        for first in (places.start.saturating_sub(1)..places.end).rev() {
            let pair = self.regions.get_mut(first..).unwrap_or_default();
            let joined = match pair.first_chunk_mut::<2>() {
                Some([region, next]) => region.absorb(next),
                None => false,
            };
            if joined {
                self.regions.remove(first.saturating_add(1));
            }
        }
    }
}

/// `flags` with other permissions and the same memory type.
fn with_permissions(flags: MappingFlags, permissions: MappingFlags) -> MappingFlags {
    flags.intersection(MappingFlags::MEMORY_TYPE) | permissions
}
