//! What a machine has, and what of it is to be used.

use crate::physical_address_range::PhysicalAddressRange;

/// What the machine offers to stage 2, and which optional parts of it a table is to use.
///
/// [`new`](Self::new) is the least that Armv8.0 guarantees; each `with_` method adds something. On a
/// machine with unequal CPUs, [`intersect`](Self::intersect) the capabilities of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    physical_address_range: PhysicalAddressRange,
    vmid_bits: u8,
    forced_write_back: bool,
    user_execute_control: bool,
    accessed_tracking: bool,
    dirty_tracking: bool,
    tlb_range: bool,
    tlb_level_hint: bool,
    granule_4k: bool,
    repeat_tlbi: bool,
}

impl Capabilities {
    /// The base architecture: 32 bits of physical address, 8 bits of VMID, nothing optional, no
    /// errata. On a processor with errata, use [`detect`](Self::detect) or say so with
    /// [`with_repeat_tlbi`](Self::with_repeat_tlbi).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            physical_address_range: PhysicalAddressRange::Bits32,
            vmid_bits: 8,
            forced_write_back: false,
            user_execute_control: false,
            accessed_tracking: false,
            dirty_tracking: false,
            tlb_range: false,
            tlb_level_hint: false,
            granule_4k: true,
            repeat_tlbi: false,
        }
    }

    /// What tools assume of a machine that they do not run on: 48 bits of physical address and
    /// nothing optional.
    #[must_use]
    pub const fn common() -> Self {
        Self::new().with_physical_address_range(PhysicalAddressRange::Bits48)
    }

    /// Host-physical addresses have this width (`ID_AA64MMFR0_EL1.PARange`).
    #[must_use]
    pub const fn with_physical_address_range(mut self, range: PhysicalAddressRange) -> Self {
        self.physical_address_range = range;
        self
    }

    /// VMIDs have 16 bits instead of 8 (FEAT_VMID16, `ID_AA64MMFR1_EL1.VMIDBits`), and are used so.
    #[must_use]
    pub const fn with_16_bit_vmid(mut self) -> Self {
        self.vmid_bits = 16;
        self
    }

    /// `HCR_EL2.FWB` **is set** while guests run (FEAT_S2FWB): stage 2 alone decides that memory is
    /// write-back. It changes the meaning of descriptors, so say this of the bit, not of the
    /// feature.
    #[must_use]
    pub const fn with_forced_write_back(mut self) -> Self {
        self.forced_write_back = true;
        self
    }

    /// `USER` decides whether EL0 may execute (FEAT_XNX, `ID_AA64MMFR1_EL1.XNX`): without it an
    /// executable leaf is executable at EL1 only. A policy as much as a feature: without it
    /// `EXECUTE` means both.
    #[must_use]
    pub const fn with_user_execute_control(mut self) -> Self {
        self.user_execute_control = true;
        self
    }

    /// The hardware sets the Access flag (FEAT_HAFDBS, `ID_AA64MMFR1_EL1.HAFDBS` 1 or more), and
    /// leaves start out not accessed. A policy as much as a feature: without it the flag is preset.
    #[must_use]
    pub const fn with_accessed_tracking(mut self) -> Self {
        self.accessed_tracking = true;
        self
    }

    /// The hardware sets dirty state (FEAT_HAFDBS, `ID_AA64MMFR1_EL1.HAFDBS` 2 or more), and
    /// writable leaves start out clean. Includes [accessed
    /// tracking](Self::with_accessed_tracking).
    #[must_use]
    pub const fn with_dirty_tracking(mut self) -> Self {
        self.dirty_tracking = true;
        self.with_accessed_tracking()
    }

    /// TLB invalidation by range (FEAT_TLBIRANGE, `ID_AA64ISAR0_EL1.TLB` 2 or more).
    #[must_use]
    pub const fn with_tlb_range(mut self) -> Self {
        self.tlb_range = true;
        self
    }

    /// TLB invalidation takes a level hint (FEAT_TTL, `ID_AA64MMFR2_EL1.TTL` 1 or more).
    #[must_use]
    pub const fn with_tlb_level_hint(mut self) -> Self {
        self.tlb_level_hint = true;
        self
    }

    /// The machine has no 4 KiB granule at stage 2 (`ID_AA64MMFR0_EL1.TGran4_2`, `TGran4`): no format
    /// of this crate fits it.
    #[must_use]
    pub const fn without_4k_granule(mut self) -> Self {
        self.granule_4k = false;
        self
    }

    /// A broadcast `TLBI` and `DSB` have to be followed by another `TLBI` and `DSB`, because a CPU of
    /// the machine completes accesses too late: Cortex-A55 2441007, A510 2441009, A76 1286807,
    /// Qualcomm Falkor 1009, and the family of CVE-2025-10263. [`detect`](Self::detect) knows the
    /// list. One affected CPU is enough, whichever CPU invalidates.
    #[must_use]
    pub const fn with_repeat_tlbi(mut self) -> Self {
        self.repeat_tlbi = true;
        self
    }

    /// What every CPU of a machine has, where `self` and `other` are those of two of its CPUs: the
    /// narrower of each width, each feature that both have, and each erratum that one has.
    ///
    /// `HCR_EL2.FWB` has to be the same on all CPUs, since it changes the meaning of descriptors.
    /// Add policies (`with_user_execute_control`, tracking) after the last intersection, or to all.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            physical_address_range: self
                .physical_address_range
                .narrower(other.physical_address_range),
            vmid_bits: match self.vmid_bits < other.vmid_bits {
                true => self.vmid_bits,
                false => other.vmid_bits,
            },
            forced_write_back: self.forced_write_back && other.forced_write_back,
            user_execute_control: self.user_execute_control && other.user_execute_control,
            accessed_tracking: self.accessed_tracking && other.accessed_tracking,
            dirty_tracking: self.dirty_tracking && other.dirty_tracking,
            tlb_range: self.tlb_range && other.tlb_range,
            tlb_level_hint: self.tlb_level_hint && other.tlb_level_hint,
            granule_4k: self.granule_4k && other.granule_4k,
            repeat_tlbi: self.repeat_tlbi || other.repeat_tlbi,
        }
    }

    /// The width of host-physical addresses.
    #[inline]
    #[must_use]
    pub const fn physical_address_range(&self) -> PhysicalAddressRange {
        self.physical_address_range
    }

    /// The width of VMIDs in bits: 8 or 16.
    #[inline]
    #[must_use]
    pub const fn vmid_bits(&self) -> u32 {
        self.vmid_bits as u32
    }

    /// Whether `HCR_EL2.FWB` is set while guests run.
    #[inline]
    #[must_use]
    pub const fn forced_write_back(&self) -> bool {
        self.forced_write_back
    }

    /// Whether `USER` decides about execution at EL0.
    #[inline]
    #[must_use]
    pub const fn user_execute_control(&self) -> bool {
        self.user_execute_control
    }

    /// Whether the hardware sets the Access flag.
    #[inline]
    #[must_use]
    pub const fn accessed_tracking(&self) -> bool {
        self.accessed_tracking
    }

    /// Whether the hardware sets dirty state.
    #[inline]
    #[must_use]
    pub const fn dirty_tracking(&self) -> bool {
        self.dirty_tracking
    }

    /// Whether TLB entries can be invalidated by range.
    #[inline]
    #[must_use]
    pub const fn tlb_range(&self) -> bool {
        self.tlb_range
    }

    /// Whether TLB invalidation takes a level hint.
    #[inline]
    #[must_use]
    pub const fn tlb_level_hint(&self) -> bool {
        self.tlb_level_hint
    }

    /// Whether stage 2 has the 4 KiB granule.
    #[inline]
    #[must_use]
    pub const fn granule_4k(&self) -> bool {
        self.granule_4k
    }

    /// Whether a broadcast `TLBI` and `DSB` are followed by another.
    #[inline]
    #[must_use]
    pub const fn repeat_tlbi(&self) -> bool {
        self.repeat_tlbi
    }
}

impl Default for Capabilities {
    /// [`Capabilities::new`].
    fn default() -> Self {
        Self::new()
    }
}
