//! What two regions must have in common to share a page or to merge.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::region::RegionKind;

/// Kind, flags and guest address minus host address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) kind: RegionKind,
    pub(crate) flags: MappingFlags,
    /// Guest minus host, modulo 2^64.
    offset: u64,
    /// Guest below host. Without it, a region that ends on the host's last byte would be followed
    /// by one that begins on host byte 0.
    guest_below_host: bool,
}

impl Class {
    #[inline]
    pub(crate) const fn new(
        kind: RegionKind,
        flags: MappingFlags,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
    ) -> Self {
        let (offset, guest_below_host) = guest.as_u64().overflowing_sub(host.as_u64());
        Self {
            kind,
            flags,
            offset,
            guest_below_host,
        }
    }

    /// Whether guest minus host is the same for both.
    pub(crate) const fn has_distance_of(self, other: Self) -> bool {
        self.offset == other.offset && self.guest_below_host == other.guest_below_host
    }

    /// The host address behind `guest`.
    pub(crate) const fn host_of(self, guest: GuestPhysAddr) -> HostPhysAddr {
        HostPhysAddr::new(guest.as_u64().wrapping_sub(self.offset))
    }
}
