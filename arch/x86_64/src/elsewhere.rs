//! Stands in for `hardware.rs` on hosted operating systems and on other architectures.
//!
//! No instruction of VMX root operation or of SVM can be executed there. A call that did nothing would let its
//! caller believe that translations are gone, so each call ends with a message instead.
#![expect(
    unsafe_code,
    reason = "the functions are those of `hardware.rs`, whose callers keep conditions"
)]

use crate::nested::Extensions;
use crate::npt;
use crate::registers::Registers;
use crate::vm_fail::Flags;

#[cold]
#[expect(clippy::panic, reason = "there is no value that would be true")]
fn unavailable() -> ! {
    panic!("nested-paging-x86-64 executes instructions on bare-metal x86-64 only");
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn invept(_kind: u64, _descriptor: &[u64; 2]) -> Flags {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn registers() -> Registers {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn invlpga(_linear_address: u64, _asid: u32) {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn extensions() -> Extensions {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn npt_registers() -> npt::Registers {
    unavailable()
}
