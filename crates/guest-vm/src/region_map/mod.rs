//! The regions of a machine, by guest address.

mod slab;
#[cfg(test)]
mod tests;
mod tree;

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use mapping_flags::MappingFlags;

use crate::error::VmError;
use crate::region::{Backing, Region};
use tree::{Around, RegionTree};
pub(crate) use tree::{Place, Vacancy};

/// Sorted, disjoint regions, of which no two that touch could be one.
///
/// A lookup is logarithmic in their number, and takes constant time next to the last change. A change looks at
/// the regions that it concerns and their neighbours.
///
/// Changes cannot fail: [`reserve`](Self::reserve) takes the memory that one change needs, before
/// anything else is changed.
#[derive(Debug, Default)]
pub(crate) struct RegionMap {
    tree: RegionTree,
}

impl RegionMap {
    /// Room for one change: a range cuts at most two regions, or adds one.
    #[inline]
    pub(crate) fn reserve(&mut self) -> Result<(), VmError> {
        self.tree.reserve(2)
    }

    /// All regions, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.tree.from(self.tree.first())
    }

    /// The regions that have a byte at `address` or above, in order.
    pub(crate) fn from(&self, address: GuestPhysAddr) -> impl Iterator<Item = &Region> {
        self.tree.from(self.tree.first_ending_at_or_after(address))
    }

    /// All regions, the last one first.
    pub(crate) fn backwards(&self) -> impl Iterator<Item = &Region> {
        self.tree.backwards()
    }

    /// The region that has a byte at `address`.
    #[inline]
    pub(crate) fn find(&self, address: GuestPhysAddr) -> Option<&Region> {
        let place = self.tree.first_ending_at_or_after(address)?;
        let region = self.tree.get(place)?;
        (region.guest.start() <= address).then_some(region)
    }

    /// The regions that share a byte with `range`, in order.
    #[inline]
    pub(crate) fn overlapping(&self, range: &GuestPhysRange) -> impl Iterator<Item = &Region> {
        let last = range.last();
        let first = self.tree.first_ending_at_or_after(range.start());
        let regions = self.tree.from(first);
        regions.take_while(move |region| region.guest.start() <= last)
    }

    /// Where a region with `range` can be inserted.
    ///
    /// # Errors
    ///
    /// The first region that has a byte of it.
    #[inline]
    pub(crate) fn vacancy(&self, range: &GuestPhysRange) -> Result<Vacancy, Region> {
        let vacancy = self.tree.vacancy(range);
        match vacancy.around {
            Around::Occupied => Err(self.occupant(range)),
            _ => Ok(vacancy),
        }
    }

    /// The first region that has a byte of `range`: there is one.
    #[cold]
    fn occupant(&self, range: &GuestPhysRange) -> Region {
        let nothing = Region {
            guest: *range,
            backing: Backing::Emulated,
            flags: MappingFlags::empty(),
        };
        self.overlapping(range).next().copied().unwrap_or(nothing)
    }

    /// Adds a region in the place that was found for it. There is a [reservation](Self::reserve) made since.
    #[inline]
    pub(crate) fn insert(&mut self, region: Region, vacancy: Vacancy) {
        if let Some(place) = self.tree.insert(region, vacancy)
            && vacancy.around == Around::Touching
        {
            self.join_around(place);
        }
    }

    fn join_around(&mut self, place: Place) {
        self.join_next(place);
        if let Some(previous) = self.tree.previous(place) {
            self.join_next(previous);
        }
    }

    /// The region that is `range`, and where it is until the next change.
    #[inline]
    pub(crate) fn whole(&self, range: &GuestPhysRange) -> Option<(Place, &Region)> {
        let place = self.tree.first_ending_at_or_after(range.start())?;
        let region = self.tree.get(place)?;
        (region.guest == *range).then_some((place, region))
    }

    /// Forgets the region at `place`.
    #[inline]
    pub(crate) fn remove_whole(&mut self, place: Place) {
        self.tree.remove(place);
    }

    /// Forgets `range`, emulated devices excepted.
    #[inline]
    pub(crate) fn remove(&mut self, range: &GuestPhysRange) {
        self.cut_around(range);
        let mut next = self.tree.first_ending_at_or_after(range.start());
        while let Some((place, region)) = self.at_most(next, range.last()) {
            next = match region.backing {
                Backing::Emulated => self.tree.next(place),
                _ => self.tree.remove(place),
            };
        }
    }

    /// Gives `range` other permissions, emulated devices excepted.
    pub(crate) fn protect(&mut self, range: &GuestPhysRange, permissions: MappingFlags) {
        self.cut_around(range);
        let mut next = self.tree.first_ending_at_or_after(range.start());
        while let Some((place, region)) = self.at_most(next, range.last()) {
            if region.backing != Backing::Emulated
                && let Some(region) = self.tree.get_mut(place)
            {
                region.flags = with_permissions(region.flags, permissions);
            }
            next = self.next_after_joining(place);
        }
        if let Some(place) = next {
            self.next_after_joining(place);
        }
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

    /// The region at `place`, if it begins at `last` or before.
    #[inline]
    fn at_most(&self, place: Option<Place>, last: GuestPhysAddr) -> Option<(Place, Region)> {
        let place = place?;
        let region = self.tree.get(place)?;
        (region.guest.start() <= last).then_some((place, *region))
    }

    /// Makes the edges of `range` edges of regions, emulated devices excepted.
    #[inline]
    fn cut_around(&mut self, range: &GuestPhysRange) {
        self.cut(range.start());
        if let Some(end) = range.end() {
            self.cut(end);
        }
    }

    #[inline]
    fn cut(&mut self, boundary: GuestPhysAddr) {
        let Some(place) = self.tree.first_ending_at_or_after(boundary) else {
            return;
        };
        let region = self.tree.get_mut(place);
        let memory = region.filter(|region| region.backing != Backing::Emulated);
        if let Some(region) = memory
            && let Some((low, high)) = region.split_at(boundary)
        {
            *region = low;
            let vacancy = self.tree.vacancy(&high.guest);
            self.tree.insert(high, vacancy);
        }
    }

    /// Joins the region at `place` with the next one, if that says the same.
    #[inline]
    fn join_next(&mut self, place: Place) -> bool {
        let Some((next, region)) = self.at_most(self.tree.next(place), GuestPhysAddr::LAST) else {
            return false;
        };
        let joined = self
            .tree
            .get_mut(place)
            .is_some_and(|before| before.absorb(&region));
        if joined {
            self.tree.remove(next);
        }
        joined
    }

    /// Joins the region at `place` with the one before, if that says the same. Returns where the next region is.
    fn next_after_joining(&mut self, place: Place) -> Option<Place> {
        let start = self.tree.get(place)?.guest.start();
        if let Some(previous) = self.tree.previous(place) {
            self.join_next(previous);
        }
        // What was at `place` may have moved, or be a part of the one before.
        let here = self.tree.first_ending_at_or_after(start)?;
        self.tree.next(here)
    }
}

/// `flags` with other permissions and the same memory type.
fn with_permissions(flags: MappingFlags, permissions: MappingFlags) -> MappingFlags {
    flags.intersection(MappingFlags::MEMORY_TYPE) | permissions
}
