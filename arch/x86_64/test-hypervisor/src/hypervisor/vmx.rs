//! VMX operation: turning it on, and what of it this processor has.
#![expect(unsafe_code, reason = "VMX instructions and their registers")]

use core::arch::asm;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::native::Instruction;
use nested_paging::{HostFrames, HostPhysAddr};
use test_hypervisor_kit::FramePool;

use super::cpu::{self, read_msr};

/// IA32_FEATURE_CONTROL: bit 0 locks it, bit 2 allows VMX.
const FEATURE_CONTROL: u32 = 0x3a;
/// IA32_VMX_BASIC: bits 30:0 are the revision of VMX regions.
const BASIC: u32 = 0x480;
/// IA32_VMX_CR0_FIXED0 and IA32_VMX_CR4_FIXED0: bits that must be 1.
const CR0_FIXED0: u32 = 0x486;
const CR4_FIXED0: u32 = 0x488;

/// Enters VMX root operation. (SDM 3C, "Enabling and Entering VMX Operation".)
pub(crate) fn enable(frames: &FramePool) {
    // SAFETY: a processor with EPT has this register, and the next two.
    let control = unsafe { read_msr(FEATURE_CONTROL) };
    // SAFETY: as above.
    let cr0 = unsafe { read_msr(CR0_FIXED0) };
    // SAFETY: as above.
    let cr4 = unsafe { read_msr(CR4_FIXED0) };
    if control & 1 == 0 {
        // SAFETY: the register is not locked.
        unsafe { cpu::write_msr(FEATURE_CONTROL, control | 5) };
    }
    // SAFETY: these bits must be 1, CR4.VMXE among them; paging stays on.
    unsafe { cpu::set_cr0_cr4(cpu::cr0() | cr0, cpu::cr4() | cr4) };
    let region = region(frames);
    let failed: u8;
    // SAFETY: the region is a frame of its own with the revision in it, and is never given back.
    unsafe {
        asm!("vmxon [{}]", "setbe {}", in(reg) &raw const region, out(reg_byte) failed, options(nostack));
    }
    assert!(failed == 0, "the processor refuses VMX operation");
    // What was cached in an earlier VMX operation may still be.
    // SAFETY: the processor is in VMX root operation; every one with EPT has INVEPT of all contexts.
    let outcome = unsafe { Instruction::InveptAll.execute() };
    assert!(
        outcome.is_ok(),
        "the processor refuses INVEPT of all contexts"
    );
}

/// A frame that begins with the revision of VMX regions, and is zero otherwise.
pub(crate) fn region(frames: &FramePool) -> u64 {
    let region = zeroed(frames);
    // SAFETY: every processor with VMX has the register.
    let revision = unsafe { read_msr(BASIC) } as u32 & 0x7fff_ffff;
    let word = frames.pointer(HostPhysAddr::new(region)).cast();
    // SAFETY: the frame is ours.
    unsafe { word.write(revision) };
    region
}

/// A frame of zeroes.
pub(crate) fn zeroed(frames: &FramePool) -> u64 {
    let frame = frames.alloc_zeroed(1, PAGE_SIZE_4K);
    let Some(frame) = frame else {
        panic!("no frame for a VMX region");
    };
    frame.as_u64()
}
