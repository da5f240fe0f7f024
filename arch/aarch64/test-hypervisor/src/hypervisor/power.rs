//! The end.
#![expect(unsafe_code, reason = "a call to the emulator")]

use core::arch::asm;
use core::panic::PanicInfo;

use test_hypervisor_kit::console::print_last_words;

use super::console;

/// SYS_EXIT and its reason. (Semihosting for AArch32 and AArch64, "SYS_EXIT (0x18)".)
const SYS_EXIT: u64 = 0x18;
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x2_0026;

/// Ends the machine with an exit status.
pub(crate) fn exit(success: bool) -> ! {
    let reason = [ADP_STOPPED_APPLICATION_EXIT, u64::from(!success)];
    // SAFETY: the emulator reads the two words and ends.
    unsafe { asm!("hlt #0xf000", in("x0") SYS_EXIT, in("x1") &raw const reason, options(nostack)) };
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    print_last_words(console::put, format_args!("{information}"));
    exit(false)
}
