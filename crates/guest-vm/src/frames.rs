//! Frames of guest memory: taken with an owner, given back when no CPU can reach them.
#![expect(
    unsafe_code,
    reason = "gives frames back to the allocator, which nobody may use any more"
)]

use alloc::sync::Arc;
use core::fmt;
use core::mem::{self, ManuallyDrop};

use guest_addr::{GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K, RangeError};
use nested_page_table::{Format, HostFrames, UnmapError, Unsettled};

use crate::address_space::AddressSpace;
use crate::error::VmError;
use crate::hal::VmHal;
use crate::region::{Backing, Region};

/// A run of zeroed frames that nobody else knows. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct FrameRun<'a, A: HostFrames> {
    allocator: &'a A,
    base: HostPhysAddr,
    frames: u64,
}

impl<'a, A: HostFrames> FrameRun<'a, A> {
    pub(crate) fn zeroed(allocator: &'a A, bytes: u64, alignment: u64) -> Option<Self> {
        let frames = bytes / PAGE_SIZE_4K;
        let base = allocator.alloc_zeroed(frames, alignment)?;
        Some(Self {
            allocator,
            base,
            frames,
        })
    }

    pub(crate) fn range(&self) -> Result<HostPhysRange, RangeError> {
        HostPhysRange::from_start_size(self.base, self.frames.saturating_mul(PAGE_SIZE_4K))
    }

    /// The same frames one by one. The source takes runs back in parts, or there is one frame only.
    pub(crate) fn into_pages(self) -> impl Iterator<Item = FrameRun<'a, A>> {
        let run = ManuallyDrop::new(self);
        let (allocator, base) = (run.allocator, run.base);
        (0..run.frames).filter_map(move |number| {
            let base = base.checked_add(number.checked_mul(PAGE_SIZE_4K)?)?;
            let frames = 1;
            Some(FrameRun {
                allocator,
                base,
                frames,
            })
        })
    }

    /// Leaves the frames to whoever `map` makes known to, or gives them back if it returns an error.
    ///
    /// Should `map` unwind, nobody can tell whether a table leads to the frames: they stay out.
    pub(crate) fn hand_over_to<T, E>(
        self,
        map: impl FnOnce(HostPhysAddr) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = ManuallyDrop::new(self);
        map(run.base).inspect_err(|_| drop(ManuallyDrop::into_inner(run)))
    }
}

impl<A: HostFrames> Drop for FrameRun<'_, A> {
    fn drop(&mut self) {
        // SAFETY: the run came from this allocator, whole, or as a part where that may come back by itself. It was handed over to nobody, or in vain, so no
        // table leads to it and no one uses it.
        unsafe { self.allocator.dealloc(self.base, self.frames) };
    }
}

/// The frames of a channel: a run that every machine which maps the channel keeps. Dropping it gives it
/// back.
pub(crate) struct ChannelFrames<H: VmHal> {
    hal: Arc<H>,
    range: HostPhysRange,
}

impl<H: VmHal> ChannelFrames<H> {
    /// Zeroed frames for `bytes` bytes, a multiple of 4 KiB.
    pub(crate) fn zeroed(hal: &Arc<H>, bytes: u64) -> Option<Self> {
        let run = FrameRun::zeroed(hal.frames(), bytes, PAGE_SIZE_4K)?;
        let range = run.range().ok()?;
        let hal = Arc::clone(hal);
        // From here on they are this value's.
        mem::forget(run);
        Some(Self { hal, range })
    }

    pub(crate) const fn range(&self) -> HostPhysRange {
        self.range
    }
}

impl<H: VmHal> fmt::Debug for ChannelFrames<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.range.fmt(f)
    }
}

impl<H: VmHal> Drop for ChannelFrames<H> {
    fn drop(&mut self) {
        let frames = self.range.size() / PAGE_SIZE_4K;
        // SAFETY: the run came whole from the frames of this `hal`. Every machine that maps the channel
        // keeps an `Arc` of this value until the mapping was removed and invalidated on all CPUs, or for
        // ever if that fails: see `AddressSpace::channels`. So nobody uses the run.
        unsafe { self.hal.frames().dealloc(self.range.start(), frames) };
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Unmaps `range`, and gives back the frames of allocated regions that were mapped in it. The
    /// regions stay.
    pub(crate) fn unmap_and_free(&mut self, range: GuestPhysRange) -> Result<(), UnmapError> {
        let Self {
            hal,
            table,
            regions,
            ..
        } = self;
        table.unmap_reporting(range, |leaf| {
            let region = regions.find(leaf.guest.start());
            if region.is_none_or(|region| !matches!(region.backing, Backing::Allocated { .. })) {
                return;
            }
            // SAFETY: what a leaf of an allocated region leads to was taken from `hal.frames()` by
            // `fill`, as a run of one frame, or as a larger one only where runs may be given back
            // in parts; a leaf never spans two runs since each was mapped by itself. The leaf was
            // the only way to it, and is reported when no CPU can use it any more.
            unsafe {
                hal.frames()
                    .dealloc(leaf.host, leaf.guest.size() / PAGE_SIZE_4K);
            };
        })
    }

    /// Unmaps `range`, in which no region is allocated.
    pub(crate) fn unmap_and_keep(&mut self, range: GuestPhysRange) -> Result<(), UnmapError> {
        match self.table.unmap(range) {
            // Frames wait to be given back, because an earlier invalidation failed.
            Err(UnmapError::Unsettled(Unsettled::Unreported)) => self.unmap_and_free(range),
            unmapped => unmapped,
        }
    }

    /// Finishes what removed `page` but could not be invalidated, and frees what it removed: after an error that left the
    /// region. Does nothing if the page is mapped.
    pub(crate) fn settle(&mut self, page: GuestPhysRange) -> Result<(), VmError> {
        if self.table.host_of(page.start()).is_none() {
            self.unmap_and_free(page)?;
        }
        Ok(())
    }

    /// Every guest address that may be mapped.
    fn mapped_hull(&self) -> Option<GuestPhysRange> {
        let is_mapped = |region: &&Region| region.backing != Backing::Emulated;
        let first = self.regions.iter().find(is_mapped)?;
        let last = self.regions.backwards().find(is_mapped)?;
        GuestPhysRange::from_start_last(first.guest.start(), last.guest.last()).ok()
    }
}

impl<F: Format, H: VmHal> Drop for AddressSpace<F, H> {
    fn drop(&mut self) {
        // Should the host unwind, or fail to invalidate, the guest might still reach the memory: then
        // keeping it is the only safe thing to do.
        let channels = ManuallyDrop::new(mem::take(&mut self.channels));
        if let Some(hull) = self.mapped_hull()
            && let Err(error) = self.unmap_and_free(hull)
        {
            crate::log::error(format_args!("guest memory is not given back: {error}"));
            return;
        }
        drop(ManuallyDrop::into_inner(channels));
        for memory in &self.reservations {
            self.hal
                .dealloc_memory_region_at(memory.start(), memory.size());
        }
    }
}
