//! The serial port of QEMU's virt machine: a 16550.
#![expect(unsafe_code, reason = "the registers of a device")]

/// Where the UART is.
pub(crate) const UART: u64 = 0x1000_0000;

const TRANSMIT: u64 = 0;
const LINE_STATUS: u64 = 5;
const TRANSMIT_EMPTY: u8 = 1 << 5;
const SCRATCH: u64 = 7;

/// Writes a byte when the UART is ready for it.
pub(crate) fn put(byte: u8) {
    // SAFETY: reading the line status clears error bits at most.
    while unsafe { register(LINE_STATUS).read_volatile() } & TRANSMIT_EMPTY == 0 {}
    // SAFETY: the transmitter is empty.
    unsafe { register(TRANSMIT).write_volatile(byte) };
}

/// What the scratch register holds.
pub(crate) fn scratch() -> u8 {
    // SAFETY: the register has no effect.
    unsafe { register(SCRATCH).read_volatile() }
}

const fn register(number: u64) -> *mut u8 {
    (UART + number) as *mut u8
}
