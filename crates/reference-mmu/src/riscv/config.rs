//! hgatp.

use core::fmt;

use guest_addr::HostPhysAddr;

use crate::bits::{field, mask};

/// The extensions that change the meaning of a PTE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `menvcfg.PBMTE`: Svpbmt for the G-stage. (`henvcfg.PBMTE` is for the VS-stage.)
    pub pbmte: bool,
    /// `menvcfg.ADUE`: hardware updates A and D (Svadu). Without it they fault (Svade).
    pub adue: bool,
    /// Svnapot: 64 KiB ranges of sixteen PTEs.
    pub svnapot: bool,
    /// Svrsw60t59b: bits 60 and 59 are for software.
    pub svrsw60t59b: bool,
}

/// A hart's G-stage: hgatp, and the extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GStage {
    pub(super) root: HostPhysAddr,
    /// The LEVELS of VATP.
    pub(super) levels: u8,
    pub(super) features: Features,
}

/// Why a value of hgatp selects no translation, or not the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// MODE is not 8, 9 or 10: Bare, or reserved.
    Mode {
        /// The value of bits 63:60.
        mode: u64,
    },
    /// Bits 59:58 are not zero.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
    /// The root is not aligned to 16 KiB: hardware would use it with PPN\[1:0\] = 0.
    UnalignedRoot {
        /// The address of the root as it was given.
        root: HostPhysAddr,
    },
}

impl GStage {
    /// The G-stage that `hgatp` selects.
    ///
    /// The table of the 64-bit hgatp: MODE 63:60, zero 59:58, VMID 57:44, PPN 43:0.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::Mode`]: MODE is not Sv39x4 (8), Sv48x4 (9) or Sv57x4 (10).
    /// - [`ConfigError::ReservedBits`]: bit 58 or 59 is set.
    /// - [`ConfigError::UnalignedRoot`]: PPN\[1:0\] is not zero. The root of an x4 mode is 16 KiB and
    ///   aligned to its size; the two bits always read as zero, so that the hardware takes another
    ///   root than the one that was meant.
    pub fn new(hgatp: u64, features: Features) -> Result<Self, ConfigError> {
        let levels = match field(hgatp, 63, 60) {
            8 => 3,
            9 => 4,
            10 => 5,
            mode => return Err(ConfigError::Mode { mode }),
        };
        let bits = hgatp & mask(59, 58);
        if bits != 0 {
            return Err(ConfigError::ReservedBits { bits });
        }
        let root = HostPhysAddr::new(field(hgatp, 43, 0) << 12);
        if field(hgatp, 1, 0) != 0 {
            return Err(ConfigError::UnalignedRoot { root });
        }
        Ok(Self {
            root,
            levels,
            features,
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode { mode } => write!(
                f,
                "hgatp.MODE is {mode}: use 8 (Sv39x4), 9 (Sv48x4) or 10 (Sv57x4)"
            ),
            Self::ReservedBits { bits } => {
                write!(f, "hgatp has the reserved bits {bits:#x} set: clear them")
            }
            Self::UnalignedRoot { root } => {
                write!(f, "the root table at {root} must be aligned to 0x4000")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
