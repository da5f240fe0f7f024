//! The host's page attribute table, by which nested leaves choose a memory type. (APM vol. 2, 7.8 "Page-Attribute
//! Table Mechanism"; 15.25.8)

use mapping_flags::MemoryType;

/// UC: uncacheable. (APM vol. 2, 7.8.1, "PA-type encodings")
const UC: u64 = 0;
/// WC: write-combining.
const WC: u64 = 1;
/// WB: write-back.
const WB: u64 = 6;
/// UC-: uncacheable, unless an MTRR or the guest says WC.
const UC_MINUS: u64 = 7;

/// The MSR PAT (0277h) as the host has it at VMRUN: eight entries of eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pat(u64);

impl Pat {
    /// The value after reset: WB, WT, UC-, UC, and the same again.
    pub const RESET: Self = Self(0x0007_0406_0007_0406);

    /// The table in a register.
    #[inline]
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The register.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn entry(self, index: u64) -> u64 {
        self.0 >> ((index & 7) << 3) & 0xff
    }

    /// The memory type of the entry at `index`, modulo 8. Types that no leaf is made with are the nearest: WC is
    /// uncached; WT and WP are write-back. So are reserved ones, which the register cannot hold.
    pub(crate) const fn memory_type(self, index: u64) -> MemoryType {
        match self.entry(index) {
            UC => MemoryType::Device,
            WC | UC_MINUS => MemoryType::Uncached,
            _ => MemoryType::WriteBack,
        }
    }

    /// The first of entries 1 to 3 with the type `wanted`. The others take a third bit, which stands elsewhere in
    /// larger leaves; each known host has all it needs in these.
    const fn find(self, wanted: u64) -> Option<u64> {
        if self.entry(1) == wanted {
            Some(1)
        } else if self.entry(2) == wanted {
            Some(2)
        } else if self.entry(3) == wanted {
            Some(3)
        } else {
            None
        }
    }

    /// Whether entry 0 is WB. It is the entry of RAM, and that of nCR3 and all tables, whose PWT and PCD are 0.
    pub(crate) const fn begins_with_write_back(self) -> bool {
        self.entry(0) == WB
    }

    /// The entry for `DEVICE`.
    pub(crate) const fn device(self) -> Option<u64> {
        self.find(UC)
    }

    /// The entry for `UNCACHED`.
    pub(crate) const fn uncached(self) -> Option<u64> {
        match self.find(UC_MINUS) {
            Some(index) => Some(index),
            None => self.find(WC),
        }
    }

    /// What two CPUs have in common: a table that no format accepts, if they differ.
    pub(crate) const fn intersect(self, other: Self) -> Self {
        match self.0 == other.0 {
            true => self,
            false => Self(0),
        }
    }
}

impl Default for Pat {
    fn default() -> Self {
        Self::RESET
    }
}
