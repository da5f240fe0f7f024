//! Why flags are refused.

use core::fmt;

use crate::flags::MappingFlags;

/// Why flags are refused, with the flags in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlagsError {
    /// A bit is set that is no flag.
    UnknownBits {
        /// All the bits that were given.
        bits: u64,
        /// Those of them that are no flag.
        unknown: u64,
    },
    /// None of `READ`, `WRITE` and `EXECUTE` is set.
    NoAccess {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// `WRITE` without `READ`: no architecture has memory that can be written but not read.
    WriteWithoutRead {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// `DEVICE` with `EXECUTE`: instruction fetches may have side effects on a device.
    DeviceExecute {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// `DEVICE` with `UNCACHED`: two memory types at once.
    DeviceUncached {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// `EXECUTE` without `READ`, on a backend that lacks execute-only mappings.
    ExecuteOnlyUnsupported {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// `UNCACHED` on a backend that has no uncached memory type.
    UncachedUnsupported {
        /// The flags that were given.
        flags: MappingFlags,
    },
}

impl fmt::Display for FlagsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownBits { bits, unknown } => {
                write!(f, "flags {bits:#x} have unknown bits {unknown:#x}")
            }
            Self::NoAccess { flags } => {
                write!(f, "flags {flags} grant no access: set READ or EXECUTE")
            }
            Self::WriteWithoutRead { flags } => {
                write!(f, "flags {flags} have WRITE without READ: add READ")
            }
            Self::DeviceExecute { flags } => {
                write!(
                    f,
                    "flags {flags} have DEVICE with EXECUTE: device memory cannot be executed"
                )
            }
            Self::DeviceUncached { flags } => {
                write!(
                    f,
                    "flags {flags} have both DEVICE and UNCACHED: choose one memory type"
                )
            }
            Self::ExecuteOnlyUnsupported { flags } => {
                write!(
                    f,
                    "flags {flags} have EXECUTE without READ, which this hardware lacks"
                )
            }
            Self::UncachedUnsupported { flags } => {
                write!(
                    f,
                    "flags {flags} have UNCACHED, which this hardware lacks (Svpbmt)"
                )
            }
        }
    }
}

impl core::error::Error for FlagsError {}
