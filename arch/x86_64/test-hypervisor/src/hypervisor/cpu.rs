//! Ports and registers of the processor.
#![expect(unsafe_code, reason = "privileged instructions")]

use core::arch::asm;

/// Writes a byte to an I/O port.
pub(crate) fn write_port(port: u16, byte: u8) {
    // SAFETY: no device of this machine writes to memory on its own.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nostack)) };
}

/// Reads a byte from an I/O port.
pub(crate) fn read_port(port: u16) -> u8 {
    let byte;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") byte, options(nostack)) };
    byte
}

/// Reads a model-specific register.
///
/// # Safety
///
/// - The processor has the register, and reading it has no side effect.
pub(crate) unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
///
/// - The processor has the register, takes the value, and the hypervisor can go on with it.
pub(crate) unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's.
    unsafe { asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack)) };
}

/// Reads a control register: 0, 3 or 4.
macro_rules! read_cr {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a control register has no side effect.
        unsafe {
            core::arch::asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack))
        };
        value
    }};
}

pub(crate) fn cr0() -> u64 {
    read_cr!("cr0")
}

pub(crate) fn cr3() -> u64 {
    read_cr!("cr3")
}

pub(crate) fn cr4() -> u64 {
    read_cr!("cr4")
}

/// Writes CR0 and CR4.
///
/// # Safety
///
/// - The processor takes the values, and paging stays as it is.
pub(crate) unsafe fn set_cr0_cr4(cr0: u64, cr4: u64) {
    // SAFETY: the caller's.
    unsafe { asm!("mov cr0, {}", "mov cr4, {}", in(reg) cr0, in(reg) cr4, options(nostack)) };
}

/// What LGDT, LIDT, SGDT and SIDT load and store.
#[repr(C, packed(2))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TablePointer {
    pub(crate) limit: u16,
    pub(crate) base: u64,
}

/// Where the descriptor table is that the processor uses.
pub(crate) fn gdt() -> u64 {
    let mut pointer = TablePointer::default();
    // SAFETY: the pointer is where the instruction writes.
    unsafe { asm!("sgdt [{}]", in(reg) &raw mut pointer, options(nostack)) };
    pointer.base
}

/// Where the table of trap handlers is.
pub(crate) fn idt() -> u64 {
    let mut pointer = TablePointer::default();
    // SAFETY: the pointer is where the instruction writes.
    unsafe { asm!("sidt [{}]", in(reg) &raw mut pointer, options(nostack)) };
    pointer.base
}
