//! Why an operation on a running machine failed.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange, RangeError};
use mapping_flags::MappingFlags;
use nested_page_table::{InvalidationFailed, MapError, ProtectError, SetVmidError, UnmapError};

use crate::guest_use::GuestUse;
use crate::region::Occupant;

/// Why an operation on a running machine failed. It changed nothing, unless a reason says otherwise: where the
/// host could not invalidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmError {
    /// The size is zero, or the range runs past the last byte of its address space.
    Range(RangeError),
    /// The table refused to map.
    Map(MapError),
    /// The table refused to unmap.
    Unmap(UnmapError),
    /// The table refused to change permissions.
    Protect(ProtectError),
    /// A part of the range is in use already.
    Occupied {
        /// The range that was asked for.
        requested: GuestPhysRange,
        /// The first region in the way.
        existing: GuestPhysRange,
        /// What that region is used for.
        occupant: Occupant,
    },
    /// The range touches an inter-VM communication channel, which can only be released whole.
    IvcChannelInRange {
        /// The range that was asked for.
        requested: GuestPhysRange,
        /// The first channel in it.
        channel: GuestPhysRange,
    },
    /// A fault came without the access that the guest tried.
    NoAccess {
        /// Where the guest faulted.
        address: GuestPhysAddr,
        /// The flags that were given: none of `READ`, `WRITE` and `EXECUTE`.
        access: MappingFlags,
    },
    /// The host does not let the guest have the memory: [`VmHal::grants`](crate::VmHal::grants)
    /// refused.
    NotGranted {
        /// The host memory that was asked for, in whole pages.
        range: HostPhysRange,
        /// What the guest wanted it for.
        r#use: GuestUse,
    },
    /// The guest has no memory at the address.
    NotMapped {
        /// The first address without memory.
        address: GuestPhysAddr,
    },
    /// A word is not at a multiple of its size.
    Misaligned {
        /// The address that was given.
        address: GuestPhysAddr,
        /// The size of the word in bytes.
        size: u64,
    },
    /// The hypervisor does not read or write device memory on the guest's behalf.
    DeviceMemory {
        /// The first address of device memory.
        address: GuestPhysAddr,
    },
    /// The host has no frames left for guest memory.
    NoFrames {
        /// The guest range that they were wanted for.
        guest: GuestPhysRange,
    },
    /// The hypervisor's heap has no memory left for the list of regions.
    NoBookkeepingMemory,
    /// No range of the configuration for IVC channels has so many free bytes in a row.
    NoIvcSpace {
        /// The size that was asked for, rounded up to 4 KiB.
        size: u64,
    },
    /// The change was made, but the host could not invalidate what CPUs remember. It stays pending, and the
    /// next change of the table asks again.
    NotInvalidated(InvalidationFailed),
    /// The host knows of a live machine with the VMID.
    VmidInUse {
        /// The VMID that was given.
        vmid: u16,
    },
    /// The table kept its VMID.
    Vmid(SetVmidError),
    /// No IVC channel begins at the address.
    NoIvcChannel {
        /// The address that was given.
        address: GuestPhysAddr,
    },
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(reason) => reason.fmt(f),
            Self::Map(reason) => reason.fmt(f),
            Self::Unmap(reason) => reason.fmt(f),
            Self::Protect(reason) => reason.fmt(f),
            Self::Occupied {
                requested,
                existing,
                occupant,
            } => write!(
                f,
                "guest range {requested} overlaps {occupant} at {existing}: unmap or move one"
            ),
            Self::IvcChannelInRange { requested, channel } => write!(
                f,
                "guest range {requested} touches the IVC channel at {channel}: release it first"
            ),
            Self::NoAccess { address, access } => write!(
                f,
                "a fault at {address} by {access}: none of READ, WRITE and EXECUTE"
            ),
            Self::NotGranted { range, r#use } => {
                write!(f, "the host does not grant {range} as {}", r#use)
            }
            Self::NotMapped { address } => write!(f, "no guest memory at {address}"),
            Self::Misaligned { address, size } => {
                write!(
                    f,
                    "guest address {address} is not a multiple of {size} bytes"
                )
            }
            Self::DeviceMemory { address } => write!(f, "guest address {address} is device memory"),
            Self::NoFrames { guest } => {
                write!(f, "out of memory: no frames for guest range {guest}")
            }
            Self::NoBookkeepingMemory => f.write_str("out of memory: no heap for one more region"),
            Self::NoIvcSpace { size } => write!(
                f,
                "no {size:#x} free bytes in a row for an IVC channel: configure a larger range"
            ),
            Self::NotInvalidated(failed) => failed.fmt(f),
            Self::VmidInUse { vmid } => write!(f, "VMID {vmid:#x} is in use by another VM"),
            Self::Vmid(reason) => reason.fmt(f),
            Self::NoIvcChannel { address } => write!(f, "no IVC channel begins at {address}"),
        }
    }
}

impl core::error::Error for VmError {}

impl From<RangeError> for VmError {
    fn from(reason: RangeError) -> Self {
        Self::Range(reason)
    }
}

impl From<MapError> for VmError {
    fn from(reason: MapError) -> Self {
        Self::Map(reason)
    }
}

impl From<UnmapError> for VmError {
    fn from(reason: UnmapError) -> Self {
        Self::Unmap(reason)
    }
}

impl From<ProtectError> for VmError {
    fn from(reason: ProtectError) -> Self {
        Self::Protect(reason)
    }
}
