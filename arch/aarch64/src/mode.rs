//! The width of intermediate physical addresses, and the table that follows from it.

use core::fmt;
use core::str::FromStr;

use nested_page_table::{Geometry, GeometryError, Level};

use crate::physical_address_range::PhysicalAddressRange;

/// A stage-2 input width: `ipa32` to `ipa48`, the bits of an intermediate physical address (what
/// this project calls guest-physical).
///
/// The start level and the number of concatenated root tables follow from the width:
///
/// | width | start level | root tables | largest leaf |
/// |---|---|---|---|
/// | 32, 33, 34 | 2 | 4, 8, 16 | 2 MiB |
/// | 35 to 39 | 1 | 1 | 1 GiB |
/// | 40, 41, 42, 43 | 1 | 2, 4, 8, 16 | 1 GiB |
/// | 44 to 48 | 0 | 1 | 1 GiB |
///
/// From 35 bits on this is the only layout that every machine with a wide enough physical address
/// has. At 32 to 34 bits a start at level 1 is legal too; one level less to walk was chosen over
/// 1 GiB blocks.
// Arm ARM DDI 0487, chapter D8, concatenated translation tables, and the pseudocode
// S2InconsistentSL and S2InvalidSL: with 4 KiB, level 2 starts resolve 22 to 34 bits, level 1
// starts 31 to 43, level 0 starts 40 to 52, and level 0 needs 44 bits of physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode {
    input_bits: u8,
}

/// Why a mode is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModeError {
    /// The input width is not between 32 and 48 bits.
    InputBits {
        /// The width that was asked for.
        bits: u8,
    },
    /// The name is none of `ipa32` to `ipa48`.
    UnknownName,
    /// The input width exceeds the machine's physical address range.
    ExceedsPhysicalAddressRange {
        /// The mode that was asked for.
        mode: Mode,
        /// What the machine has.
        physical_address_range: PhysicalAddressRange,
    },
    /// The machine has no 4 KiB granule at stage 2, which every mode needs.
    NoGranule4K,
    /// The numbers of the mode describe no table. No mode of this version gets here.
    Geometry(GeometryError),
}

impl fmt::Display for ModeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputBits { bits } => {
                write!(f, "{bits} bits of guest-physical address; choose 32 to 48")
            }
            Self::UnknownName => f.write_str("the mode is none of ipa32 to ipa48"),
            Self::ExceedsPhysicalAddressRange {
                mode,
                physical_address_range,
            } => write!(
                f,
                "{mode} is wider than the machine's physical addresses of \
                 {physical_address_range}: choose ipa{} or less",
                physical_address_range.bits()
            ),
            Self::NoGranule4K => f.write_str("the machine has no 4 KiB granule at stage 2"),
            Self::Geometry(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for ModeError {}

impl From<GeometryError> for ModeError {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl Mode {
    /// 40 bits: two concatenated level-1 tables.
    pub const IPA40: Self = Self { input_bits: 40 };
    /// 42 bits: eight concatenated level-1 tables.
    pub const IPA42: Self = Self { input_bits: 42 };
    /// 44 bits: four levels.
    pub const IPA44: Self = Self { input_bits: 44 };
    /// 48 bits: four levels.
    pub const IPA48: Self = Self { input_bits: 48 };

    /// What an automatic choice tries, in this order.
    pub const AUTO: &'static [Self] = &[Self::IPA40, Self::IPA42, Self::IPA44, Self::IPA48];

    /// The mode with `bits` bits of intermediate physical address.
    ///
    /// # Errors
    ///
    /// - [`ModeError::InputBits`]: `bits` is not between 32 and 48.
    pub const fn ipa(bits: u8) -> Result<Self, ModeError> {
        match bits {
            32..=48 => Ok(Self { input_bits: bits }),
            _ => Err(ModeError::InputBits { bits }),
        }
    }

    /// The width of guest-physical addresses in bits.
    #[inline]
    #[must_use]
    pub const fn input_bits(self) -> u32 {
        self.input_bits as u32
    }

    /// The shape of this mode's table on a machine with `range`.
    pub(crate) const fn geometry(self, range: PhysicalAddressRange) -> Result<Geometry, ModeError> {
        if self.input_bits > range.bits() {
            return Err(ModeError::ExceedsPhysicalAddressRange {
                mode: self,
                physical_address_range: range,
            });
        }
        let (bits, output) = (self.input_bits, range.bits());
        let geometry = match bits {
            ..35 => Geometry::new(&[9, bits - 21], Level::BLOCK_2M, output),
            35..44 => Geometry::new(&[9, 9, bits - 30], Level::BLOCK_1G, output),
            44.. => Geometry::new(&[9, 9, 9, bits - 39], Level::BLOCK_1G, output),
        };
        match geometry {
            Ok(geometry) => Ok(geometry),
            Err(error) => Err(ModeError::Geometry(error)),
        }
    }
}

/// The name: `ipa40`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ipa{}", self.input_bits)
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    /// The mode of that name, exactly as `Display` writes it.
    fn from_str(name: &str) -> Result<Self, ModeError> {
        match name.as_bytes() {
            [b'i', b'p', b'a', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Self::ipa((tens - b'0') * 10 + (ones - b'0')).map_err(|_| ModeError::UnknownName)
            }
            _ => Err(ModeError::UnknownName),
        }
    }
}
