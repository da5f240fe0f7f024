//! From registers to capabilities.
#![expect(
    unsafe_code,
    reason = "only privilege level 0 may read control and model-specific registers"
)]

use nested_page_table::Level;

use crate::hardware;
use crate::npt::capabilities::Capabilities;
use crate::npt::pat::Pat;

/// CPUID Fn8000_0001 EDX bit 26, Page1GB: leaves of 1 GiB. (APM vol. 3, appendix E)
const PAGE_1GB: u32 = 26;
/// CPUID Fn8000_000A EDX bit 6, FlushByAsid. (APM vol. 3, appendix E)
const FLUSH_BY_ASID: u32 = 6;
/// CR4 bit 12, LA57: the host runs with 5 levels. (APM vol. 2, 3.1.3)
const LA57: u32 = 12;
/// CPUID Fn8000_001F EBX bits 11:6, PhysAddrReduction. (APM vol. 3, appendix E)
const REDUCTION_SHIFT: u32 = 6;
const REDUCTION: u32 = 0x3f;

/// What a processor and its host say of themselves, as far as nested paging depends on it.
///
/// [`Capabilities::detect`] reads them; other programs fill them in, beginning with [`default`](Self::default),
/// where every register is 0 but for the PAT, which is as after reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Registers {
    /// CPUID Fn8000_0001 EDX.
    pub extended_features: u32,
    /// CPUID Fn8000_000A EBX: the number of ASIDs.
    pub asids: u32,
    /// CPUID Fn8000_000A EDX.
    pub svm_features: u32,
    /// The width of a physical address (CPUID Fn8000_0008 EAX\[7:0\]).
    pub physical_address_bits: u32,
    /// CPUID Fn8000_001F EBX, or 0 where memory encryption is off (MSR SYSCFG, C001_0010h, bit 23).
    pub memory_encryption: u32,
    /// CR4 of the host as it is at VMRUN.
    pub cr4: u64,
    /// The MSR PAT (0277h) of the host as it is at VMRUN.
    pub pat: Pat,
}

impl Capabilities {
    /// What `registers` say.
    #[must_use]
    pub const fn from_registers(registers: &Registers) -> Self {
        let largest_leaf = match has(registers.extended_features as u64, PAGE_1GB) {
            true => Level::BLOCK_1G,
            false => Level::BLOCK_2M,
        };
        let reduction = registers.memory_encryption >> REDUCTION_SHIFT & REDUCTION;
        let is_57_bit = has(registers.cr4, LA57);
        Self::new()
            .with_npt4(!is_57_bit)
            .with_npt5(is_57_bit)
            .with_physical_address_bits(registers.physical_address_bits.saturating_sub(reduction))
            .with_largest_leaf(largest_leaf)
            .with_pat(registers.pat)
            .with_asids(registers.asids)
            .with_flush_by_asid(has(registers.svm_features as u64, FLUSH_BY_ASID))
    }

    /// What this CPU and its host say of themselves: the mode, the PAT, leaves, the width of a physical address
    /// less what memory encryption takes, ASIDs, and flush by ASID. Tracking is a choice of the hypervisor and
    /// stays off.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU is at privilege level 0.
    /// - It has nested paging (CPUID Fn8000_000A EDX bit 0), as [`Nested::detect`](crate::Nested::detect) asks.
    /// - CR4.LA57 and the PAT are as they will be at each VMRUN.
    #[must_use]
    // See `hardware`.
    #[inline(always)]
    pub unsafe fn detect() -> Self {
        // SAFETY: the conditions are the caller's.
        let registers = unsafe { hardware::npt_registers() };
        Self::from_registers(&registers)
    }
}

const fn has(register: u64, bit: u32) -> bool {
    register >> bit & 1 == 1
}
