//! What the libraries ask of this hypervisor.
#![expect(
    unsafe_code,
    reason = "implements `VmHal`, fences are instructions of HS-mode"
)]

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::GuestUse;
use nested_paging::host_services::sbi::{HartMask, remote_fence_i, remote_fences};
use nested_paging::native::{GStage, fence_i};
use nested_paging::nested_page_table::{InvalidationFailed, Scope};
use nested_paging::{HostPhysAddr, HostPhysRange, Invalidation, VmHal};
use test_hypervisor_kit::{FramePool, GrantedMemory};

use super::vcpu::SPACES;
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

    /// Fences on this hart, and has the firmware fence on those that have a table in hgatp. The others fence
    /// before they load one.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        if request.scope() == Scope::Local {
            // SAFETY: the hypervisor is in HS-mode, and OpenSBI leaves mstatus.TVM 0.
            unsafe { self.format.invalidate(request) };
            return Ok(());
        }
        let posted = SPACES.post(cpus::this());
        // SAFETY: as above.
        unsafe { self.format.invalidate(request) };
        if let Some(harts) = HartMask::of(posted.cpus_inside().map(cpus::hart)) {
            let done = remote_fences(request, harts).all(|call| sbi::remote_fence(&call));
            done.then_some(()).ok_or(InvalidationFailed)?;
        }
        posted.completed();
        Ok(())
    }

    fn sync_instructions(&self, _range: HostPhysRange) {
        // SAFETY: every hart of QEMU's machine has Zifencei.
        unsafe { fence_i() };
        let other = HartMask::of([cpus::other_hart()]);
        let done = other.is_some_and(|hart| sbi::remote_fence(&remote_fence_i(hart)));
        assert!(done, "the firmware did not synchronise the other hart");
    }
}
