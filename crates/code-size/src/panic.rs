//! What a bare-metal program needs to be linked. Nothing is left of it in a program that cannot panic.

use core::hint;
use core::panic::PanicInfo;

#[panic_handler]
fn panic(_information: &PanicInfo<'_>) -> ! {
    loop {
        hint::spin_loop();
    }
}
