//! The hypervisor's abstraction, with a switch that tests need.

use core::sync::atomic::{AtomicBool, Ordering};

use nested_paging::nested_page_table::{InvalidationFailed, Scope};
use nested_paging::{HostPhysAddr, HostPhysRange, Invalidation, VmHal};

/// Withhold every invalidation from the other CPUs, to show that it is what makes the tests pass.
static WITHHOLD: AtomicBool = AtomicBool::new(false);

/// Begins or ends withholding invalidations from other CPUs.
pub(crate) fn withhold_from_others(withhold: bool) {
    WITHHOLD.store(withhold, Ordering::SeqCst);
}

/// The hypervisor's abstraction `H`, unless an invalidation is to be withheld.
#[derive(Debug)]
pub(crate) struct TestHal<H>(pub(crate) H);

impl<H: VmHal> VmHal for TestHal<H> {
    type Frames = H::Frames;

    fn frames(&self) -> &Self::Frames {
        self.0.frames()
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

    fn sync_instructions(&self, range: HostPhysRange) {
        self.0.sync_instructions(range);
    }
}
