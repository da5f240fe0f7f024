//! Calls into the firmware. (RISC-V Supervisor Binary Interface Specification, version 2.0.)
#![expect(unsafe_code, reason = "the call is an instruction")]

use core::arch::asm;
use core::sync::atomic::{Ordering, fence};

use nested_paging::host_services::sbi::Call;

const IPI: u64 = 0x0073_5049;
const HART_STATE: u64 = 0x0048_534d;

/// Calls `function` of `extension`: the error, 0 for none.
///
/// # Safety
///
/// - What the call does to memory and to other harts is in order.
pub(crate) unsafe fn call(extension: u64, function: u64, arguments: [u64; 6]) -> i64 {
    let [a0, a1, a2, a3, a4, a5] = arguments;
    let error;
    // SAFETY: the firmware keeps all registers but a0 and a1; the rest is the caller's.
    unsafe {
        asm!(
            "ecall",
            inlateout("a0") a0 => error,
            inlateout("a1") a1 => _,
            in("a2") a2, in("a3") a3, in("a4") a4, in("a5") a5,
            in("a6") function, in("a7") extension,
            options(nostack),
        );
    }
    error
}

/// Has the firmware fence other harts, after every store of this hart so far.
pub(crate) fn remote_fence(call: &Call) -> bool {
    let [a0, a1, a2, a3, a4] = call.arguments;
    // FENCE RW, RW: the other harts see the stores before they are asked.
    fence(Ordering::SeqCst);
    // SAFETY: a fence too many does no harm.
    let error = unsafe { self::call(call.extension, call.function, [a0, a1, a2, a3, a4, 0]) };
    error == 0
}

/// Interrupts `hart`. (Chapter "IPI Extension", function 0.)
pub(crate) fn send_ipi(hart: u64) -> bool {
    // SAFETY: harts take software interrupts only while they wait for work.
    let error = unsafe { call(IPI, 0, [1, hart, 0, 0, 0, 0]) };
    error == 0
}

/// Starts `hart` at `entry` with `opaque` in a1. (Chapter "Hart State Management Extension",
/// function 0.)
///
/// # Safety
///
/// - `entry` is code that starts a hart, and finds what it needs in `opaque`.
pub(crate) unsafe fn start_hart(hart: u64, entry: u64, opaque: u64) -> bool {
    // SAFETY: the caller's.
    let error = unsafe { call(HART_STATE, 0, [hart, entry, opaque, 0, 0, 0]) };
    error == 0
}
