//! Calls into the firmware, which on QEMU's virt machine is QEMU. (Arm Power State Coordination
//! Interface, DEN 0022, "CPU_ON".)
#![expect(unsafe_code, reason = "the call is an instruction")]

use core::arch::asm;

const CPU_ON: u64 = 0xc400_0003;

/// Which instruction calls the firmware: the property `method` of the device tree's node `psci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduit {
    Smc,
    Hvc,
}

/// Starts the CPU with the affinity `cpu` at `entry`, at this exception level, with `context` in x0.
///
/// # Safety
///
/// - `entry` is code that starts a CPU, and finds what it needs in `context`.
pub(crate) unsafe fn start_cpu(conduit: Conduit, cpu: u64, entry: u64, context: u64) -> bool {
    let error: i64;
    /// One of the instructions with the registers that both use.
    macro_rules! call {
        ($instruction:literal) => {
            asm!(
                $instruction,
                inlateout("x0") CPU_ON => error,
                inlateout("x1") cpu => _,
                inlateout("x2") entry => _,
                inlateout("x3") context => _,
                clobber_abi("C"),
                options(nostack),
            )
        };
    }
    match conduit {
        // SAFETY: the firmware keeps the registers that functions keep; the rest is the caller's.
        Conduit::Smc => unsafe { call!("smc #0") },
        // SAFETY: as above.
        Conduit::Hvc => unsafe { call!("hvc #0") },
    }
    error == 0
}
