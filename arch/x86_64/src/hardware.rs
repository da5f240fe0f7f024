//! The instructions, executed. This module stands on x86-64 without a hosted operating system;
//! `elsewhere.rs` has the same functions for all other targets.
//!
//! What detects runs once. It is inlined always, so that `cargo xtask encodings` finds the instructions in order.
#![expect(
    unsafe_code,
    reason = "the one place that executes privileged instructions"
)]

use core::arch::asm;

use crate::nested::Extensions;
use crate::npt;
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

/// CPUID leaf 1: ECX bit 5 says that there is VMX.
const FEATURES: u32 = 1;
const HAS_VMX: u32 = 1 << 5;
/// IA32_VMX_PROCBASED_CTLS; bit 63 says that there is the next. (SDM 3D, appendix "VMX Capability Reporting
/// Facility", as the next.)
const PROCBASED_CTLS: u32 = 0x482;
const HAS_CTLS2: u64 = 1 << 63;
/// IA32_VMX_PROCBASED_CTLS2; bit 33 says that there is EPT.
const PROCBASED_CTLS2: u32 = 0x48b;
const HAS_EPT: u64 = 1 << 33;

/// CPUID leaf 8000_0000h: EAX is the largest extended leaf. (APM vol. 3, appendix E, as the next three.)
const LARGEST_EXTENDED_LEAF: u32 = 0x8000_0000;
/// ECX bit 2 says that there is SVM.
const EXTENDED_PROCESSOR_FEATURES: u32 = 0x8000_0001;
const HAS_SVM: u32 = 1 << 2;
/// EDX bit 0 says that there is nested paging.
const SVM_FEATURES: u32 = 0x8000_000a;
const HAS_NESTED_PAGING: u32 = 1 << 0;
/// EAX bit 0 says that there is memory encryption, and so SYSCFG.
const MEMORY_ENCRYPTION: u32 = 0x8000_001f;
const HAS_MEMORY_ENCRYPTION: u32 = 1 << 0;
/// SYSCFG: bit 23 says that memory encryption is on. (APM vol. 2, 7.10.2)
const SYSCFG: u32 = 0xc001_0010;
const MEMORY_ENCRYPTION_ON: u64 = 1 << 23;
/// PAT. (APM vol. 2, 7.8.1)
const PAT: u32 = 0x277;

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

/// INVLPGA.
///
/// # Safety
///
/// - The CPU is at privilege level 0, and EFER.SVME is 1.
#[inline]
pub(crate) unsafe fn invlpga(linear_address: u64, asid: u32) {
    // SAFETY: the instruction is legal by the caller's condition. The block is not `nomem`, so earlier stores to
    // tables stay before it.
    unsafe {
        asm!(
            "invlpga rax, ecx",
            in("rax") linear_address,
            in("ecx") asid,
            options(nostack, preserves_flags)
        );
    }
}

/// Which extensions for nested page tables this CPU has.
///
/// # Safety
///
/// - The CPU is at privilege level 0.
#[inline(always)]
pub(crate) unsafe fn extensions() -> Extensions {
    let has_vmx = cpuid(FEATURES).ecx & HAS_VMX != 0;
    let has_svm = cpuid(LARGEST_EXTENDED_LEAF).eax >= SVM_FEATURES
        && cpuid(EXTENDED_PROCESSOR_FEATURES).ecx & HAS_SVM != 0;
    // SAFETY: each register is read only if the bit before says that it is there; the caller says that it may be.
    let has_ept = has_vmx
        && unsafe { read_msr(PROCBASED_CTLS) } & HAS_CTLS2 != 0
        && unsafe { read_msr(PROCBASED_CTLS2) } & HAS_EPT != 0;
    Extensions {
        ept: has_ept,
        npt: has_svm && cpuid(SVM_FEATURES).edx & HAS_NESTED_PAGING != 0,
    }
}

/// # Safety
///
/// - The CPU is at privilege level 0 and has nested paging.
#[inline(always)]
pub(crate) unsafe fn npt_registers() -> npt::Registers {
    let encryption = match cpuid(LARGEST_EXTENDED_LEAF).eax >= MEMORY_ENCRYPTION {
        true => cpuid(MEMORY_ENCRYPTION),
        false => Cpuid::default(),
    };
    // SAFETY: CPUID says that SYSCFG is there; the caller says that it may be read.
    let is_encrypting = encryption.eax & HAS_MEMORY_ENCRYPTION != 0
        && unsafe { read_msr(SYSCFG) } & MEMORY_ENCRYPTION_ON != 0;
    let cr4;
    // SAFETY: CR4 may be read at privilege level 0, where the caller says that the CPU is.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    npt::Registers {
        extended_features: cpuid(EXTENDED_PROCESSOR_FEATURES).edx,
        asids: cpuid(SVM_FEATURES).ebx,
        svm_features: cpuid(SVM_FEATURES).edx,
        physical_address_bits: cpuid(ADDRESS_SIZES).eax & 0xff,
        memory_encryption: if is_encrypting { encryption.ebx } else { 0 },
        cr4,
        // SAFETY: every 64-bit processor has the register, and the caller says that it may be read.
        pat: npt::Pat::new(unsafe { read_msr(PAT) }),
    }
}

/// # Safety
///
/// - The CPU is at privilege level 0 and has EPT.
#[inline(always)]
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

#[derive(Default)]
struct Cpuid {
    eax: u32,
    ebx: u32,
    ecx: u32,
    edx: u32,
}

/// The CPUID leaf, subleaf 0. Written out because the intrinsic is `unsafe` in some versions of the
/// compiler and not in others.
#[inline(always)]
fn cpuid(leaf: u32) -> Cpuid {
    let (eax, ebx, ecx, edx);
    // SAFETY: every 64-bit processor has CPUID. RBX, which the compiler keeps for itself, is
    // exchanged and so restored; the other outputs are declared.
    unsafe {
        asm!(
            "mov {ebx:r}, rbx",
            "cpuid",
            "xchg {ebx:r}, rbx",
            ebx = out(reg) ebx,
            inout("eax") leaf => eax,
            inout("ecx") 0 => ecx,
            out("edx") edx,
            options(nomem, nostack, preserves_flags)
        );
    }
    let ebx: u64 = ebx;
    Cpuid {
        eax,
        ebx: ebx as u32,
        ecx,
        edx,
    }
}
