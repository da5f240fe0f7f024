//! What each CPU is told before it runs guests: its own translation, its vectors, and what guests may
//! do. (Arm ARM DDI 0487, the register of each name.)
#![expect(unsafe_code, reason = "writes system registers")]

use core::arch::asm;

use super::register::{read, write};
use super::vectors;

/// CPTR_EL2: nothing about floating point is trapped; SVE is.
pub(crate) const CPTR_NO_TRAPS: u64 = 0x33ff;
/// HCR_EL2.VM: guests run under stage 2.
const HCR_VM: u64 = 1 << 0;
/// HCR_EL2.SWIO: to a guest that invalidates its caches by set and way, they are cleaned too, so that
/// nobody else's lines are lost.
const HCR_CLEAN_BY_SET_AND_WAY: u64 = 1 << 1;
/// HCR_EL2.DC: the guest's stage 1 is off, and its memory is write-back as far as stage 1 goes.
pub(crate) const HCR_DEFAULT_CACHEABLE: u64 = 1 << 12;
/// HCR_EL2.TWI: a guest that would sleep until an interrupt ends instead.
pub(crate) const HCR_TRAP_WFI: u64 = 1 << 13;
/// HCR_EL2.TSC: calls of the guest to the firmware end it.
const HCR_TRAP_SMC: u64 = 1 << 19;
/// HCR_EL2.TIDCP and TACR: what steers the CPU itself is out of a guest's reach.
const HCR_TRAP_CPU_CONTROL: u64 = 1 << 20 | 1 << 21;
/// HCR_EL2.RW: guests are AArch64.
const HCR_RW: u64 = 1 << 31;
/// What all guests run with. IMO, FMO and AMO are 0: interrupts and SErrors that are taken in a guest are
/// the guest's, and the hypervisor masks its own.
const HCR_GUEST: u64 =
    HCR_VM | HCR_CLEAN_BY_SET_AND_WAY | HCR_TRAP_SMC | HCR_TRAP_CPU_CONTROL | HCR_RW;
/// HCR_EL2.FWB: stage 2 alone decides that memory is write-back.
pub(crate) const HCR_FORCE_WRITE_BACK: u64 = 1 << 46;

/// SCTLR_EL2: M, C and I, and what is RES1.
const SCTLR: u64 = 0x30c5_0830 | 1 << 0 | 1 << 2 | 1 << 12;
/// MAIR_EL2: attribute 0 is write-back, attribute 1 is Device-nGnRE.
const MAIR: u64 = 0x04ff;
/// TCR_EL2: 39 bits of input, 40 of output, 4 KiB granule, walks write-back inner shareable, and what
/// is RES1.
const TCR: u64 = 1 << 31 | 1 << 23 | 2 << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | (64 - 39);
/// SCTLR_EL1 of a guest that begins: what is RES1, little-endian, translation off.
const GUEST_SCTLR: u64 = 0x30d0_0800;
/// MDCR_EL2.HPMN, which a reset sets to the number of performance counters: guests have all of them.
const MDCR_COUNTERS: u64 = 0x1f;
/// CPACR_EL1 of a guest that begins: it may use floating-point registers.
const GUEST_CPACR: u64 = 0b11 << 20;

#[repr(C, align(4096))]
struct RootTable([u64; 512]);

/// The hypervisor's own translation: everything is where it is, in blocks of 1 GiB. Devices are in
/// the first, RAM in the others.
static IDENTITY: RootTable = identity();

const fn identity() -> RootTable {
    const BLOCK: u64 = 0b01;
    const ACCESS_FLAG: u64 = 1 << 10;
    const INNER_SHAREABLE: u64 = 0b11 << 8;
    const RES1: u64 = 1 << 6;
    const ATTRIBUTE_1: u64 = 1 << 2;
    const EXECUTE_NEVER: u64 = 1 << 54;
    let mut table = [0; 512];
    table[0] = BLOCK | ACCESS_FLAG | RES1 | ATTRIBUTE_1 | EXECUTE_NEVER;
    let mut gib = 1;
    while gib < 256 {
        table[gib] = (gib as u64) << 30 | BLOCK | ACCESS_FLAG | INNER_SHAREABLE | RES1;
        gib += 1;
    }
    RootTable(table)
}

/// HCR_EL2 for guests whose stage 1 is their own. Forced write-back is used where the CPU has it
/// (FEAT_S2FWB), so set this before the capabilities are detected.
pub(crate) fn hcr() -> u64 {
    let has_forced_write_back = read!("S3_0_C0_C7_2") >> 40 & 0xf != 0;
    match has_forced_write_back {
        true => HCR_GUEST | HCR_FORCE_WRITE_BACK,
        false => HCR_GUEST,
    }
}

/// Does `action` with another HCR_EL2, which concerns AT and guests.
pub(crate) fn with_hcr<T>(hcr: u64, action: impl FnOnce() -> T) -> T {
    let before = read!("hcr_el2");
    // SAFETY: the values come from `hcr` with bits that concern guests.
    unsafe { write!("hcr_el2", hcr) };
    // SAFETY: what follows uses the register as it is now.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    let result = action();
    // SAFETY: as it was.
    unsafe { write!("hcr_el2", before) };
    result
}

/// Prepares this CPU.
///
/// # Safety
///
/// - The CPU is at EL2, its own translation is off, and its caches hold nothing that matters.
pub(crate) unsafe fn set_up() {
    // SAFETY: these are vectors.
    unsafe { write!("vbar_el2", vectors::address()) };
    // SAFETY: the caller's; every address stays what it is.
    unsafe { translate() };
    // SAFETY: these concern guests only, and none runs.
    unsafe { prepare_guests() };
    // SAFETY: the barrier makes all of it count.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a sequence of register writes that belong together"
)]
unsafe fn translate() {
    // SAFETY: the table maps all that the hypervisor uses to itself.
    unsafe {
        write!("mair_el2", MAIR);
        write!("tcr_el2", TCR);
        write!("ttbr0_el2", &raw const IDENTITY as u64);
        asm!(
            "tlbi alle2",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        );
        write!("sctlr_el2", SCTLR);
        asm!("isb", options(nostack, preserves_flags));
    }
}

/// A guest sees this CPU's identity, its timers and counters, and floating point, and gets the debug
/// exceptions that it asks for; its own translation is off.
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a sequence of register writes that belong together"
)]
unsafe fn prepare_guests() {
    let (identity, affinity) = (read!("midr_el1"), read!("mpidr_el1"));
    let counters = read!("mdcr_el2") & MDCR_COUNTERS;
    reset_guest();
    // SAFETY: none of the registers has an effect at EL2 but HCR_EL2, of which E2H and TGE stay 0.
    unsafe {
        write!("hcr_el2", hcr());
        write!("hstr_el2", 0);
        write!("mdcr_el2", counters);
        write!("cnthctl_el2", 0b11);
        write!("cntvoff_el2", 0);
        write!("vpidr_el2", identity);
        write!("vmpidr_el2", affinity);
        write!("vttbr_el2", 0);
    }
}

/// A guest begins on this CPU with its own translation off.
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a sequence of register writes that belong together"
)]
pub(crate) fn reset_guest() {
    // SAFETY: the registers are the guest's, and none runs on this CPU.
    unsafe {
        write!("sctlr_el1", GUEST_SCTLR);
        write!("cpacr_el1", GUEST_CPACR);
        write!("vbar_el1", 0);
    }
}
