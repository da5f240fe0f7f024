//! A leaf as the table's user sees it.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::contract::level::Level;

/// One leaf: a guest range, where it leads, and what the guest may do there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mapping {
    /// Everything that the leaf translates.
    pub guest: GuestPhysRange,
    /// Where its first byte leads.
    pub host: HostPhysAddr,
    /// What the guest may do, and the memory type.
    pub flags: MappingFlags,
    /// The level of the leaf.
    pub level: Level,
}

impl Mapping {
    /// The size of the leaf in bytes: that of [`guest`](Self::guest).
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        1 << self.level.shift()
    }

    /// Where `address` leads, or `None` outside the leaf.
    #[inline]
    #[must_use]
    pub fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        if !self.guest.contains(address) {
            return None;
        }
        self.host
            .checked_add(address.checked_offset_from(self.guest.start())?)
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "guest {} -> host {} {}",
            self.guest, self.host, self.flags
        )
    }
}

/// A leaf that was unmapped, reported when no CPU can use it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnmappedLeaf {
    /// What it translated.
    pub guest: GuestPhysRange,
    /// Where its first byte led.
    pub host: HostPhysAddr,
    /// Whether the hardware had marked it as accessed. Always true without tracking.
    pub accessed: bool,
    /// Whether the hardware had marked it as written to. Without tracking: whether it was writable.
    pub dirty: bool,
}

impl UnmappedLeaf {
    /// The level of the leaf, by its size.
    #[must_use]
    pub fn level(&self) -> Level {
        let size = self.guest.size();
        let mut levels = Level::BLOCK_512G.up_to();
        let level = levels.find(|level| 1 << level.shift() == size);
        level.unwrap_or(Level::PAGE_4K)
    }
}
