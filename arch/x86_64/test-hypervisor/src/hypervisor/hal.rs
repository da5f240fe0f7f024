//! What the libraries ask of this hypervisor.
#![expect(unsafe_code, reason = "INVEPT is an instruction of VMX root operation")]

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::native::Ept;
use nested_paging::nested_page_table::InvalidationFailed;
use nested_paging::{HostFrames, HostPhysAddr, Invalidation, VmHal};
use test_hypervisor_kit::FramePool;

/// The hypervisor's side of a virtual machine whose table is in `format`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hal {
    pub(crate) format: Ept,
    pub(crate) frames: &'static FramePool,
}

impl VmHal for Hal {
    type Frames = FramePool;

    fn frames(&self) -> &FramePool {
        self.frames
    }

    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
        self.frames.take_at(base, size / PAGE_SIZE_4K)
    }

    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
        // SAFETY: these frames were taken by `alloc_memory_region_at`, and the machine that had them
        // has no translations left.
        unsafe { self.frames.dealloc(base, size / PAGE_SIZE_4K) };
    }

    /// INVEPT on this processor. There is no other: with more, each that ran this EPTP would have to
    /// do the same before this returns, or be kept from entering the guest until it has.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        // SAFETY: the hypervisor is in VMX root operation, and the format has the processor's
        // capabilities and made the EPTP.
        unsafe { self.format.invalidate(request) };
        Ok(())
    }
}
