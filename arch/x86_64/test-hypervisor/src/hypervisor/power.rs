//! The end.
#![expect(unsafe_code, reason = "stops the processor")]

use core::arch::asm;
use core::panic::PanicInfo;

use test_hypervisor_kit::console::print_last_words;

use super::{console, cpu};

/// Bochs ends with status 1 when it is told "Shutdown", byte by byte.
const SHUTDOWN_PORT: u16 = 0x8900;

/// Ends the machine with an exit status.
pub(crate) fn exit(success: bool) -> ! {
    if success {
        // SAFETY: an instruction without effect, at which Bochs returns to its debugger: that has been
        // told to quit, with status 0.
        unsafe { asm!("xchg bx, bx", options(nostack)) };
    } else {
        b"Shutdown"
            .iter()
            .for_each(|&byte| cpu::write_port(SHUTDOWN_PORT, byte));
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    print_last_words(console::put, format_args!("{information}"));
    exit(false)
}
