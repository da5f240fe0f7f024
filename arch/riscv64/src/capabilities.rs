//! What one machine can do.

use crate::mode::Mode;

/// What a machine can do, as far as a G-stage depends on it.
///
/// [`detect`](Self::detect) finds the modes and the width of a VMID. The rest is not visible to HS-mode: it comes from the device tree (`riscv,isa-extensions`)
/// or ACPI and from what the firmware switched on, through the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    largest_mode: Mode,
    vmid_bits: u32,
    svpbmt: bool,
    svvptc: bool,
    accessed_dirty_tracking: bool,
}

impl Capabilities {
    /// The least that the hypervisor extension guarantees: Sv39x4, no VMIDs, no extensions.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            largest_mode: Mode::Sv39x4,
            vmid_bits: 0,
            svpbmt: false,
            svvptc: false,
            accessed_dirty_tracking: false,
        }
    }

    /// What a tool assumes of a machine it cannot ask: every mode, VMIDs of 14 bits, no extensions.
    #[inline]
    #[must_use]
    pub const fn common() -> Self {
        Self::new()
            .with_largest_mode(Mode::Sv57x4)
            .with_vmid_bits(14)
    }

    /// Sets the largest mode. A machine that has a mode has all smaller ones. (Privileged
    /// Architecture 20250508, "Sv48" and "Sv57": each requires the one before.)
    #[inline]
    #[must_use]
    pub const fn with_largest_mode(self, largest_mode: Mode) -> Self {
        Self {
            largest_mode,
            ..self
        }
    }

    /// Sets VMIDLEN, the width of a VMID: 0 to 14 bits. With 0, every switch to another virtual
    /// machine needs an HFENCE.GVMA.
    #[inline]
    #[must_use]
    pub const fn with_vmid_bits(self, vmid_bits: u32) -> Self {
        Self { vmid_bits, ..self }
    }

    /// Sets whether page-based memory types work for the G-stage: Svpbmt is there **and**
    /// menvcfg.PBMTE is 1. (henvcfg.PBMTE is for the guest's own tables.)
    #[inline]
    #[must_use]
    pub const fn with_svpbmt(self, svpbmt: bool) -> Self {
        Self { svpbmt, ..self }
    }

    /// Sets whether a valid entry in place of an invalid one takes effect without a fence (Svvptc).
    #[inline]
    #[must_use]
    pub const fn with_svvptc(self, svvptc: bool) -> Self {
        Self { svvptc, ..self }
    }

    /// Sets whether the hardware tracks accesses: Svadu is there **and** menvcfg.ADUE is 1. Leaves
    /// then begin with A and D clear, and the hardware sets them. Otherwise an access to a leaf with
    /// A clear faults, so both are preset.
    #[inline]
    #[must_use]
    pub const fn with_accessed_dirty_tracking(self, accessed_dirty_tracking: bool) -> Self {
        Self {
            accessed_dirty_tracking,
            ..self
        }
    }

    /// What every hart of a machine has, where `self` and `other` are those of two of its harts: the
    /// smaller mode, the narrower VMID, and each extension that both have.
    ///
    /// menvcfg.PBMTE and menvcfg.ADUE change the meaning of entries, so the firmware has to set them
    /// alike on all harts that run one table.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            largest_mode: match self.largest_mode.input_bits() < other.largest_mode.input_bits() {
                true => self.largest_mode,
                false => other.largest_mode,
            },
            vmid_bits: match self.vmid_bits < other.vmid_bits {
                true => self.vmid_bits,
                false => other.vmid_bits,
            },
            svpbmt: self.svpbmt && other.svpbmt,
            svvptc: self.svvptc && other.svvptc,
            accessed_dirty_tracking: self.accessed_dirty_tracking && other.accessed_dirty_tracking,
        }
    }

    /// The largest mode of the machine.
    #[inline]
    #[must_use]
    pub const fn largest_mode(&self) -> Mode {
        self.largest_mode
    }

    /// The width of a VMID in bits.
    #[inline]
    #[must_use]
    pub const fn vmid_bits(&self) -> u32 {
        self.vmid_bits
    }

    /// Whether page-based memory types work for the G-stage.
    #[inline]
    #[must_use]
    pub const fn svpbmt(&self) -> bool {
        self.svpbmt
    }

    /// Whether a valid entry in place of an invalid one takes effect without a fence.
    #[inline]
    #[must_use]
    pub const fn svvptc(&self) -> bool {
        self.svvptc
    }

    /// Whether the hardware sets accessed and dirty bits.
    #[inline]
    #[must_use]
    pub const fn accessed_dirty_tracking(&self) -> bool {
        self.accessed_dirty_tracking
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}
