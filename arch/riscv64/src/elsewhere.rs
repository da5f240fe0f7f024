//! Stands in for `hardware.rs` on hosted operating systems and on other architectures.
//!
//! No instruction of HS-mode can be executed there. A call that did nothing would let its caller
//! believe that translations are gone, so each call ends with a message instead.
#![expect(
    unsafe_code,
    reason = "the functions are those of `hardware.rs`, whose callers keep conditions"
)]

#[cold]
#[expect(clippy::panic, reason = "there is no value that would be true")]
fn unavailable() -> ! {
    panic!("nested-paging-riscv64 executes instructions on bare-metal RISC-V only");
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn hfence_gvma(_rs1: Option<u64>, _rs2: Option<u64>) {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn fence_i() {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn read_hgatp() -> u64 {
    unavailable()
}

/// # Safety
///
/// None: it does not return.
pub(crate) unsafe fn exchange_hgatp(_value: u64) -> u64 {
    unavailable()
}
