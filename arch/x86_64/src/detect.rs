//! What the processor tells about itself.
#![expect(
    unsafe_code,
    reason = "model-specific registers are out of reach without inline assembly"
)]

use core::arch::asm;

use crate::capabilities::Capabilities;

/// IA32_VMX_EPT_VPID_CAP. (SDM 4, "Architectural MSRs".)
const EPT_VPID_CAP: u32 = 0x48c;
/// The CPUID leaf whose EAX bits 7:0 are MAXPHYADDR. (SDM 2A, "CPUID - CPU Identification".)
const ADDRESS_SIZES: u32 = 0x8000_0008;

impl Capabilities {
    /// What this CPU says of itself: modes, leaves, execute-only memory, INVEPT and the width of a
    /// physical address. What is a choice of the hypervisor stays off: tracking, for which
    /// IA32_VMX_EPT_VPID_CAP bit 21 has to be set, and mode-based execute control, for which
    /// IA32_VMX_PROCBASED_CTLS2 bit 54 has to.
    ///
    /// # Safety
    ///
    /// - The CPU is at privilege level 0.
    /// - It has EPT (IA32_VMX_PROCBASED_CTLS2 bit 33), without which reading the capabilities traps.
    #[must_use]
    pub unsafe fn detect() -> Self {
        // SAFETY: the caller says that the register is there and may be read.
        let ept_vpid_cap = unsafe { read_msr(EPT_VPID_CAP) };
        Self::from_registers(ept_vpid_cap, address_sizes() & 0xff)
    }
}

/// # Safety
///
/// - The CPU is at privilege level 0 and has the register, and reading it has no side effect.
unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller says that the read is legal; it touches no memory.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") register,
            out("eax") low,
            out("edx") high,
            options(nomem, nostack, preserves_flags)
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

/// EAX of the CPUID leaf. Written out because the intrinsic is `unsafe` in some versions of the
/// compiler and not in others.
fn address_sizes() -> u32 {
    let eax;
    // SAFETY: every 64-bit processor has CPUID and this leaf. RBX, which the compiler keeps for
    // itself, is restored; the other outputs are declared.
    unsafe {
        asm!(
            "mov {saved:r}, rbx",
            "cpuid",
            "mov rbx, {saved:r}",
            saved = out(reg) _,
            inout("eax") ADDRESS_SIZES => eax,
            inout("ecx") 0 => _,
            out("edx") _,
            options(nomem, nostack, preserves_flags)
        );
    }
    eax
}
