//! How wide host-physical addresses are.

use core::fmt;

/// The width of host-physical addresses, as `ID_AA64MMFR0_EL1.PARange` and `VTCR_EL2.PS` encode it
/// (Arm ARM DDI 0487, both register descriptions).
///
/// 52 bits need FEAT_LPA2 with the 4 KiB granule and another descriptor format; a machine that has
/// them is used with 48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PhysicalAddressRange {
    /// 4 GiB.
    Bits32,
    /// 64 GiB.
    Bits36,
    /// 1 TiB.
    Bits40,
    /// 4 TiB.
    Bits42,
    /// 16 TiB.
    Bits44,
    /// 256 TiB.
    Bits48,
}

impl PhysicalAddressRange {
    /// The range that the field `PARange` of `ID_AA64MMFR0_EL1` (bits 3:0) names. 52 bits and more
    /// count as 48; bits above the field are ignored.
    #[must_use]
    pub const fn from_field(field: u64) -> Self {
        match field & 0xf {
            0 => Self::Bits32,
            1 => Self::Bits36,
            2 => Self::Bits40,
            3 => Self::Bits42,
            4 => Self::Bits44,
            _ => Self::Bits48,
        }
    }

    /// The value for the field `PS` of `VTCR_EL2`.
    #[inline]
    #[must_use]
    pub const fn field(self) -> u64 {
        match self {
            Self::Bits32 => 0,
            Self::Bits36 => 1,
            Self::Bits40 => 2,
            Self::Bits42 => 3,
            Self::Bits44 => 4,
            Self::Bits48 => 5,
        }
    }

    pub(crate) const fn narrower(self, other: Self) -> Self {
        match self.bits() < other.bits() {
            true => self,
            false => other,
        }
    }

    /// The width in bits.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits32 => 32,
            Self::Bits36 => 36,
            Self::Bits40 => 40,
            Self::Bits42 => 42,
            Self::Bits44 => 44,
            Self::Bits48 => 48,
        }
    }
}

/// The width and its unit: `40 bits`.
impl fmt::Display for PhysicalAddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits", self.bits())
    }
}
