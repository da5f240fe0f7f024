//! The instructions, executed. This module stands on AArch64 without a hosted operating system;
//! `elsewhere.rs` has the same functions for all other targets.
#![expect(
    unsafe_code,
    reason = "the one place that executes system instructions"
)]

use core::arch::asm;

use crate::id_registers::IdRegisters;
use crate::instructions::Instruction;
use crate::registers::Stage2Registers;

macro_rules! run {
    ($text:literal $(, $operand:expr)?) => {
        // SAFETY: the instruction touches neither stack nor flags, the compiler treats it as an
        // access to all memory, and the caller vouches for what it does to the CPU.
        unsafe { asm!($text, $(in(reg) $operand,)? options(nostack, preserves_flags)) }
    };
}

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading these registers has no side effect, and the caller vouches for the
        // exception level that may read them.
        unsafe {
            asm!(
                concat!("mrs {}, ", $register),
                out(reg) value,
                options(nostack, preserves_flags)
            );
        }
        value
    }};
}

/// # Safety
///
/// Those of [`Instruction::execute`].
#[inline]
pub(crate) unsafe fn execute(instruction: Instruction) {
    match instruction {
        Instruction::DsbIshst => run!("dsb ishst"),
        Instruction::DsbNshst => run!("dsb nshst"),
        Instruction::DsbIsh => run!("dsb ish"),
        Instruction::DsbNsh => run!("dsb nsh"),
        Instruction::Isb => run!("isb"),
        Instruction::WriteVtcr(value) => run!("msr vtcr_el2, {}", value),
        Instruction::WriteVttbr(value) => run!("msr vttbr_el2, {}", value),
        Instruction::TlbiIpas2e1is(xt) => run!("tlbi ipas2e1is, {}", xt),
        Instruction::TlbiIpas2e1(xt) => run!("tlbi ipas2e1, {}", xt),
        // TLBI RIPAS2E1IS and RIPAS2E1, names that assemblers know from Armv8.4 on only.
        Instruction::TlbiRipas2e1is(xt) => run!("sys #4, c8, c0, #2, {}", xt),
        Instruction::TlbiRipas2e1(xt) => run!("sys #4, c8, c4, #2, {}", xt),
        Instruction::TlbiVmalle1is => run!("tlbi vmalle1is"),
        Instruction::TlbiVmalle1 => run!("tlbi vmalle1"),
        Instruction::TlbiVmalls12e1is => run!("tlbi vmalls12e1is"),
        Instruction::TlbiVmalls12e1 => run!("tlbi vmalls12e1"),
        Instruction::TlbiVale2is(xt) => run!("tlbi vale2is, {}", xt),
    }
}

/// `DSB ISHST`: earlier stores are visible to the walkers of all CPUs.
#[inline]
pub(crate) fn publish() {
    // SAFETY: a barrier needs no exception level and changes no state.
    unsafe { execute(Instruction::DsbIshst) }
}

/// # Safety
///
/// - The CPU runs at EL2.
#[inline]
pub(crate) unsafe fn stage2_registers() -> Stage2Registers {
    Stage2Registers {
        vtcr: read!("VTCR_EL2"),
        vttbr: read!("VTTBR_EL2"),
    }
}

/// # Safety
///
/// - The CPU runs at EL2.
pub(crate) unsafe fn id_registers() -> IdRegisters {
    IdRegisters {
        midr_el1: read!("MIDR_EL1"),
        id_aa64isar0: read!("ID_AA64ISAR0_EL1"),
        id_aa64mmfr0: read!("ID_AA64MMFR0_EL1"),
        id_aa64mmfr1: read!("ID_AA64MMFR1_EL1"),
        // ID_AA64MMFR2_EL1, a name that assemblers know from Armv8.2 on only. It reads as zero
        // where it does not exist.
        id_aa64mmfr2: read!("S3_0_C0_C7_2"),
        hcr_el2: read!("HCR_EL2"),
    }
}
