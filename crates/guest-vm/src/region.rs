//! One region of guest-physical memory, as the running machine keeps it.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

/// What a part of the guest-physical address space is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Occupant {
    /// Memory or a device at host addresses that somebody named.
    Linear,
    /// Memory whose frames the machine allocated, or will allocate on first use.
    Allocated,
    /// An inter-VM communication channel.
    IvcChannel,
    /// An emulated device: never mapped, so that every access traps.
    Emulated,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear memory",
            Self::Allocated => "allocated memory",
            Self::IvcChannel => "an IVC channel",
            Self::Emulated => "an emulated device",
        })
    }
}

/// What stands behind a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// The host address of the region's first byte.
    Linear(HostPhysAddr),
    /// Frames of the host's allocator, page by page; absent pages are filled on first use, with others around them.
    Allocated { around: FillWindow },
    /// A run of frames of the host's allocator that is as long as the region.
    Channel(HostPhysAddr),
    /// Nothing is ever mapped.
    Emulated,
}

/// How much around an absent page is filled with it: an aligned block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FillWindow {
    order: u32,
}

impl FillWindow {
    /// The page alone.
    pub(crate) const PAGE: Self = Self { order: 12 };
    /// Larger ones are cut to this: a fault is to take a bounded time.
    const LARGEST: u32 = 21;

    /// The largest power of two that `bytes` has, from 4 KiB to 2 MiB.
    pub(crate) fn new(bytes: u64) -> Self {
        let order = bytes.checked_ilog2().unwrap_or(0);
        Self {
            order: order.clamp(Self::PAGE.order, Self::LARGEST),
        }
    }

    /// The size as a power of two.
    pub(crate) const fn order(self) -> u32 {
        self.order
    }
}

/// Whole 4 KiB pages with one backing and one set of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) guest: GuestPhysRange,
    pub(crate) backing: Backing,
    pub(crate) flags: MappingFlags,
}

impl Region {
    pub(crate) const fn occupant(&self) -> Occupant {
        match self.backing {
            Backing::Linear(_) => Occupant::Linear,
            Backing::Allocated { .. } => Occupant::Allocated,
            Backing::Channel(_) => Occupant::IvcChannel,
            Backing::Emulated => Occupant::Emulated,
        }
    }

    /// The parts before and from `boundary`, if both have bytes.
    pub(crate) fn split_at(&self, boundary: GuestPhysAddr) -> Option<(Self, Self)> {
        let last = boundary.checked_sub(1)?;
        let low = GuestPhysRange::from_start_last(self.guest.start(), last).ok()?;
        let high = GuestPhysRange::from_start_last(boundary, self.guest.last()).ok()?;
        let backing = self.backing_after(low.size())?;
        Some((
            Self {
                guest: low,
                ..*self
            },
            Self {
                guest: high,
                backing,
                ..*self
            },
        ))
    }

    /// Takes in `next` if it goes on where this region ends, with the same flags and backing.
    /// Channels are never joined: each is released by its own address.
    pub(crate) fn absorb(&mut self, next: &Self) -> bool {
        let joins = self.guest.is_followed_by(&next.guest)
            && self.flags == next.flags
            && !matches!(self.backing, Backing::Channel(_))
            && self.backing_after(self.guest.size()) == Some(next.backing);
        match GuestPhysRange::from_start_last(self.guest.start(), next.guest.last()) {
            Ok(joined) if joins => {
                self.guest = joined;
                true
            }
            _ => false,
        }
    }

    fn backing_after(&self, bytes: u64) -> Option<Backing> {
        Some(match self.backing {
            Backing::Linear(host) => Backing::Linear(host.checked_add(bytes)?),
            Backing::Channel(host) => Backing::Channel(host.checked_add(bytes)?),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOCATED: Backing = Backing::Allocated {
        around: FillWindow::PAGE,
    };

    fn region(start: u64, backing: Backing) -> Region {
        Region {
            guest: GuestPhysRange::from_start_size(GuestPhysAddr::new(start), 0x1000).unwrap(),
            backing,
            flags: MappingFlags::READ,
        }
    }

    #[test]
    fn neighbours_join_where_host_memory_goes_on() {
        let joins = |first, second| region(0, first).absorb(&region(0x1000, second));
        let (low, next) = (HostPhysAddr::new(0x8000), HostPhysAddr::new(0x9000));
        assert!(joins(ALLOCATED, ALLOCATED));
        assert!(joins(Backing::Linear(low), Backing::Linear(next)));
        assert!(!joins(Backing::Linear(low), Backing::Linear(low)));
        assert!(!joins(Backing::Linear(low), ALLOCATED));
        assert!(!joins(Backing::Channel(low), Backing::Channel(next)));
    }

    #[test]
    fn parts_of_a_region_join_again() {
        for backing in [ALLOCATED, Backing::Linear(HostPhysAddr::new(0x8000))] {
            let (mut low, high) = region(0, backing)
                .split_at(GuestPhysAddr::new(0x800))
                .unwrap();
            assert!(low.absorb(&high));
            assert_eq!(low, region(0, backing));
        }
        assert_eq!(
            region(0, Backing::Emulated).split_at(GuestPhysAddr::ZERO),
            None
        );
    }
}
