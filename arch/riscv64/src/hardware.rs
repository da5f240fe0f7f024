//! The instructions, executed. This module stands on RISC-V without a hosted operating system;
//! `elsewhere.rs` has the same functions for all other targets.
//!
//! The compiler keeps earlier stores before each of them: none of the blocks is `nomem`.
#![expect(
    unsafe_code,
    reason = "the one place that executes instructions of HS-mode"
)]

use core::arch::asm;

/// HFENCE.GVMA. Assemblers that do not know the hypervisor extension take the encoding: opcode
/// SYSTEM, funct3 0, funct7 0b0110001.
///
/// # Safety
///
/// - The hart is in HS-mode and mstatus.TVM is 0, or it is in M-mode.
#[inline]
pub(crate) unsafe fn hfence_gvma(rs1: Option<u64>, rs2: Option<u64>) {
    match (rs1, rs2) {
        (None, None) => {
            // SAFETY: the instruction is legal by the caller's condition and writes no register.
            unsafe { asm!(".insn r 0x73, 0, 0x31, x0, x0, x0", options(nostack)) }
        }
        (None, Some(vmid)) => {
            // SAFETY: as above.
            unsafe { asm!(".insn r 0x73, 0, 0x31, x0, x0, {}", in(reg) vmid, options(nostack)) }
        }
        (Some(address), None) => {
            // SAFETY: as above.
            unsafe { asm!(".insn r 0x73, 0, 0x31, x0, {}, x0", in(reg) address, options(nostack)) }
        }
        (Some(address), Some(vmid)) => {
            // SAFETY: as above.
            unsafe {
                asm!(".insn r 0x73, 0, 0x31, x0, {}, {}", in(reg) address, in(reg) vmid, options(nostack))
            }
        }
    }
}

/// FENCE.I.
///
/// # Safety
///
/// - The hart has Zifencei.
#[inline]
pub(crate) unsafe fn fence_i() {
    // SAFETY: the instruction is legal by the caller's condition and changes no register.
    unsafe { asm!(".insn i 0x0f, 1, x0, x0, 0", options(nostack)) }
}

/// hgatp.
///
/// # Safety
///
/// - The hart has hgatp and may read it.
pub(crate) unsafe fn read_hgatp() -> u64 {
    let value;
    // SAFETY: reading the register (0x680) has no side effect; the caller says that it is legal.
    unsafe { asm!("csrr {}, 0x680", out(reg) value, options(nostack)) };
    value
}

/// Writes hgatp and returns what it reads back as.
///
/// # Safety
///
/// - The hart has hgatp and may write it.
/// - Nothing depends on its value.
pub(crate) unsafe fn exchange_hgatp(value: u64) -> u64 {
    // SAFETY: the caller says that writing the register (0x680) is legal and without consequence.
    unsafe { asm!("csrw 0x680, {}", in(reg) value, options(nostack)) };
    // SAFETY: what can be written can be read.
    unsafe { read_hgatp() }
}
