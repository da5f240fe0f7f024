//! What one machine can do, and how its host is set up.

use nested_page_table::Level;

use crate::npt::mode::Mode;
use crate::npt::pat::Pat;

/// What a machine can do, as far as nested paging depends on it.
///
/// [`detect`](Self::detect) asks the processor; [`from_registers`](Self::from_registers) takes what was read
/// elsewhere. The tracking of accesses is a choice of the hypervisor: it stays off until the builder turns it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    npt4: bool,
    npt5: bool,
    physical_address_bits: u32,
    largest_leaf: Level,
    pat: Pat,
    accessed_dirty_tracking: bool,
    asids: u32,
    flush_by_asid: bool,
}

impl Capabilities {
    /// The least that nested paging guarantees: a host with 4 levels, the PAT of a processor after reset, leaves up
    /// to 2 MiB, the 36 bits of physical address that a processor has if it does not say, one ASID beside the
    /// host's, and no flush by ASID.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            npt4: true,
            npt5: false,
            physical_address_bits: 36,
            largest_leaf: Level::BLOCK_2M,
            pat: Pat::RESET,
            accessed_dirty_tracking: false,
            asids: 2,
            flush_by_asid: false,
        }
    }

    /// What a tool assumes of a machine it cannot ask: a host of either mode, 52 bits of physical address, leaves
    /// up to 1 GiB, 32768 ASIDs and flush by ASID; no tracking.
    #[inline]
    #[must_use]
    pub const fn common() -> Self {
        Self::new()
            .with_npt5(true)
            .with_physical_address_bits(52)
            .with_largest_leaf(Level::BLOCK_1G)
            .with_asids(0x8000)
            .with_flush_by_asid(true)
    }

    /// Sets whether the host may run with 4 levels (CR4.LA57 = 0) while guests do.
    #[inline]
    #[must_use]
    pub const fn with_npt4(self, npt4: bool) -> Self {
        Self { npt4, ..self }
    }

    /// Sets whether the host may run with 5 levels (CR4.LA57 = 1) while guests do.
    #[inline]
    #[must_use]
    pub const fn with_npt5(self, npt5: bool) -> Self {
        Self { npt5, ..self }
    }

    /// Sets the width of a system-physical address: 32 to 52 bits. Higher bits of an entry must be zero. If memory
    /// encryption is on, this is the width **after** its reduction (CPUID Fn8000_001F EBX bits 11:6): the bits
    /// above are the C-bit and others, which no entry here sets.
    #[inline]
    #[must_use]
    pub const fn with_physical_address_bits(self, physical_address_bits: u32) -> Self {
        Self {
            physical_address_bits,
            ..self
        }
    }

    /// Sets the level of the largest leaf: 4 KiB, 2 MiB or 1 GiB.
    #[inline]
    #[must_use]
    pub const fn with_largest_leaf(self, largest_leaf: Level) -> Self {
        Self {
            largest_leaf,
            ..self
        }
    }

    /// Sets the host's PAT at VMRUN. It must be the same on every CPU, and must not change while tables are in use.
    #[inline]
    #[must_use]
    pub const fn with_pat(self, pat: Pat) -> Self {
        Self { pat, ..self }
    }

    /// Sets whether accesses are tracked: leaves begin with A and D clear, and the hardware sets them. The
    /// hardware sets D in a leaf for each access to a guest page table below it, even for a read. (APM vol. 2,
    /// 15.25.5)
    #[inline]
    #[must_use]
    pub const fn with_accessed_dirty_tracking(self, accessed_dirty_tracking: bool) -> Self {
        Self {
            accessed_dirty_tracking,
            ..self
        }
    }

    /// Sets the number of ASIDs, the host's ASID 0 included.
    #[inline]
    #[must_use]
    pub const fn with_asids(self, asids: u32) -> Self {
        Self { asids, ..self }
    }

    /// Sets whether VMRUN can flush one ASID. Otherwise it flushes all. (APM vol. 2, 15.16.2)
    #[inline]
    #[must_use]
    pub const fn with_flush_by_asid(self, flush_by_asid: bool) -> Self {
        Self {
            flush_by_asid,
            ..self
        }
    }

    /// What every CPU of a machine has, where `self` and `other` are those of two of its CPUs: the modes that both
    /// hosts may run in, the narrower of each width, the smaller of each size and number, and each feature that
    /// both have. Hosts with different PATs have none that a format accepts.
    ///
    /// Tracking is the hypervisor's choice, the same for all CPUs: make it after the last intersection.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            npt4: self.npt4 && other.npt4,
            npt5: self.npt5 && other.npt5,
            physical_address_bits: least(self.physical_address_bits, other.physical_address_bits),
            largest_leaf: match self.largest_leaf.shift() < other.largest_leaf.shift() {
                true => self.largest_leaf,
                false => other.largest_leaf,
            },
            pat: self.pat.intersect(other.pat),
            accessed_dirty_tracking: self.accessed_dirty_tracking && other.accessed_dirty_tracking,
            asids: least(self.asids, other.asids),
            flush_by_asid: self.flush_by_asid && other.flush_by_asid,
        }
    }

    /// Whether the host may run in the paging mode that tables of `mode` need.
    #[inline]
    #[must_use]
    pub const fn has_mode(&self, mode: Mode) -> bool {
        match mode {
            Mode::Npt4 => self.npt4,
            Mode::Npt5 => self.npt5,
        }
    }

    /// The width of a system-physical address in bits.
    #[inline]
    #[must_use]
    pub const fn physical_address_bits(&self) -> u32 {
        self.physical_address_bits
    }

    /// The level of the largest leaf.
    #[inline]
    #[must_use]
    pub const fn largest_leaf(&self) -> Level {
        self.largest_leaf
    }

    /// The host's PAT.
    #[inline]
    #[must_use]
    pub const fn pat(&self) -> Pat {
        self.pat
    }

    /// Whether leaves begin with accessed and dirty bits clear.
    #[inline]
    #[must_use]
    pub const fn accessed_dirty_tracking(&self) -> bool {
        self.accessed_dirty_tracking
    }

    /// The number of ASIDs, the host's ASID 0 included.
    #[inline]
    #[must_use]
    pub const fn asids(&self) -> u32 {
        self.asids
    }

    /// Whether VMRUN can flush one ASID.
    #[inline]
    #[must_use]
    pub const fn flush_by_asid(&self) -> bool {
        self.flush_by_asid
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}

const fn least(one: u32, other: u32) -> u32 {
    match one < other {
        true => one,
        false => other,
    }
}
