//! The regions of a machine, by guest address.

use alloc::vec::Vec;

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use mapping_flags::MappingFlags;

use crate::error::VmError;
use crate::region::{Backing, Region};

/// Sorted, disjoint regions. Lookups are logarithmic, changes linear in the number of regions.
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
        let first = self.first_ending_at_or_after(range.start());
        let end = self
            .regions
            .partition_point(|region| region.guest.start() <= range.last());
        self.regions.get(first..end).unwrap_or_default()
    }

    /// Adds a region that overlaps none.
    pub(crate) fn insert(&mut self, region: Region) {
        let place = self.first_ending_at_or_after(region.guest.start());
        self.regions.insert(place, region);
        self.join_around(place);
    }

    /// Forgets `range`, emulated devices excepted.
    pub(crate) fn remove(&mut self, range: &GuestPhysRange) {
        self.cut_around(range);
        self.regions.retain(|region| {
            region.backing == Backing::Emulated || !range.contains_range(&region.guest)
        });
        self.join_neighbours();
    }

    /// Gives `range` other permissions, emulated devices excepted.
    pub(crate) fn protect(&mut self, range: &GuestPhysRange, permissions: MappingFlags) {
        self.cut_around(range);
        for region in &mut self.regions {
            if region.backing != Backing::Emulated && range.contains_range(&region.guest) {
                region.flags = with_permissions(region.flags, permissions);
            }
        }
        self.join_neighbours();
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

    /// Joins the region at `place` with its neighbours, the later one first: `place` stays right.
    fn join_around(&mut self, place: usize) {
        for first in [Some(place), place.checked_sub(1)].into_iter().flatten() {
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

    fn join_neighbours(&mut self) {
        self.regions.dedup_by(|next, region| region.absorb(next));
    }
}

/// `flags` with other permissions and the same memory type.
fn with_permissions(flags: MappingFlags, permissions: MappingFlags) -> MappingFlags {
    flags.intersection(MappingFlags::MEMORY_TYPE) | permissions
}
