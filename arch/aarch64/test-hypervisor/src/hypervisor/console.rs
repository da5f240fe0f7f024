//! The serial port of QEMU's virt machine: a PL011. (PrimeCell UART (PL011) Technical Reference
//! Manual, "Register descriptions".)
#![expect(unsafe_code, reason = "the registers of a device")]

/// Where the UART is.
pub(crate) const UART: u64 = 0x0900_0000;

const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
const TRANSMIT_FULL: u32 = 1 << 5;
/// UARTIBRD, which does nothing until UARTLCR_H is written.
const BAUD_RATE: u64 = 0x24;

/// Writes a byte when the UART is ready for it.
pub(crate) fn put(byte: u8) {
    // SAFETY: reading the flags has no side effect.
    while unsafe { register(FLAGS).read_volatile() } & TRANSMIT_FULL != 0 {}
    // SAFETY: there is room for the byte.
    unsafe { register(DATA).write_volatile(u32::from(byte)) };
}

/// What the baud rate register holds.
pub(crate) fn baud_rate() -> u8 {
    // SAFETY: reading the register has no side effect.
    let value = unsafe { register(BAUD_RATE).read_volatile() };
    value as u8
}

const fn register(offset: u64) -> *mut u32 {
    (UART + offset) as *mut u32
}
