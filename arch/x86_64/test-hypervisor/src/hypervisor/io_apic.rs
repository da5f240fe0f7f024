//! The I/O APIC: a device in memory that stays where it is without any set-up.
#![expect(unsafe_code, reason = "the registers of a device")]

/// Where its registers are.
pub(crate) const IO_APIC: u64 = 0xfec0_0000;

/// The register that selects another, and does nothing else.
const SELECT: *mut u32 = IO_APIC as *mut u32;

/// What the select register holds.
pub(crate) fn selected() -> u8 {
    // SAFETY: reading the register has no effect, and the boot code maps it.
    unsafe { SELECT.read_volatile() as u8 }
}
