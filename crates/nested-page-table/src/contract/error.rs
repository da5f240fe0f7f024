//! What can go wrong, one enum for each operation.

use core::fmt;

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::{FlagsError, MappingFlags};

use crate::contract::invalidation::InvalidationFailed;
use crate::contract::mapping::Mapping;

/// Why a table could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NewTableError {
    /// The VMID does not fit the hardware's VMID field.
    VmidTooWide {
        /// The VMID that was given.
        vmid: u16,
        /// The width of the field in bits.
        bits: u32,
    },
    /// No run of frames for the root was to be had.
    OutOfMemory {
        /// The size of the root in frames of 4 KiB.
        frames: u64,
    },
    /// The allocator returned a root that is not aligned or lies beyond the output width.
    UnusableRoot {
        /// The address that the allocator returned. It was given back.
        root: HostPhysAddr,
    },
}

/// Why a table kept its VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetVmidError {
    /// The VMID does not fit the hardware's VMID field.
    TooWide {
        /// The VMID that was given.
        vmid: u16,
        /// The width of the field in bits.
        bits: u32,
    },
    /// What was pending under the old VMID could not be invalidated. It stays pending.
    NotInvalidated(InvalidationFailed),
}

/// Why nothing was mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The guest range or the host address is not a multiple of 4 KiB.
    Unaligned {
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
    /// Something is mapped in the range already.
    Conflict {
        /// The guest range that was given.
        guest: GuestPhysRange,
        /// The first leaf that is in the way.
        existing: Mapping,
    },
    /// There were not enough frames for tables.
    OutOfMemory {
        /// The number of frames of 4 KiB that the mapping needs.
        frames: u64,
    },
    /// What was removed from the table before is not settled, and nothing was changed: see [`Unsettled`].
    Unsettled(Unsettled),
    /// **The one exception of all or nothing.** The host could not invalidate the change. The entries are changed: the
    /// range is mapped. The invalidation stays pending; until it succeeds, a CPU may believe that nothing is
    /// mapped there, and fault.
    NotInvalidated(InvalidationFailed),
}

/// Why nothing was unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnmapError {
    /// The range does not begin and end at multiples of 4 KiB.
    Unaligned {
        /// The range that was given.
        guest: GuestPhysRange,
    },
    /// The range goes beyond the input width of the table.
    GuestTooWide {
        /// The range that was given.
        guest: GuestPhysRange,
        /// The input width in bits.
        bits: u32,
    },
    /// There were not enough frames to split the leaves at the edges.
    OutOfMemory {
        /// The number of frames of 4 KiB that the split needs.
        frames: u64,
    },
    /// What was removed from the table before is not settled, and nothing was changed: see [`Unsettled`].
    Unsettled(Unsettled),
    /// **The one exception of all or nothing.** The host could not invalidate the change. The entries are changed, all
    /// or those at the beginning of the range: call again to change the rest. CPUs may still
    /// use the old translations, nothing was given back, and the invalidation stays pending: whoever
    /// wants to free the memory behind them must not do so now.
    NotInvalidated(InvalidationFailed),
}

/// Why no permission was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtectError {
    /// The range does not begin and end at multiples of 4 KiB.
    Unaligned {
        /// The range that was given.
        guest: GuestPhysRange,
    },
    /// The range goes beyond the input width of the table.
    GuestTooWide {
        /// The range that was given.
        guest: GuestPhysRange,
        /// The input width in bits.
        bits: u32,
    },
    /// A flag was given that is no permission: the memory type of a leaf cannot be changed in place.
    NotAPermission {
        /// The flags that were given.
        flags: MappingFlags,
    },
    /// The permissions mean nothing, or this format cannot express them.
    Flags(FlagsError),
    /// A leaf in the range cannot have the permissions, because of its memory type.
    Leaf {
        /// The first such leaf.
        existing: Mapping,
        /// Why.
        reason: FlagsError,
    },
    /// There were not enough frames to split leaves.
    OutOfMemory {
        /// The number of frames of 4 KiB that the split needs.
        frames: u64,
    },
    /// **The one exception of all or nothing.** The host could not invalidate the change. The entries are changed, all
    /// or those at the beginning of the range: call again to change the rest. CPUs may still
    /// use the old translations, nothing was given back, and the invalidation stays pending: whoever
    /// wants to free the memory behind them must not do so now.
    NotInvalidated(InvalidationFailed),
}

/// Why an operation could not begin where others have removed something before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unsettled {
    /// The pending invalidation, which has to come first, failed. It stays pending; the operation can be
    /// tried again.
    InvalidationFailed(InvalidationFailed),
    /// Leaves wait to be reported: an earlier [`unmap_reporting`](crate::Edit::unmap_reporting) could not
    /// invalidate them, or its callback panicked. The next call of `unmap_reporting`, of any range, reports
    /// them.
    Unreported,
}

