//! What the libraries ask of this hypervisor.
#![expect(
    unsafe_code,
    reason = "implements `VmHal`, fences are instructions of HS-mode"
)]

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::GuestUse;
use nested_paging::native::{GStage, fence_i};
use nested_paging::nested_page_table::{InvalidationFailed, Scope};
use nested_paging::{HostPhysAddr, HostPhysRange, Invalidation, VmHal};
use test_hypervisor_kit::{FramePool, GrantedMemory};

use super::{cpus, sbi};

/// The hypervisor's side of a virtual machine whose table is in `format`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hal {
    pub(crate) format: GStage,
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
        use nested_paging::HostFrames;
        // SAFETY: these frames were taken by `alloc_memory_region_at`, and the machine that had them
        // has no translations left.
        unsafe { self.frames.dealloc(base, size / PAGE_SIZE_4K) };
    }

    /// Fences on this hart, and has the firmware fence on the other. With more than one range, or
    /// with tables among what changed, the other hart forgets the whole VMID.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        // SAFETY: the hypervisor is in HS-mode, and OpenSBI leaves mstatus.TVM 0.
        unsafe { self.format.invalidate(request) };
        if request.scope() == Scope::Local {
            return Ok(());
        }
        let (start, size) = match request.ranges() {
            [changed] if !changed.tables => (changed.range.start().as_u64(), changed.range.size()),
            _ => (0, 0),
        };
        let vmid = request.space().vmid;
        match sbi::remote_hfence_gvma_vmid(cpus::other_hart(), start, size, vmid) {
            true => Ok(()),
            false => Err(InvalidationFailed),
        }
    }

    fn sync_instructions(&self, _range: HostPhysRange) {
        // SAFETY: every hart of QEMU's machine has Zifencei.
        unsafe { fence_i() };
        let done = sbi::remote_fence_i(cpus::other_hart());
        assert!(done, "the firmware did not synchronise the other hart");
    }
}
