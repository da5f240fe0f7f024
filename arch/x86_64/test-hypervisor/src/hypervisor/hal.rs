//! What the libraries ask of this hypervisor.
#![expect(
    unsafe_code,
    reason = "implements `VmHal`, INVEPT is an instruction of VMX root operation"
)]

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::GuestUse;
use nested_paging::native::Ept;
use nested_paging::nested_page_table::InvalidationFailed;
use nested_paging::{HostFrames, HostPhysAddr, HostPhysRange, Invalidation, VmHal};
use test_hypervisor_kit::{FramePool, GrantedMemory};

/// The hypervisor's side of a virtual machine whose table is in `format`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hal {
    pub(crate) format: Ept,
    pub(crate) frames: &'static FramePool,
    /// What guests may have.
    pub(crate) granted: GrantedMemory,
}

// SAFETY: the pool is one and the same, and its frames are RAM at its own address. Guests are granted the
// arena, which the hypervisor uses by volatile accesses alone, the code that was made for guests, and devices;
// the pool hands out what it reserves to nobody else. `invalidate` returns when every CPU has done its part.
unsafe impl VmHal for Hal {
    type Frames = FramePool;

    fn frames(&self) -> &FramePool {
        self.frames
    }

    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
        self.granted.grants(&range, r#use)
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
        let outcome = unsafe { self.format.invalidate(request) };
        outcome.map_err(InvalidationFailed::from)
    }
}
