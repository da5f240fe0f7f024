//! What the libraries ask of this hypervisor.
#![expect(unsafe_code, reason = "implements `VmHal`, maintains TLBs and caches")]

use core::arch::asm;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::GuestUse;
use nested_paging::native::Stage2;
use nested_paging::nested_page_table::InvalidationFailed;
use nested_paging::{HostFrames, HostPhysAddr, HostPhysRange, Invalidation, VmHal};
use test_hypervisor_kit::{FramePool, GrantedMemory};

use super::register::read;

/// The hypervisor's side of a virtual machine whose table is in `format`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hal {
    pub(crate) format: Stage2,
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

    /// One CPU does it for all of them: the instructions are broadcast.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        // SAFETY: the hypervisor is at EL2 without VHE, never unmasks interrupts, and asks for the
        // capabilities of the CPU that it is on. QEMU's processors translate nothing speculatively;
        // on a real Cortex-A72, put EL1 translation to rest first, as `Instruction::execute` asks.
        unsafe { self.format.invalidate(request) };
        Ok(())
    }

    fn clean_data_cache(&self, range: HostPhysRange) {
        for_each_line(range, data_line_size(), |line| {
            // SAFETY: what is cleaned is what memory should contain.
            unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack, preserves_flags)) };
        });
        // SAFETY: a barrier.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    }

    fn drop_stale_lines(&self, range: HostPhysRange) {
        for_each_line(range, data_line_size(), |line| {
            // SAFETY: what is written back is what memory should contain, and what is dropped is in memory.
            unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
        });
        // SAFETY: a barrier.
        unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
    }

    fn sync_instructions(&self, range: HostPhysRange) {
        for_each_line(range, data_line_size(), |line| {
            // SAFETY: what is cleaned is what memory should contain.
            unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
        });
        // By address it would be the hypervisor's: guests may fetch by another.
        // SAFETY: instructions are fetched again from memory that has them.
        unsafe {
            asm!(
                "dsb ish",
                "ic ialluis",
                "dsb ish",
                "isb",
                options(nostack, preserves_flags)
            );
        }
    }
}

/// The smallest line of all data caches, in bytes: CTR_EL0.DminLine, in words of 4 bytes.
fn data_line_size() -> u64 {
    4 << (read!("ctr_el0") >> 16 & 0xf)
}

fn for_each_line(range: HostPhysRange, size: u64, each: impl Fn(u64)) {
    let first = range.start().as_u64() & !(size - 1);
    let lines = (range.last().as_u64() - first) / size;
    (0..=lines).for_each(|line| each(first + line * size));
}
