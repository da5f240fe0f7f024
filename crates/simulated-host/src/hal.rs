//! The host as a virtual machine sees it.
#![expect(unsafe_code, reason = "implements `VmHal`")]

use guest_addr::{HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use guest_vm::{GuestUse, VmHal};
use nested_page_table::{Invalidation, InvalidationFailed};

use crate::event_log::Event;
use crate::frames::{FrameObserver, SimulatedFrames};
use crate::host::SimulatedHost;
use crate::sync::locked;
use crate::violation::Violation;

/// What a reserved region holds: words that are valid entries everywhere, and never zero.
const RESERVED: u64 = 0x33_c000_07f7;

impl<const PARTIAL_FREE: bool> SimulatedHost<PARTIAL_FREE> {
    /// Refuses from now on to reserve memory that overlaps `range`.
    pub fn refuse_region(&self, range: HostPhysRange) {
        locked(&self.regions).refused.push(range);
    }

    /// From now on, guests get only host memory that was granted by [`grant`](Self::grant). Until this is
    /// called they get whatever they ask for, frames of the allocator excepted, which are for channels only.
    pub fn restrict_grants(&self) {
        locked(&self.regions).grants.get_or_insert_default();
    }

    /// Grants `range` for `use`, and [restricts](Self::restrict_grants) all else. A range that guests ask for
    /// must lie in one that was granted.
    pub fn grant(&self, range: HostPhysRange, r#use: GuestUse) {
        let mut regions = locked(&self.regions);
        regions.grants.get_or_insert_default().push((range, r#use));
    }

    /// What guests asked for so far, in order, whatever the answer was.
    #[must_use]
    pub fn asked_for(&self) -> Vec<(HostPhysRange, GuestUse)> {
        locked(&self.regions).asked.clone()
    }

    /// The memory regions that are reserved, in the order in which they were.
    #[must_use]
    pub fn reserved_regions(&self) -> Vec<HostPhysRange> {
        locked(&self.regions).reserved.clone()
    }

    /// A guest whose caches are off stores `word` at `address`, a multiple of 8. The hypervisor has the line in
    /// its cache: it sees the word when it has dropped the line, and loses it when it writes the line back.
    pub fn store_behind_cache(&self, address: HostPhysAddr, word: u64) {
        locked(&self.regions)
            .behind_cache
            .store(address.as_u64(), word);
    }

    /// The ranges whose data cache lines were cleaned, in order.
    #[must_use]
    pub fn cleaned(&self) -> Vec<HostPhysRange> {
        locked(&self.regions).cleaned.clone()
    }

    /// The ranges whose instructions were synchronised, in order.
    #[must_use]
    pub fn synchronised(&self) -> Vec<HostPhysRange> {
        locked(&self.regions).synchronised.clone()
    }

    /// Whether `range` became reserved.
    fn reserve(&self, range: HostPhysRange) -> bool {
        let frames = range.size() / PAGE_SIZE_4K;
        let mut regions = locked(&self.regions);
        let mut unavailable = regions.reserved.iter().chain(&regions.refused);
        if unavailable.any(|other| other.overlaps(&range)) || !range.is_aligned_4k() {
            return false;
        }
        if self.memory().add(range.start(), frames, RESERVED) {
            regions.known.push(range);
        } else if !regions
            .known
            .iter()
            .any(|known| known.contains_range(&range))
        {
            // The memory exists, but it is the allocator's.
            return false;
        }
        regions.reserved.push(range);
        true
    }
}

// SAFETY: the frames are one field. Memory is never removed, so pointers work for as long as the host lives, and
// `pointer` panics where there is no memory. Frames of the allocator are granted for channels alone, and other
// memory is used by atomic words alone. A reserved region is in the list, so nobody else gets it. Guests are
// simulated: what CPUs can still reach after an invalidation is a violation, not an access.
unsafe impl<const PARTIAL_FREE: bool> VmHal for SimulatedHost<PARTIAL_FREE> {
    type Frames = SimulatedFrames<PARTIAL_FREE>;

    fn frames(&self) -> &Self::Frames {
        self.simulated_frames()
    }

    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
        let mut regions = locked(&self.regions);
        regions.asked.push((range, r#use));
        let is_granted = match &regions.grants {
            Some(grants) => grants
                .iter()
                .any(|(granted, purpose)| *purpose == r#use && granted.contains_range(&range)),
            None => true,
        };
        drop(regions);
        let is_the_allocators = self.simulated_frames().is_any_out(range);
        is_granted && is_the_allocators == (r#use == GuestUse::IvcChannel)
    }

    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
        let range = HostPhysRange::from_start_size(base, size);
        let reserved = range.ok().filter(|range| self.reserve(*range));
        if let Some(range) = reserved {
            self.machine().after_alloc(range);
        }
        reserved.is_some()
    }

    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
        let range = HostPhysRange::from_start_size(base, size).ok();
        let is_range = |reserved: &HostPhysRange| Some(*reserved) == range;
        let position = locked(&self.regions).reserved.iter().position(is_range);
        let (Some(position), Some(range)) = (position, range) else {
            return self.report(Violation::RegionNotReserved { base, size });
        };
        self.machine().before_free(range);
        self.memory().fill(base, size / PAGE_SIZE_4K, RESERVED);
        locked(&self.regions).reserved.swap_remove(position);
    }

    /// A VMID belongs to one machine at a time.
    fn claim_vmid(&self, vmid: u16) -> bool {
        locked(&self.regions).vmids.insert(vmid)
    }

    fn release_vmid(&self, vmid: u16) {
        locked(&self.regions).vmids.remove(&vmid);
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        self.carry_out(request)
    }

    fn clean_data_cache(&self, range: HostPhysRange) {
        self.machine().clean(range);
        // Lines that the hypervisor has written to go back whole, over what was stored behind them.
        locked(&self.regions).behind_cache.take(range);
        locked(&self.regions).cleaned.push(range);
    }

    fn drop_stale_lines(&self, range: HostPhysRange) {
        self.machine().note(Event::StaleLinesDropped(range));
        let behind = locked(&self.regions).behind_cache.take(range);
        for (address, word) in behind {
            self.memory().write(HostPhysAddr::new(address), word);
        }
    }

    fn sync_instructions(&self, range: HostPhysRange) {
        self.machine().note(Event::Synchronised(range));
        locked(&self.regions).synchronised.push(range);
    }
}