impl From<InvalidationFailed> for Unsettled {
    fn from(failed: InvalidationFailed) -> Self {
        Self::InvalidationFailed(failed)
    }
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidationFailed(failed) => write!(f, "an earlier change is pending: {failed}"),
            Self::Unreported => {
                f.write_str("leaves that were unmapped earlier are not reported yet")
            }
        }
    }
}

impl fmt::Display for SetVmidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooWide { vmid, bits } => {
                let (vmid, bits) = (*vmid, *bits);
                NewTableError::VmidTooWide { vmid, bits }.fmt(f)
            }
            Self::NotInvalidated(failed) => write!(f, "an earlier change is pending: {failed}"),
        }
    }
}

impl fmt::Display for NewTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VmidTooWide { vmid, bits } => {
                write!(
                    f,
                    "VMID {vmid:#x} does not fit in the {bits} bits that the hardware has"
                )
            }
            Self::OutOfMemory { frames } => {
                write!(
                    f,
                    "no run of {frames} aligned 4 KiB frames for the root table"
                )
            }
            Self::UnusableRoot { root } => {
                write!(
                    f,
                    "the allocator returned {root} for the root: unaligned or too high"
                )
            }
        }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned { guest, host } => {
                write!(
                    f,
                    "guest range {guest} and host address {host} must be 4 KiB aligned"
                )
            }
            Self::GuestTooWide { guest, bits } => guest_too_wide(f, guest, *bits),
            Self::HostTooWide { host, size, bits } => {
                write!(
                    f,
                    "{size:#x} bytes at host {host} go beyond the {bits}-bit output width"
                )
            }
            Self::Flags(reason) => reason.fmt(f),
            Self::Conflict { guest, existing } => {
                write!(
                    f,
                    "guest range {guest} overlaps what is mapped already: {existing}"
                )
            }
            Self::OutOfMemory { frames } => out_of_memory(f, *frames),
            Self::Unsettled(reason) => reason.fmt(f),
            Self::NotInvalidated(failed) => not_invalidated(f, *failed),
        }
    }
}

impl fmt::Display for UnmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned { guest } => unaligned(f, guest),
            Self::GuestTooWide { guest, bits } => guest_too_wide(f, guest, *bits),
            Self::OutOfMemory { frames } => out_of_memory(f, *frames),
            Self::Unsettled(reason) => reason.fmt(f),
            Self::NotInvalidated(failed) => not_invalidated(f, *failed),
        }
    }
}

impl fmt::Display for ProtectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned { guest } => unaligned(f, guest),
            Self::GuestTooWide { guest, bits } => guest_too_wide(f, guest, *bits),
            Self::NotAPermission { flags } => {
                write!(
                    f,
                    "{flags}: only READ, WRITE, EXECUTE and USER can be changed in place"
                )
            }
            Self::Flags(reason) => reason.fmt(f),
            Self::Leaf { existing, reason } => write!(f, "{existing}: {reason}"),
            Self::OutOfMemory { frames } => out_of_memory(f, *frames),
            Self::NotInvalidated(failed) => not_invalidated(f, *failed),
        }
    }
}

fn unaligned(f: &mut fmt::Formatter<'_>, guest: &GuestPhysRange) -> fmt::Result {
    write!(
        f,
        "guest range {guest} must begin and end at multiples of 4 KiB"
    )
}

fn guest_too_wide(f: &mut fmt::Formatter<'_>, guest: &GuestPhysRange, bits: u32) -> fmt::Result {
    write!(
        f,
        "guest range {guest} goes beyond the {bits}-bit input width"
    )
}

fn not_invalidated(f: &mut fmt::Formatter<'_>, failed: InvalidationFailed) -> fmt::Result {
    write!(f, "the entries were changed, but {failed}")
}

fn out_of_memory(f: &mut fmt::Formatter<'_>, frames: u64) -> fmt::Result {
    write!(
        f,
        "out of memory: {frames} frames of 4 KiB are needed for tables"
    )
}

impl core::error::Error for Unsettled {}
impl core::error::Error for NewTableError {}
impl core::error::Error for SetVmidError {}
impl core::error::Error for MapError {}
impl core::error::Error for UnmapError {}
impl core::error::Error for ProtectError {}

impl From<FlagsError> for MapError {
    fn from(reason: FlagsError) -> Self {
        Self::Flags(reason)
    }
}

impl From<Unsettled> for MapError {
    fn from(reason: Unsettled) -> Self {
        Self::Unsettled(reason)
    }
}

impl From<Unsettled> for UnmapError {
    fn from(reason: Unsettled) -> Self {
        Self::Unsettled(reason)
    }
}
