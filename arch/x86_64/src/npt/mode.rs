//! The modes of nested paging, and why one cannot be used.

use core::fmt;
use core::str::FromStr;

use nested_page_table::{GeometryError, Level};

use crate::npt::pat::Pat;

/// How many levels the tables have: as many as the host's own. (APM vol. 2, 15.25.3)
///
/// Each level is indexed by 9 bits; the root is one frame. (APM vol. 2, 5.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// 4 levels, 48 bits of guest-physical address: the host runs with CR4.LA57 = 0.
    Npt4,
    /// 5 levels, 57 bits of guest-physical address: the host runs with CR4.LA57 = 1.
    Npt5,
}

impl Mode {
    /// The modes to choose from, smallest first: the first that holds every address is the best.
    pub const AUTO: &[Self] = &[Self::Npt4, Self::Npt5];

    /// The width of guest-physical addresses in bits.
    #[inline]
    #[must_use]
    pub const fn input_bits(self) -> u32 {
        match self {
            Self::Npt4 => 48,
            Self::Npt5 => 57,
        }
    }

    /// The index widths from the pages up to the root.
    pub(crate) const fn index_bits(self) -> &'static [u8] {
        match self {
            Self::Npt4 => &[9; 4],
            Self::Npt5 => &[9; 5],
        }
    }

    /// The name that `Display` writes and `FromStr` reads, such as `npt4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npt4 => "npt4",
            Self::Npt5 => "npt5",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    /// The mode that `Display` writes as `name`.
    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let mut modes = Self::AUTO.iter().copied();
        modes.find(|mode| mode.name() == name).ok_or(UnknownMode)
    }
}

/// A name that is no mode of nested paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a mode of AMD nested paging; use npt4 or npt5")
    }
}

impl core::error::Error for UnknownMode {}

/// Why a mode and capabilities make no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModeError {
    /// The host does not run in the paging mode that the tables need.
    Unsupported {
        /// The mode that was asked for.
        mode: Mode,
    },
    /// The width of a physical address is not between 32 and 52 bits.
    PhysicalAddressBits {
        /// The width that the capabilities give.
        physical_address_bits: u32,
    },
    /// Nested paging has leaves of 4 KiB, 2 MiB and 1 GiB only.
    LargestLeaf {
        /// The largest leaf that the capabilities give.
        leaf: Level,
    },
    /// Entry 0 of the host's PAT is not WB, by which the hardware reads tables and guests use RAM; or none of
    /// entries 1 to 3 is UC, for devices.
    Pat {
        /// The host's PAT.
        pat: Pat,
    },
    /// The numbers describe no table.
    Geometry(GeometryError),
}

impl From<GeometryError> for ModeError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl fmt::Display for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { mode } => write!(
                f,
                "this host lacks the mode {mode}: nested tables have as many levels as its own"
            ),
            Self::PhysicalAddressBits {
                physical_address_bits,
            } => write!(
                f,
                "a physical address of {physical_address_bits} bits; 32 to 52 are possible"
            ),
            Self::LargestLeaf { leaf } => {
                write!(f, "leaves at {leaf}; NPT has them up to level 2 (1 GiB)")
            }
            Self::Pat { pat } => write!(
                f,
                "the host's PAT {:#x} lacks WB in entry 0, or UC in entries 1 to 3",
                pat.bits()
            ),
            Self::Geometry(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ModeError {}
