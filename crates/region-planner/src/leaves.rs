//! How many leaves a mapping takes.

use core::iter::Sum;

use guest_addr::{GuestPhysRange, HostPhysAddr};

use crate::pages::{Block, PAGE_SHIFT, Pages};

const SHIFT_4K: u32 = PAGE_SHIFT;
const SHIFT_2M: u32 = 21;
const SHIFT_1G: u32 = 30;

/// Where a mapping lies: guest addresses and the host address behind the first of them.
///
/// A range that does not consist of whole 4 KiB pages counts as if it were grown to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The guest addresses.
    pub guest: GuestPhysRange,
    /// The host address behind the first guest address; `None` for host frames chosen later.
    pub host: Option<HostPhysAddr>,
}

impl Extent {
    /// The shift of the largest leaf that may appear: 30, 21 or 12.
    ///
    /// A leaf begins on a multiple of its size in the guest and in the host, so the difference of
    /// the two is a multiple of the size as well. Host frames chosen later come in runs of 2 MiB.
    pub(crate) fn largest_leaf_shift(&self) -> u32 {
        let Some(host) = self.host else {
            return SHIFT_2M;
        };
        let difference = self.guest.start().as_u64().wrapping_sub(host.as_u64());
        match difference.trailing_zeros() {
            SHIFT_1G.. => SHIFT_1G,
            SHIFT_2M.. => SHIFT_2M,
            _ => SHIFT_4K,
        }
    }

    /// The leaves that map the extent: at each address the largest of 4 KiB, 2 MiB and 1 GiB that is aligned
    /// in guest and host and lies wholly inside. Where host frames are chosen later, each
    /// 2 MiB that fits is one leaf and the rest are 4 KiB leaves.
    ///
    /// Takes constant time, whatever the size.
    #[must_use]
    pub fn leaf_counts(&self) -> LeafCounts {
        let largest = self.largest_leaf_shift();
        let whole = |shift: u32| match shift <= largest {
            true => whole_blocks(self.guest, shift),
            false => 0,
        };
        let (size_1g, all_2m) = (whole(SHIFT_1G), whole(SHIFT_2M));
        let without = |all: u64, covered: u64| all.saturating_sub(covered.saturating_mul(512));
        LeafCounts {
            size_4k: without(whole(SHIFT_4K), all_2m),
            size_2m: without(all_2m, size_1g),
            size_1g,
        }
    }
}

/// The aligned blocks of 2^`shift` bytes that lie wholly in `guest`, grown to whole pages.
fn whole_blocks(guest: GuestPhysRange, shift: u32) -> u64 {
    let pages = Pages::around(guest);
    let start = Block::of(pages.start, shift);
    let first = start.number.saturating_add(u64::from(!start.is_start));
    Block::of(pages.end, shift).number.saturating_sub(first)
}

/// A number of leaves of each size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeafCounts {
    /// Leaves of 4 KiB.
    pub size_4k: u64,
    /// Leaves of 2 MiB.
    pub size_2m: u64,
    /// Leaves of 1 GiB.
    pub size_1g: u64,
}

impl Sum for LeafCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, next| Self {
            size_4k: sum.size_4k.saturating_add(next.size_4k),
            size_2m: sum.size_2m.saturating_add(next.size_2m),
            size_1g: sum.size_1g.saturating_add(next.size_1g),
        })
    }
}
