//! A kernel's `PagingHandler`, with static functions, as the frames of a machine.
#![cfg(feature = "arceos")]
#![expect(
    clippy::expect_used,
    reason = "a handler of a test fails as the test does"
)]

mod common;

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;

use common::*;
use guest_addr::{HostPhysAddr, HostPhysRange};
use guest_vm::{GuestUse, MapType, PagingHandlerFrames, Vm, VmHal};
use memory_addr::{PhysAddr, VirtAddr};
use nested_page_table::{HostFrames, Invalidation, InvalidationFailed};
use page_table_multiarch::PagingHandler;

/// Physical addresses are the process's own, less this.
const OFFSET: usize = 0x1000_0000_0000;

thread_local! {
    /// Runs that are out: their first address and their layout.
    static RUNS: RefCell<BTreeMap<usize, Layout>> = const { RefCell::new(BTreeMap::new()) };
}

struct Handler;

impl PagingHandler for Handler {
    fn alloc_frames(count: usize, alignment: usize) -> Option<PhysAddr> {
        let layout = Layout::from_size_align(count * 0x1000, alignment).ok()?;
        // SAFETY: the layout has a size.
        let pointer = unsafe { alloc(layout) };
        // SAFETY: the memory was just allocated with this size.
        unsafe { pointer.write_bytes(0xa5, layout.size()) };
        let address = pointer.expose_provenance();
        RUNS.with_borrow_mut(|runs| runs.insert(address, layout));
        Some(PhysAddr::from(address - OFFSET))
    }

    fn dealloc_frames(address: PhysAddr, count: usize) {
        let pointer = Self::phys_to_virt(address).as_mut_ptr();
        let layout = RUNS.with_borrow_mut(|runs| runs.remove(&pointer.addr()));
        let layout = layout.expect("a run that is out");
        assert_eq!(
            layout.size(),
            count * 0x1000,
            "the number that was allocated"
        );
        // SAFETY: the run was allocated with this layout and is forgotten now.
        unsafe { dealloc(pointer, layout) };
    }

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from(address.as_usize() + OFFSET)
    }
}

struct Kernel(PagingHandlerFrames<Handler>);

// SAFETY: the handler is one for all, nothing is granted or reserved, and there are no CPUs.
unsafe impl VmHal for Kernel {
    type Frames = PagingHandlerFrames<Handler>;

    fn frames(&self) -> &Self::Frames {
        &self.0
    }

    fn grants(&self, _: HostPhysRange, _: GuestUse) -> bool {
        false
    }

    fn alloc_memory_region_at(&self, _: HostPhysAddr, _: u64) -> bool {
        false
    }

    fn dealloc_memory_region_at(&self, _: HostPhysAddr, _: u64) {}

    fn invalidate(&self, _: &Invalidation) -> Result<(), InvalidationFailed> {
        Ok(())
    }
}

#[test]
fn machine_runs_on_a_paging_handler() {
    const { assert!(!PagingHandlerFrames::<Handler>::PARTIAL_FREE) };
    // SAFETY: the handler hands out memory of the process's allocator, as `HostFrames` demands.
    let frames = unsafe { PagingHandlerFrames::new() };
    let mut config = config::<X86>();
    config.memory_regions = vec![ram(0x8000_0000, 0x40_0000, RW, MapType::Alloc)];
    let vm = Vm::new(config, Kernel(frames)).unwrap();
    vm.write_to_guest(gpa(0x8000_0ffe), b"text").unwrap();
    let mut text = [0xff; 6];
    vm.read_from_guest(gpa(0x8000_0ffd), &mut text).unwrap();
    assert_eq!(&text, b"\0text\0");
    vm.unmap_region(gpa(0x8010_0000), 0x1000).unwrap();
    drop(vm);
    assert_eq!(RUNS.with_borrow(BTreeMap::len), 0);
}
