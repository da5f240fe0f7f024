//! The modes of EPT, and why one cannot be used.

use core::fmt;
use core::str::FromStr;

use nested_page_table::{GeometryError, Level};

/// How many levels the tables have.
///
/// Each level is indexed by 9 bits; the root is one frame. (SDM 3C, "EPT Translation Mechanism".)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// 4 levels, 48 bits of guest-physical address.
    Ept4,
    /// 5 levels, 57 bits of guest-physical address.
    Ept5,
}

impl Mode {
    /// The modes to choose from, smallest first: the first that holds every address is the best.
    pub const AUTO: &[Self] = &[Self::Ept4, Self::Ept5];

    /// The width of guest-physical addresses in bits.
    #[inline]
    #[must_use]
    pub const fn input_bits(self) -> u32 {
        match self {
            Self::Ept4 => 48,
            Self::Ept5 => 57,
        }
    }

    /// The page-walk length less one, as EPTP bits 5:3 want it. (SDM 3C, "Extended-Page-Table
    /// Pointer (EPTP)".)
    pub(crate) const fn walk_length_field(self) -> u64 {
        match self {
            Self::Ept4 => 3,
            Self::Ept5 => 4,
        }
    }

    /// The index widths from the pages up to the root.
    pub(crate) const fn index_bits(self) -> &'static [u8] {
        match self {
            Self::Ept4 => &[9; 4],
            Self::Ept5 => &[9; 5],
        }
    }

    /// The name that `Display` writes and `FromStr` reads, such as `ept4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ept4 => "ept4",
            Self::Ept5 => "ept5",
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

/// A name that is no mode of EPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a mode of extended page tables; use ept4 or ept5")
    }
}

impl core::error::Error for UnknownMode {}

/// Why a mode and capabilities make no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModeError {
    /// The machine does not have the mode.
    Unsupported {
        /// The mode that was asked for.
        mode: Mode,
        /// The largest mode of the machine.
        largest: Mode,
    },
    /// The width of a physical address is not between 32 and 52 bits.
    PhysicalAddressBits {
        /// The width that the capabilities give.
        physical_address_bits: u32,
    },
    /// EPT has leaves of 4 KiB, 2 MiB and 1 GiB only.
    LargestLeaf {
        /// The largest leaf that the capabilities give.
        leaf: Level,
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
            Self::Unsupported { mode, largest } => write!(
                f,
                "this machine lacks the mode {mode}: the largest it has is {largest}"
            ),
            Self::PhysicalAddressBits {
                physical_address_bits,
            } => write!(
                f,
                "a physical address of {physical_address_bits} bits; 32 to 52 are possible"
            ),
            Self::LargestLeaf { leaf } => {
                write!(f, "leaves at {leaf}; EPT has them up to level 2 (1 GiB)")
            }
            Self::Geometry(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ModeError {}
