//! The vocabulary of the two sides.

use ax_memory_addr::PhysAddr;
use axaddrspace::{AddrSpaceError, AddrSpaceResult, PageSize};
use axvm_types::{GuestPhysAddr as AxGuestPhysAddr, MappingFlags as AxFlags};
use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, PAGE_SIZE_4K};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Level, Mapping};

/// `flags` as `nested-paging` has them: the bits are the same.
///
/// # Errors
///
/// [`FlagsError`]: a bit is unknown, or no table maps such flags, on any architecture. `axvm-types` accepts any
/// combination; WRITE without READ, DEVICE with EXECUTE, DEVICE with UNCACHED, and no access are refused here.
pub const fn flags_from_axvm(flags: AxFlags) -> Result<MappingFlags, FlagsError> {
    match MappingFlags::from_configuration(flags.bits() as u64) {
        Ok(flags) => flags.validate(),
        Err(error) => Err(error),
    }
}

/// `flags` as `axvm-types` has them: the bits are the same.
#[must_use]
pub const fn flags_to_axvm(flags: MappingFlags) -> AxFlags {
    AxFlags::from_bits_truncate(flags.bits() as usize)
}

pub(crate) fn guest(address: AxGuestPhysAddr) -> GuestPhysAddr {
    GuestPhysAddr::from_usize(address.as_usize())
}

pub(crate) fn host(address: PhysAddr) -> HostPhysAddr {
    HostPhysAddr::from_usize(address.as_usize())
}

pub(crate) fn ax_host(address: HostPhysAddr) -> PhysAddr {
    PhysAddr::from_usize(address.as_usize())
}

/// The range from `start` on, which may end at the last byte of the space.
pub(crate) fn range(start: AxGuestPhysAddr, size: usize) -> AddrSpaceResult<GuestPhysRange> {
    if size == 0 {
        return Err(AddrSpaceError::InvalidMapping);
    }
    let overflow = |_| AddrSpaceError::AddressOverflow {
        start: start.as_usize(),
        size,
    };
    GuestPhysRange::from_start_size(guest(start), size as u64).map_err(overflow)
}

/// The page of 4 KiB around `address`.
pub(crate) fn page(address: AxGuestPhysAddr) -> GuestPhysRange {
    GuestPhysRange::block_at(guest(address), PAGE_SIZE_4K.trailing_zeros())
}

/// The leaf as the trait's methods return it: its first host address, flags and size.
pub(crate) fn whole(leaf: &Mapping) -> (PhysAddr, AxFlags, PageSize) {
    let size = match leaf.level {
        Level::PAGE_4K => PageSize::Size4K,
        Level::BLOCK_2M => PageSize::Size2M,
        // The tables of this crate have no larger leaf.
        _ => PageSize::Size1G,
    };
    (ax_host(leaf.host), flags_to_axvm(leaf.flags), size)
}
