//! The instructions, executed. This module stands on x86-64 without a hosted operating system;
//! `elsewhere.rs` has the same functions for all other targets.
#![expect(
    unsafe_code,
    reason = "the one place that executes privileged instructions"
)]

use core::arch::asm;

use crate::registers::Registers;
use crate::vm_fail::Flags;

/// IA32_VMX_EPT_VPID_CAP. (SDM 4, "Architectural MSRs".)
const EPT_VPID_CAP: u32 = 0x48c;
/// IA32_ARCH_CAPABILITIES. (SDM 4, "Architectural MSRs".)
const ARCH_CAPABILITIES: u32 = 0x10a;
/// CPUID leaf 0: EAX is the largest leaf. (SDM 2A, "CPUID - CPU Identification", as the next two.)
const LARGEST_LEAF: u32 = 0;
/// CPUID leaf 7, subleaf 0: EDX bit 29 says that there is IA32_ARCH_CAPABILITIES.
const EXTENDED_FEATURES: u32 = 7;
const HAS_ARCH_CAPABILITIES: u32 = 1 << 29;
/// The CPUID leaf whose EAX bits 7:0 are MAXPHYADDR.
const ADDRESS_SIZES: u32 = 0x8000_0008;

/// INVEPT of the type `kind`: the flags that it leaves.
///
/// # Safety
///
/// - The CPU is in VMX root operation at privilege level 0.
#[inline]
pub(crate) unsafe fn invept(kind: u64, descriptor: &[u64; 2]) -> Flags {
    let (carry, zero): (u8, u8);
    // SAFETY: the instruction is legal by the caller's condition and reads the 16 bytes of the
    // descriptor. The block is not `nomem`, so earlier stores to tables stay before it.
    unsafe {
        asm!(
            "invept {}, [{}]",
            "setc {}",
            "setz {}",
            in(reg) kind,
            in(reg) descriptor,
            out(reg_byte) carry,
            out(reg_byte) zero,
            options(nostack)
        );
    }
    Flags {
        carry: carry != 0,
        zero: zero != 0,
    }
}

/// # Safety
///
/// - The CPU is at privilege level 0 and has EPT.
pub(crate) unsafe fn registers() -> Registers {
    let has_arch_capabilities = cpuid(LARGEST_LEAF).eax >= EXTENDED_FEATURES
        && cpuid(EXTENDED_FEATURES).edx & HAS_ARCH_CAPABILITIES != 0;
    let arch_capabilities = match has_arch_capabilities {
        // SAFETY: CPUID says that the register is there; the caller says that it may be read.
        true => unsafe { read_msr(ARCH_CAPABILITIES) },
        false => 0,
    };
    Registers {
        // SAFETY: the caller says that the register is there and may be read.
        ept_vpid_cap: unsafe { read_msr(EPT_VPID_CAP) },
        arch_capabilities,
        physical_address_bits: cpuid(ADDRESS_SIZES).eax & 0xff,
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

struct Cpuid {
    eax: u32,
    edx: u32,
}

/// The CPUID leaf, subleaf 0. Written out because the intrinsic is `unsafe` in some versions of the
/// compiler and not in others.
fn cpuid(leaf: u32) -> Cpuid {
    let (eax, edx);
    // SAFETY: every 64-bit processor has CPUID. RBX, which the compiler keeps for itself, is
    // restored; the other outputs are declared.
    unsafe {
        asm!(
            "mov {saved:r}, rbx",
            "cpuid",
            "mov rbx, {saved:r}",
            saved = out(reg) _,
            inout("eax") leaf => eax,
            inout("ecx") 0 => _,
            out("edx") edx,
            options(nomem, nostack, preserves_flags)
        );
    }
    Cpuid { eax, edx }
}
