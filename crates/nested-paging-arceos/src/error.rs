//! What goes wrong, in the terms of `axaddrspace`.

use axaddrspace::AddrSpaceError;
use guest_addr::{GuestPhysRange, HostPhysAddr, PAGE_SIZE_4K};
use nested_page_table::{MapError, UnmapError};

pub(crate) fn map_error(error: MapError) -> AddrSpaceError {
    match error {
        MapError::Unaligned { guest, host } => unaligned(&guest, host),
        MapError::Conflict { .. } => AddrSpaceError::MappingConflict,
        MapError::GuestTooWide { .. } | MapError::HostTooWide { .. } | MapError::Flags(_) => {
            AddrSpaceError::InvalidMapping
        }
        // It is mapped, and CPUs may still believe otherwise.
        MapError::NotInvalidated(_) => AddrSpaceError::NeedsRepair,
        // Nothing has changed: no frames for tables, or an earlier removal that is not settled.
        _ => AddrSpaceError::MappingState,
    }
}

pub(crate) fn unmap_error(error: UnmapError) -> AddrSpaceError {
    match error {
        UnmapError::Unaligned { guest } => unaligned(&guest, HostPhysAddr::ZERO),
        UnmapError::GuestTooWide { .. } => AddrSpaceError::InvalidMapping,
        UnmapError::NotInvalidated(_) => AddrSpaceError::NeedsRepair,
        _ => AddrSpaceError::MappingState,
    }
}

/// The first of the values that is no multiple of 4 KiB.
fn unaligned(guest: &GuestPhysRange, host: HostPhysAddr) -> AddrSpaceError {
    let values = [
        ("guest physical address", guest.start().as_u64()),
        ("mapping size", guest.size()),
        ("host physical address", host.as_u64()),
    ];
    let is_unaligned = |(_, value): &(&str, u64)| value % PAGE_SIZE_4K != 0;
    match values.into_iter().find(is_unaligned) {
        Some((subject, value)) => AddrSpaceError::Unaligned {
            subject,
            value: value as usize,
            alignment: PAGE_SIZE_4K as usize,
        },
        None => AddrSpaceError::InvalidMapping,
    }
}
