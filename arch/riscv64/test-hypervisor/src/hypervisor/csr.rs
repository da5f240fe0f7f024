//! Control and status registers, by the numbers that every assembler knows. (Privileged Architecture
//! 20250508, "CSR Listing".)

/// HS-mode: sie.
pub(crate) const SIE: u16 = 0x104;
/// HS-mode: stvec.
pub(crate) const STVEC: u16 = 0x105;
/// HS-mode: scause.
pub(crate) const SCAUSE: u16 = 0x142;
/// HS-mode: stval.
pub(crate) const STVAL: u16 = 0x143;
/// HS-mode: sip.
pub(crate) const SIP: u16 = 0x144;
/// HS-mode: hstatus.
pub(crate) const HSTATUS: u16 = 0x600;
/// HS-mode: hedeleg, the exceptions that the guest handles itself.
pub(crate) const HEDELEG: u16 = 0x602;
/// HS-mode: hideleg, the interrupts that the guest handles itself.
pub(crate) const HIDELEG: u16 = 0x603;
/// HS-mode: hcounteren.
pub(crate) const HCOUNTEREN: u16 = 0x606;
/// HS-mode: henvcfg.
pub(crate) const HENVCFG: u16 = 0x60a;
/// HS-mode: htval, a guest-physical address shifted right by 2.
pub(crate) const HTVAL: u16 = 0x643;
/// HS-mode: htinst, what the hart did when it trapped.
pub(crate) const HTINST: u16 = 0x64a;
/// HS-mode: hvip.
pub(crate) const HVIP: u16 = 0x645;
/// HS-mode: hgatp.
pub(crate) const HGATP: u16 = 0x680;
/// The guest's sstatus.
pub(crate) const VSSTATUS: u16 = 0x200;
/// The guest's sie.
pub(crate) const VSIE: u16 = 0x204;
/// The guest's timer. (Sstc.)
pub(crate) const VSTIMECMP: u16 = 0x24d;
/// The guest's satp.
pub(crate) const VSATP: u16 = 0x280;

/// Reads a register of this hart.
macro_rules! read {
    ($csr:expr) => {{
        let value: u64;
        // SAFETY: the registers that this module names can be read in HS-mode without side effects.
        unsafe {
            core::arch::asm!("csrr {}, {}", out(reg) value, const $csr, options(nostack));
        }
        value
    }};
}

/// Writes a register of this hart.
macro_rules! write {
    ($csr:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: none of the registers that this module names has an effect on the hypervisor's own
        // memory, stvec excepted, whose values are addresses of trap vectors.
        unsafe {
            core::arch::asm!("csrw {}, {}", const $csr, in(reg) value, options(nostack));
        }
    }};
}

pub(crate) use {read, write};
