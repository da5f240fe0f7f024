//! The end.
#![expect(unsafe_code, reason = "the register of a device")]

use core::panic::PanicInfo;

use test_hypervisor_kit::console::print_last_words;

use super::console;

/// QEMU's test device ends the emulator: 0x5555 with status 0, 0x3333 with the status above it.
const TEST_DEVICE: *mut u32 = 0x10_0000 as *mut u32;

/// Ends the machine with an exit status.
pub(crate) fn exit(success: bool) -> ! {
    let word = if success { 0x5555 } else { 0x1_3333 };
    // SAFETY: the device is at this address on QEMU's virt machine, and nothing runs after.
    unsafe { TEST_DEVICE.write_volatile(word) };
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    print_last_words(console::put, format_args!("{information}"));
    exit(false)
}
