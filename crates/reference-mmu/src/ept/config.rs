//! The EPT pointer.

use core::fmt;

use guest_addr::HostPhysAddr;

use crate::bits::{bit, field, mask};

/// What the processor supports, and which controls are on.
///
/// Bit numbers are those of IA32_VMX_EPT_VPID_CAP (SDM 3D, appendix A.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// MAXPHYADDR, from CPUID 80000008H:EAX\[7:0\]: 32 to 52.
    pub max_phys_addr: u8,
    /// Bit 0: execute-only translations.
    pub execute_only: bool,
    /// Bit 7: a page-walk length of 5.
    pub walk_length_5: bool,
    /// Bit 16: a PDE may map a 2 MiB page.
    pub page_2m: bool,
    /// Bit 17: a PDPTE may map a 1 GiB page.
    pub page_1g: bool,
    /// Bit 21: accessed and dirty flags.
    pub accessed_dirty: bool,
    /// The VM-execution control "mode-based execute control for EPT" is 1.
    pub mode_based_execute: bool,
    /// The VM-execution control "EPT-violation #VE" is 1.
    pub violation_exceptions: bool,
}

/// A logical processor's EPT: EPTP, capabilities and controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ept {
    pub(super) root: HostPhysAddr,
    /// The page-walk length: 4 or 5.
    pub(super) levels: u8,
    /// EPTP bit 6.
    pub(super) accessed_dirty: bool,
    pub(super) features: Features,
}

/// Why VM entry refuses an EPT pointer ("VM-Execution Control Fields"), or why the features are
/// not those of any processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// MAXPHYADDR is not 32 to 52.
    MaxPhysAddr {
        /// What was given.
        bits: u8,
    },
    /// Bits 2:0 are neither 0 (uncacheable) nor 6 (write-back).
    MemoryType {
        /// The value of bits 2:0.
        memory_type: u64,
    },
    /// Bits 5:3 are not one less than a page-walk length that the processor supports.
    WalkLength {
        /// The value of bits 5:3.
        field: u64,
    },
    /// Bit 6 is set on a processor without accessed and dirty flags.
    AccessedDirtyUnsupported,
    /// Bits 11:7 or bits from MAXPHYADDR up are set.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
}

impl Ept {
    /// The EPT that `eptp` selects: memory type 2:0, walk length less one 5:3, accessed and dirty
    /// flags 6, address N-1:12, all else reserved (table "Format of Extended-Page-Table Pointer").
    ///
    /// # Errors
    ///
    /// - [`ConfigError::MaxPhysAddr`]: `features` has an impossible MAXPHYADDR.
    /// - [`ConfigError::MemoryType`]: the memory type is not 0 or 6.
    /// - [`ConfigError::WalkLength`]: the walk length is not 4, nor 5 where that is supported.
    /// - [`ConfigError::AccessedDirtyUnsupported`]: bit 6 without the capability.
    /// - [`ConfigError::ReservedBits`]: a reserved bit is set, which includes an address of
    ///   MAXPHYADDR bits and more.
    pub fn new(eptp: u64, features: Features) -> Result<Self, ConfigError> {
        let bits = features.max_phys_addr;
        if !(32..=52).contains(&bits) {
            return Err(ConfigError::MaxPhysAddr { bits });
        }
        let memory_type = field(eptp, 2, 0);
        if memory_type != 0 && memory_type != 6 {
            return Err(ConfigError::MemoryType { memory_type });
        }
        let levels = match field(eptp, 5, 3) {
            3 => 4,
            4 if features.walk_length_5 => 5,
            field => return Err(ConfigError::WalkLength { field }),
        };
        let accessed_dirty = bit(eptp, 6);
        if accessed_dirty && !features.accessed_dirty {
            return Err(ConfigError::AccessedDirtyUnsupported);
        }
        let bits = eptp & (mask(11, 7) | mask(63, u32::from(bits)));
        if bits != 0 {
            return Err(ConfigError::ReservedBits { bits });
        }
        Ok(Self {
            root: HostPhysAddr::new(eptp & mask(51, 12)),
            levels,
            accessed_dirty,
            features,
        })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxPhysAddr { bits } => {
                write!(f, "MAXPHYADDR is {bits}: give a number from 32 to 52")
            }
            Self::MemoryType { memory_type } => write!(
                f,
                "the memory type of EPTP is {memory_type}: use 6 (write-back) or 0 (uncacheable)"
            ),
            Self::WalkLength { field } => write!(
                f,
                "EPTP bits 5:3 are {field}: use 3, or 4 where 5 levels are supported"
            ),
            Self::AccessedDirtyUnsupported => f.write_str(
                "EPTP bit 6 asks for accessed and dirty flags, which this processor lacks",
            ),
            Self::ReservedBits { bits } => {
                write!(f, "EPTP has the reserved bits {bits:#x} set: clear them")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
