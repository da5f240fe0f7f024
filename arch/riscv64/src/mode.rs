//! The modes of the G-stage, and why one cannot be used.

use core::fmt;
use core::str::FromStr;

use nested_page_table::{GeometryError, Level};

/// A translation mode of the G-stage.
///
/// Each is the mode of the same name for one stage with a root four times as large: 16 KiB, aligned
/// to 16 KiB, indexed by 11 bits. (Privileged Architecture 20250508, "Guest Physical Address
/// Translation".)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// 3 levels, 41 bits of guest-physical address.
    Sv39x4,
    /// 4 levels, 50 bits of guest-physical address.
    Sv48x4,
    /// 5 levels, 59 bits of guest-physical address.
    Sv57x4,
}

impl Mode {
    /// The modes to choose from, smallest first: the first that holds every address is the best.
    pub const AUTO: &[Self] = &[Self::Sv39x4, Self::Sv48x4, Self::Sv57x4];

    /// The width of guest-physical addresses in bits. Higher bits have to be zero: the hardware does
    /// not sign-extend, and faults.
    #[inline]
    #[must_use]
    pub const fn input_bits(self) -> u32 {
        match self {
            Self::Sv39x4 => 41,
            Self::Sv48x4 => 50,
            Self::Sv57x4 => 59,
        }
    }

    /// The mode's number in hgatp.MODE. (Privileged Architecture 20250508, "Hypervisor Guest Address
    /// Translation and Protection (hgatp) Register", table "Encoding of hgatp MODE field".)
    #[inline]
    #[must_use]
    pub const fn hgatp_mode(self) -> u64 {
        match self {
            Self::Sv39x4 => 8,
            Self::Sv48x4 => 9,
            Self::Sv57x4 => 10,
        }
    }

    /// The index widths from the pages up to the root.
    pub(crate) const fn index_bits(self) -> &'static [u8] {
        match self {
            Self::Sv39x4 => &[9, 9, 11],
            Self::Sv48x4 => &[9, 9, 9, 11],
            Self::Sv57x4 => &[9, 9, 9, 9, 11],
        }
    }

    /// Every level can have leaves; those of 256 TiB, which only Sv57x4's root has, are not made.
    pub(crate) const fn largest_leaf(self) -> Level {
        match self {
            Self::Sv39x4 => Level::BLOCK_1G,
            Self::Sv48x4 | Self::Sv57x4 => Level::BLOCK_512G,
        }
    }

    /// The name that `Display` writes and `FromStr` reads, such as `sv39x4`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sv39x4 => "sv39x4",
            Self::Sv48x4 => "sv48x4",
            Self::Sv57x4 => "sv57x4",
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

/// A name that is no mode of the G-stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a mode of the RISC-V G-stage; use sv39x4, sv48x4 or sv57x4")
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
    /// The width of a VMID exceeds the 14 bits that hgatp has for it.
    VmidBits {
        /// The width that the capabilities give.
        vmid_bits: u32,
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
            Self::VmidBits { vmid_bits } => {
                write!(f, "a VMID of {vmid_bits} bits; hgatp has room for 14")
            }
            Self::Geometry(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ModeError {}
