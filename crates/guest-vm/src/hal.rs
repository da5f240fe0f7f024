//! What a virtual machine asks of the hypervisor around it.
#![expect(unsafe_code, reason = "vouches for the table's host")]

use alloc::sync::Arc;

use guest_addr::{HostPhysAddr, HostPhysRange};
use nested_page_table::{HostFrames, Invalidation, InvalidationFailed, TableHost};

/// The hypervisor's side of a virtual machine: memory, and the caches of the processors.
///
/// Every method is called with the machine's lock held; none may call back into the machine.
///
/// # Contract
///
/// The crate reaches guest memory through pointers, so what follows is relied upon for memory
/// safety. A hardware abstraction is as trusted as the hypervisor that it belongs to.
///
/// - **Reserved memory.** After [`alloc_memory_region_at`](Self::alloc_memory_region_at) returned
///   `true`, the range is RAM that nobody else uses until
///   [`dealloc_memory_region_at`](Self::dealloc_memory_region_at).
/// - **Pointers.** `frames().pointer(address)` works, beyond what [`HostFrames`] promises, for
///   every byte of memory that the machine was given without the flag `DEVICE`: reserved memory,
///   identical and reserved regions of the configuration, and what `map_region` was called with.
///   The pointer is valid for reads and writes to the end of its 4 KiB page for as long as the
///   machine has the memory, and keeps the alignment of the address up to 4 KiB. The guest may
///   change the memory at any time; the crate uses volatile accesses alone.
/// - **Invalidation.** When [`invalidate`](Self::invalidate) returns, no CPU that the request
///   addresses can reach what was removed: frames are given back on the strength of that.
///
/// Whoever writes a configuration, or calls `map_region`, vouches that the guest may have the
/// memory that is named there.
pub trait VmHal {
    /// Where frames for tables and for guest memory come from.
    type Frames: HostFrames;

    /// The source of frames; the same one at every call.
    fn frames(&self) -> &Self::Frames;

    /// Takes `size` bytes of RAM from `base` on out of the host's hands, both multiples of 4 KiB;
    /// `false` if a byte of it is not free. The contents are unspecified.
    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool;

    /// Takes back what [`alloc_memory_region_at`](Self::alloc_memory_region_at) gave, with the same
    /// arguments. No CPU and no cached translation reaches it any more.
    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64);

    /// Carries out `request` and returns when every CPU that it addresses has done so, and no walk
    /// that began before can still use what was removed.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: a CPU could not do it. Nothing that the request covers is given back; the
    /// request is repeated later.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed>;

    /// Writes dirty lines of the data cache in `range` back to the point of coherency, and drops
    /// them if the guest may bypass the cache.
    ///
    /// Called before the guest can see normal memory, and after `write_to_guest`. AArch64 without
    /// FEAT_S2FWB needs it (Arm ARM DDI 0487, D8, combining stage 1 and stage 2 memory types): a
    /// guest with its MMU off reads behind the cache.
    fn clean_data_cache(&self, range: HostPhysRange) {
        let _ = range;
    }

    /// Makes what was stored in `range` visible to instruction fetches of all CPUs. Called for
    /// memory that the guest may execute, after
    /// [`clean_data_cache`](Self::clean_data_cache).
    fn sync_instructions(&self, range: HostPhysRange) {
        let _ = range;
    }
}

macro_rules! forward_to_referent {
    ($($pointer:ty),+) => {$(
        impl<T: VmHal + ?Sized> VmHal for $pointer {
            type Frames = T::Frames;

            fn frames(&self) -> &Self::Frames {
                (**self).frames()
            }

            fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
                (**self).alloc_memory_region_at(base, size)
            }

            fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
                (**self).dealloc_memory_region_at(base, size);
            }

            fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
                (**self).invalidate(request)
            }

            fn clean_data_cache(&self, range: HostPhysRange) {
                (**self).clean_data_cache(range);
            }

            fn sync_instructions(&self, range: HostPhysRange) {
                (**self).sync_instructions(range);
            }
        }
    )+};
}

forward_to_referent!(&T, Arc<T>);

/// The part of the abstraction that the table uses.
#[derive(Debug)]
pub(crate) struct HalTableHost<H>(pub(crate) Arc<H>);

// SAFETY: every promise is one of `VmHal`.
unsafe impl<H: VmHal> TableHost for HalTableHost<H> {
    type Frames = H::Frames;

    fn frames(&self) -> &Self::Frames {
        self.0.frames()
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        self.0.invalidate(request)
    }
}
