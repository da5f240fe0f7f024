//! From identification registers to capabilities.

use crate::capabilities::Capabilities;
use crate::errata;
use crate::physical_address_range::PhysicalAddressRange;

/// Raw values of the registers that describe what a CPU offers to stage 2.
///
/// [`Capabilities::detect`] reads them; other programs fill them in, beginning with
/// [`default`](Self::default), where every register is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IdRegisters {
    /// `MIDR_EL1`, which names the processor.
    pub midr_el1: u64,
    /// `ID_AA64ISAR0_EL1`.
    pub id_aa64isar0: u64,
    /// `ID_AA64MMFR0_EL1`.
    pub id_aa64mmfr0: u64,
    /// `ID_AA64MMFR1_EL1`.
    pub id_aa64mmfr1: u64,
    /// `ID_AA64MMFR2_EL1`.
    pub id_aa64mmfr2: u64,
    /// `HCR_EL2`, as it is while guests run.
    pub hcr_el2: u64,
}

// First bits of four-bit fields: Arm ARM DDI 0487, the register of each name.
const ISAR0_TLB: u32 = 56;
const MMFR0_PARANGE: u32 = 0;
const MMFR0_TGRAN4: u32 = 28;
const MMFR0_TGRAN4_2: u32 = 40;
const MMFR1_VMIDBITS: u32 = 4;
const MMFR2_FWB: u32 = 40;
const MMFR2_TTL: u32 = 48;
/// `HCR_EL2.FWB`.
const HCR_FWB: u64 = 1 << 46;

const fn field(register: u64, first: u32) -> u64 {
    register >> first & 0xf
}

/// Whether stage 2 has the 4 KiB granule: `TGran4_2` says so, or refers to stage 1 with 0.
const fn has_4k_granule(id_aa64mmfr0: u64) -> bool {
    match field(id_aa64mmfr0, MMFR0_TGRAN4_2) {
        // As for stage 1, where 0b1111 alone means that it is missing.
        0b0000 => field(id_aa64mmfr0, MMFR0_TGRAN4) != 0b1111,
        // 0b0010: supported. More: with 52-bit addresses too.
        granule => granule != 0b0001,
    }
}

impl Capabilities {
    /// What `registers` say: the physical address range, the 4 KiB granule, the width of VMIDs,
    /// invalidation by range, level hints, and the errata of the processor; and forced write-back,
    /// where the feature is there **and** `HCR_EL2.FWB` is set.
    ///
    /// Policies stay off, whatever the CPU has: [`with_user_execute_control`],
    /// [`with_accessed_tracking`] and [`with_dirty_tracking`] are the caller's to add.
    ///
    /// [`with_user_execute_control`]: Self::with_user_execute_control
    /// [`with_accessed_tracking`]: Self::with_accessed_tracking
    /// [`with_dirty_tracking`]: Self::with_dirty_tracking
    #[must_use]
    pub const fn from_id_registers(registers: &IdRegisters) -> Self {
        let range = field(registers.id_aa64mmfr0, MMFR0_PARANGE);
        let mut capabilities =
            Self::new().with_physical_address_range(PhysicalAddressRange::from_field(range));
        if !has_4k_granule(registers.id_aa64mmfr0) {
            capabilities = capabilities.without_4k_granule();
        }
        if errata::needs_repeated_tlbi(registers.midr_el1) {
            capabilities = capabilities.with_repeat_tlbi();
        }
        if field(registers.id_aa64mmfr1, MMFR1_VMIDBITS) == 2 {
            capabilities = capabilities.with_16_bit_vmid();
        }
        let has_forced_write_back = field(registers.id_aa64mmfr2, MMFR2_FWB) >= 1;
        if has_forced_write_back && registers.hcr_el2 & HCR_FWB != 0 {
            capabilities = capabilities.with_forced_write_back();
        }
        if field(registers.id_aa64isar0, ISAR0_TLB) >= 2 {
            capabilities = capabilities.with_tlb_range();
        }
        if field(registers.id_aa64mmfr2, MMFR2_TTL) >= 1 {
            capabilities = capabilities.with_tlb_level_hint();
        }
        capabilities
    }
}
