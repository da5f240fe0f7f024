//! What can go wrong in a change through a shared reference, one enum for each operation.

use core::fmt;

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::{FlagsError, MappingFlags};

use crate::contract::invalidation::InvalidationFailed;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;

/// Why a leaf was not filled. Nothing has changed, and every frame was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FillError {
    /// The guest range is not exactly one leaf of a size that the hardware has, or the host address is not a multiple
    /// of that size.
    NotALeaf {
        /// The guest range that was given.
        guest: GuestPhysRange,
        /// The host address that was given.
        host: HostPhysAddr,
    },
    /// The guest range goes beyond the input width of the table.
    GuestTooWide {
        /// The guest range that was given.
        guest: GuestPhysRange,
        /// The input width in bits.
        bits: u32,
    },
    /// The host range goes beyond the output width of the table.
    HostTooWide {
        /// The first host address that was given.
        host: HostPhysAddr,
        /// The size of the range in bytes.
        size: u64,
        /// The output width in bits.
        bits: u32,
    },
    /// The flags mean nothing, or this format cannot express them.
    Flags(FlagsError),
    /// The [`LeafPolicy`](crate::LeafPolicy) allows smaller leaves only.
    TooLarge {
        /// The highest level for a leaf with these flags.
        largest: Level,
    },
    /// A removal in the range waits for its invalidation: an earlier edit was leaked, or its invalidation failed. A CPU may
    /// still use what was there. An [edit](crate::NestedPageTable::edit) settles it; trying again does not.
    Unsettled,
    /// There were not enough frames for tables.
    OutOfMemory {
        /// The number of frames of 4 KiB that the leaf needs.
        frames: u64,
    },
}

/// Why no permission was added. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RaiseError {
    /// A flag was given that is no permission.
    NotAPermission {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// The leaf cannot have the permissions beside what it has.
    Flags {
        /// The leaf.
        existing: Mapping,
        /// Why.
        reason: FlagsError,
    },
    /// The [`LeafPolicy`](crate::LeafPolicy) allows these permissions for smaller leaves only.
    TooLarge {
        /// The leaf.
        existing: Mapping,
        /// The highest level for a leaf with these permissions.
        largest: Level,
    },
}

/// Why a leaf was not split. It is what it was, and every frame was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitError {
    /// There were not enough frames for tables.
    OutOfMemory {
        /// The number of frames of 4 KiB that the split needs.
        frames: u64,
    },
    /// The host could not invalidate the leaf.
    NotInvalidated(InvalidationFailed),
}

impl fmt::Display for FillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotALeaf { guest, host } => write!(
                f,
                "guest range {guest} at host {host} is not exactly one aligned leaf"
            ),
            Self::GuestTooWide { guest, bits } => {
                write!(
                    f,
                    "guest range {guest} goes beyond the {bits}-bit input width"
                )
            }
            Self::HostTooWide { host, size, bits } => write!(
                f,
                "{size:#x} bytes at host {host} go beyond the {bits}-bit output width"
            ),
            Self::Flags(reason) => reason.fmt(f),
            Self::TooLarge { largest } => {
                write!(f, "the policy allows leaves of at most {largest} here")
            }
            Self::Unsettled => {
                f.write_str("an earlier removal in the range is not invalidated yet")
            }
            Self::OutOfMemory { frames } => out_of_memory(f, *frames),
        }
    }
}

impl fmt::Display for RaiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPermission { flags } => write!(
                f,
                "{flags}: only READ, WRITE, EXECUTE and USER can be added"
            ),
            Self::Flags { existing, reason } => write!(f, "{existing}: {reason}"),
            Self::TooLarge { existing, largest } => write!(
                f,
                "{existing}: the policy allows leaves of at most {largest} with these permissions"
            ),
        }
    }
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory { frames } => out_of_memory(f, *frames),
            Self::NotInvalidated(failed) => write!(f, "the leaf was not split: {failed}"),
        }
    }
}

fn out_of_memory(f: &mut fmt::Formatter<'_>, frames: u64) -> fmt::Result {
    write!(
        f,
        "out of memory: {frames} frames of 4 KiB are needed for tables"
    )
}

impl core::error::Error for FillError {}
impl core::error::Error for RaiseError {}
impl core::error::Error for SplitError {}

impl From<FlagsError> for FillError {
    fn from(reason: FlagsError) -> Self {
        Self::Flags(reason)
    }
}
