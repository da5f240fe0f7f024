//! EPT violations and EPT misconfigurations.

use core::fmt;

/// A VM exit that a translation causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The level of the entry where the walk stopped: 1 for a PTE to 5 for a PML5E.
    pub level: u8,
    /// Why it stopped.
    pub why: Why,
    /// The exit qualification of an EPT violation; 0 otherwise.
    ///
    /// Bits 2:0 are the access: read, write, fetch. Bits 5:3 are the AND of bits 2:0 of all entries
    /// used. Bit 6 is the AND of their bits 10 under mode-based execute control, else 0. Bits 7
    /// and 8 are set: the guest's linear address is valid, and the access is to its translation
    /// rather than to one of the guest's paging structures.
    pub qualification: u64,
    /// The violation goes to the guest as a virtualization exception (#VE), unless the guest cannot take
    /// one now: the control "EPT-violation #VE" is 1, and the entry where the walk stopped does not suppress
    /// it (bit 63). See "Convertible EPT Violations".
    pub convertible: bool,
}

/// Why a guest-physical address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The guest-physical address has bits above those that the walk uses: 47:0 with 4 levels,
    /// 56:0 with 5. An EPT violation.
    AddressWidth,
    /// The entry is not present: bits 2:0 are zero, and bit 10 under mode-based execute control. An
    /// EPT violation.
    NotPresent,
    /// An entry on the way does not grant the access. An EPT violation.
    Permission,
    /// The entry has a setting that is reserved. An EPT misconfiguration.
    Misconfiguration(Misconfiguration),
    /// There is no memory where the entry should be. What a processor reads then is up to the
    /// platform.
    NoMemory,
}

/// Which rule of "EPT Misconfigurations" an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misconfiguration {
    /// Bit 0 is clear and bit 1 is set.
    WriteWithoutRead,
    /// Bit 0 is clear and bit 2, or bit 10 under mode-based execute control, is set on a processor
    /// without execute-only translations.
    ExecuteOnly,
    /// Reserved bits are set.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
    /// The memory type of a leaf is 2, 3 or 7.
    MemoryType {
        /// The value of bits 5:3.
        memory_type: u8,
    },
}

impl Fault {
    /// The basic exit reason (SDM 3D, appendix C): 48 for an EPT violation, 49 for an EPT
    /// misconfiguration, `None` for what the processor does not detect.
    #[must_use]
    pub const fn exit_reason(&self) -> Option<u32> {
        match self.why {
            Why::AddressWidth | Why::NotPresent | Why::Permission => Some(48),
            Why::Misconfiguration(_) => Some(49),
            Why::NoMemory => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, level) = (self.why, self.level);
        match why {
            Why::Misconfiguration(_) => write!(f, "EPT misconfiguration at level {level}: {why}"),
            Why::NoMemory => write!(f, "the walk stops at level {level}: {why}"),
            _ => {
                let qualification = self.qualification;
                write!(
                    f,
                    "EPT violation {qualification:#x} at level {level}: {why}"
                )
            }
        }
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressWidth => f.write_str("the guest-physical address is wider than the walk"),
            Self::NotPresent => f.write_str("the entry is not present"),
            Self::Permission => f.write_str("an entry forbids the access"),
            Self::Misconfiguration(rule) => rule.fmt(f),
            Self::NoMemory => f.write_str("there is no memory where the entry should be"),
        }
    }
}

impl fmt::Display for Misconfiguration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteWithoutRead => f.write_str("write access without read access"),
            Self::ExecuteOnly => f.write_str("execute-only, which this processor lacks"),
            Self::ReservedBits { bits } => write!(f, "reserved bits {bits:#x} are set"),
            Self::MemoryType { memory_type } => write!(f, "reserved memory type {memory_type}"),
        }
    }
}
