//! N_CR3, and the host's settings that decide how the tables are read.

use core::fmt;

use guest_addr::HostPhysAddr;

use crate::bits::{field, mask};

/// What the processor supports, and what the host has set when it executes VMRUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// MAXPHYADDR, from CPUID Fn8000_0008_EAX\[7:0\]: 32 to 52. Where memory encryption takes bits away, give what is left.
    pub max_phys_addr: u8,
    /// CR4.LA57 of the host: five levels.
    pub five_levels: bool,
    /// EFER.NXE of the host: bit 63 of an entry forbids execution. Otherwise bit 63 is reserved.
    pub no_execute: bool,
    /// CPUID Fn8000_0001_EDX\[26\]: a PDPE may map a 1 GiB page.
    pub page_1g: bool,
    /// The host's PAT (MSR 0000_0277h): eight types of three bits, one in each byte.
    pub pat: u64,
}

impl Features {
    /// The PAT after a reset: WB, WT, UC-, UC, twice (table "PAT-Register PA-Field Indexing", 7.8.2).
    pub const RESET_PAT: u64 = 0x0007_0406_0007_0406;
}

/// A processor's nested paging: N_CR3, features, and the host's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Npt {
    pub(super) root: HostPhysAddr,
    pub(super) features: Features,
}

/// Why VMRUN refuses N_CR3, or why the features are not those of any processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// MAXPHYADDR is not 32 to 52.
    MaxPhysAddr {
        /// What was given.
        bits: u8,
    },
    /// An entry of the PAT is 2, 3 or above 7: a write of such a value raises #GP.
    PatType {
        /// Which entry of the PAT, from 0 to 7.
        index: u8,
        /// The value of its byte.
        memory_type: u8,
    },
    /// Bits of N_CR3 are set that are neither the root's address nor PWT (3) or PCD (4).
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
}

impl Npt {
    /// The tables that `n_cr3` selects (figure "Control Register 3 (CR3)-Long Mode", 5.3.2): PWT 3, PCD 4, address
    /// 51:12, all else reserved.
    ///
    /// # Errors
    ///
    /// - [`ConfigError::MaxPhysAddr`]: `features` has an impossible MAXPHYADDR.
    /// - [`ConfigError::PatType`]: the PAT has a reserved type.
    /// - [`ConfigError::ReservedBits`]: a reserved bit is set, which includes an address of
    ///   MAXPHYADDR bits and more.
    pub fn new(n_cr3: u64, features: Features) -> Result<Self, ConfigError> {
        let bits = features.max_phys_addr;
        if !(32..=52).contains(&bits) {
            return Err(ConfigError::MaxPhysAddr { bits });
        }
        check_pat(features.pat)?;
        let bits = n_cr3 & (mask(2, 0) | mask(11, 5) | mask(63, u32::from(bits)));
        if bits != 0 {
            return Err(ConfigError::ReservedBits { bits });
        }
        Ok(Self {
            root: HostPhysAddr::new(n_cr3 & mask(51, 12)),
            features,
        })
    }

    /// 4, or 5 where the host has CR4.LA57.
    pub(super) fn levels(&self) -> u8 {
        if self.features.five_levels { 5 } else { 4 }
    }

    /// The memory type at `index` of the host's PAT.
    pub(super) fn pat_type(&self, index: u64) -> u8 {
        let low = 8 * (index as u32 & 7);
        field(self.features.pat, low + 2, low) as u8
    }
}

/// Table "Memory Type Encodings of the PAT" (7.8.1): 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-.
fn check_pat(pat: u64) -> Result<(), ConfigError> {
    for (index, memory_type) in (0..).zip(pat.to_le_bytes()) {
        if !matches!(memory_type, 0 | 1 | 4..=7) {
            return Err(ConfigError::PatType { index, memory_type });
        }
    }
    Ok(())
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxPhysAddr { bits } => {
                write!(f, "MAXPHYADDR is {bits}: give a number from 32 to 52")
            }
            Self::PatType { index, memory_type } => write!(
                f,
                "entry {index} of the PAT is {memory_type}: use 0 (UC), 1 (WC), 4 (WT), 5 (WP), 6 (WB) or 7 (UC-)"
            ),
            Self::ReservedBits { bits } => {
                write!(f, "N_CR3 has the reserved bits {bits:#x} set: clear them")
            }
        }
    }
}

impl core::error::Error for ConfigError {}
