//! Stands in for `hardware.rs` on hosted operating systems and on other architectures.
//!
//! No instruction of stage 2 can be executed there. A call that did nothing would let its caller
//! believe that translations are gone, so each call ends with a message instead.
#![expect(
    unsafe_code,
    reason = "the functions are those of `hardware.rs`, whose callers keep conditions"
)]

use core::sync::atomic::{Ordering, fence};

use crate::id_registers::IdRegisters;
use crate::instructions::Instruction;
use crate::registers::Stage2Registers;

#[cold]
#[expect(clippy::panic, reason = "there is no value that would be true")]
fn unavailable() -> ! {
    panic!("nested-paging-aarch64 executes instructions on bare-metal AArch64 only");
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn execute(_instruction: Instruction) {
    unavailable()
}

/// No stage-2 walker reads the table here. Other threads may: a release is what they need.
#[inline]
pub(crate) fn publish() {
    fence(Ordering::Release);
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn stage2_registers() -> Stage2Registers {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn id_registers() -> IdRegisters {
    unavailable()
}
