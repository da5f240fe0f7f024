//! The hypervisor's abstraction, with switches that tests need.
#![expect(unsafe_code, reason = "implements `VmHal`")]

use core::sync::atomic::{AtomicBool, Ordering};

use nested_paging::guest_vm::GuestUse;
use nested_paging::nested_page_table::{InvalidationFailed, Scope};
use nested_paging::{HostPhysAddr, HostPhysRange, Invalidation, VmHal};

/// Withhold every invalidation from the other CPUs, to show that it is what makes the tests pass.
static WITHHOLD: AtomicBool = AtomicBool::new(false);

/// Begins or ends withholding invalidations from other CPUs.
pub(crate) fn withhold_from_others(withhold: bool) {
    WITHHOLD.store(withhold, Ordering::SeqCst);
}

/// Approve whatever a guest asks for.
static APPROVE_ALL: AtomicBool = AtomicBool::new(false);

/// Begins or ends approving all host memory, for a mapping that covers more than the guest will use.
///
/// # Safety
///
/// - While a mapping that was made meanwhile exists, neither the guest nor the library is asked to access
///   memory through it that the hypervisor uses.
pub(crate) unsafe fn approve_all(approve: bool) {
    APPROVE_ALL.store(approve, Ordering::SeqCst);
}

/// The hypervisor's abstraction `H`, unless an invalidation is to be withheld.
#[derive(Debug)]
pub(crate) struct TestHal<H>(pub(crate) H);

// SAFETY: the promises are those of `H`. What is approved beyond them is not accessed, as the caller of
// `approve_all` vouches; and an invalidation is withheld by a test that takes frames from nobody.
unsafe impl<H: VmHal> VmHal for TestHal<H> {
    type Frames = H::Frames;

    fn frames(&self) -> &Self::Frames {
        self.0.frames()
    }

    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
        APPROVE_ALL.load(Ordering::SeqCst) || self.0.grants(range, r#use)
    }

    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
        self.0.alloc_memory_region_at(base, size)
    }

    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
        self.0.dealloc_memory_region_at(base, size);
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        if !WITHHOLD.load(Ordering::SeqCst) {
            return self.0.invalidate(request);
        }
        let space = request.space();
        if request.covers_everything() {
            let everything = Invalidation::everything(space, Scope::Local);
            self.0.invalidate(&everything)?;
        }
        for &range in request.ranges() {
            let range = Invalidation::range(space, Scope::Local, range);
            self.0.invalidate(&range)?;
        }
        Ok(())
    }

    fn clean_data_cache(&self, range: HostPhysRange) {
        self.0.clean_data_cache(range);
    }

    fn drop_stale_lines(&self, range: HostPhysRange) {
        self.0.drop_stale_lines(range);
    }

    fn sync_instructions(&self, range: HostPhysRange) {
        self.0.sync_instructions(range);
    }
}
