//! A range of addresses that may end at the last byte of its space.

use core::fmt;

use crate::address::Address;
use crate::page::PAGE_SIZE_4K;
use crate::space::{AddressSpace, GuestPhysical, GuestVirtual, HostPhysical};

/// A range of guest-physical addresses.
pub type GuestPhysRange = AddressRange<GuestPhysical>;
/// A range of host-physical addresses.
pub type HostPhysRange = AddressRange<HostPhysical>;
/// A range of guest-virtual addresses.
pub type GuestVirtRange = AddressRange<GuestVirtual>;

/// At least one byte, and at most 2^64 - 1, of consecutive addresses.
///
/// The range is kept by its first and its **last** byte, so that it can end where the space ends
/// without an end address of 2^64. Its size always fits a `u64`: the one range that is left out is
/// the whole space of 2^64 bytes, which no page table translates.
///
/// Ranges are ordered by their first byte, then by their last. `Display` writes both, as
/// `/proc/iomem` does: `0x1000-0x1fff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange<S: AddressSpace> {
    start: Address<S>,
    last: Address<S>,
}

/// Why numbers do not describe a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RangeError {
    /// The size is zero, or the last byte lies before the first.
    Empty {
        /// The first byte that was asked for.
        start: u64,
    },
    /// The range would run past the last byte of the space.
    PastEnd {
        /// The first byte that was asked for.
        start: u64,
        /// The size that was asked for, in bytes.
        size: u64,
    },
    /// The range is the whole space of 2^64 bytes.
    WholeSpace,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { start } => write!(f, "the range at {start:#x} is empty"),
            Self::PastEnd { start, size } => {
                write!(
                    f,
                    "the range of {size:#x} bytes at {start:#x} runs past 2^64"
                )
            }
            Self::WholeSpace => f.write_str("the range covers all 2^64 bytes"),
        }
    }
}

impl core::error::Error for RangeError {}

impl<S: AddressSpace> AddressRange<S> {
    /// The `size` bytes that begin at `start`. `start + size == 2^64` is allowed.
    ///
    /// # Errors
    ///
    /// - [`RangeError::Empty`]: `size` is zero.
    /// - [`RangeError::PastEnd`]: `start + size` exceeds 2^64.
    #[inline]
    pub const fn from_start_size(start: Address<S>, size: u64) -> Result<Self, RangeError> {
        let Some(before_last) = size.checked_sub(1) else {
            return Err(RangeError::Empty {
                start: start.as_u64(),
            });
        };
        match start.checked_add(before_last) {
            Some(last) => Ok(Self { start, last }),
            None => Err(RangeError::PastEnd {
                start: start.as_u64(),
                size,
            }),
        }
    }

    /// The bytes from `start` to `last`, both included.
    ///
    /// # Errors
    ///
    /// - [`RangeError::Empty`]: `last` lies before `start`.
    /// - [`RangeError::WholeSpace`]: the range would be all 2^64 bytes.
    #[inline]
    pub const fn from_start_last(start: Address<S>, last: Address<S>) -> Result<Self, RangeError> {
        match last.checked_offset_from(start) {
            None => Err(RangeError::Empty {
                start: start.as_u64(),
            }),
            Some(u64::MAX) => Err(RangeError::WholeSpace),
            Some(_) => Ok(Self { start, last }),
        }
    }

    /// The block of `1 << order` bytes, aligned to its size, that contains `address`. As in
    /// [`u64::wrapping_shl`], the low six bits of `order` count.
    #[inline]
    #[must_use]
    pub const fn block_at(address: Address<S>, order: u32) -> Self {
        let below = block_mask(order);
        Self {
            start: Address::new(address.as_u64() & !below),
            last: Address::new(address.as_u64() | below),
        }
    }

    /// What the range has of the first aligned block of `1 << order` bytes that it touches, and what comes
    /// after that. As in [`u64::wrapping_shl`], the low six bits of `order` count.
    #[inline]
    #[must_use]
    pub const fn split_first_block(&self, order: u32) -> (Self, Option<Self>) {
        let (start, last) = (self.start, self.last);
        let block_last = Address::new(start.as_u64() | block_mask(order));
        if block_last.as_u64() >= last.as_u64() {
            return (*self, None);
        }
        let first = Self {
            start,
            last: block_last,
        };
        // Does not wrap: something lies behind it.
        let start = Address::new(block_last.as_u64().wrapping_add(1));
        (first, Some(Self { start, last }))
    }

    /// The first byte.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> Address<S> {
        self.start
    }

    /// The last byte.
    #[inline]
    #[must_use]
    pub const fn last(&self) -> Address<S> {
        self.last
    }

    /// The first byte after the range, or `None` when the range ends at the last byte of the space.
    #[inline]
    #[must_use]
    pub const fn end(&self) -> Option<Address<S>> {
        self.last.checked_add(1)
    }

    /// The number of bytes, at least 1.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        // Neither step wraps: last >= start, and the whole space is no range.
        self.last
            .as_u64()
            .wrapping_sub(self.start.as_u64())
            .wrapping_add(1)
    }

    /// Whether the byte at `address` belongs to the range.
    #[inline]
    #[must_use]
    pub const fn contains(&self, address: Address<S>) -> bool {
        self.start.as_u64() <= address.as_u64() && address.as_u64() <= self.last.as_u64()
    }

    /// Whether every byte of `other` belongs to this range.
    #[inline]
    #[must_use]
    pub const fn contains_range(&self, other: &Self) -> bool {
        self.contains(other.start) && self.contains(other.last)
    }

    /// Whether the two ranges share a byte.
    #[inline]
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start.as_u64() <= other.last.as_u64() && other.start.as_u64() <= self.last.as_u64()
    }

    /// Whether `other` begins on the byte after this range.
    #[inline]
    #[must_use]
    pub const fn is_followed_by(&self, other: &Self) -> bool {
        matches!(self.end(), Some(end) if end.as_u64() == other.start.as_u64())
    }

    /// The bytes that both ranges have, or `None`.
    #[inline]
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (start, last) = (self.start.max(other.start), self.last.min(other.last));
        (start <= last).then_some(Self { start, last })
    }

    /// The smallest range that contains both, or `None` if that is all 2^64 bytes.
    #[inline]
    #[must_use]
    pub fn hull(&self, other: &Self) -> Option<Self> {
        let (start, last) = (self.start.min(other.start), self.last.max(other.last));
        let is_whole_space = last.as_u64().wrapping_sub(start.as_u64()) == u64::MAX;
        (!is_whole_space).then_some(Self { start, last })
    }

    /// Whether the range begins and ends on 4 KiB boundaries.
    #[inline]
    #[must_use]
    pub const fn is_aligned_4k(&self) -> bool {
        self.start.is_aligned_4k() && self.last.page_offset_4k() == PAGE_SIZE_4K - 1
    }

    /// The range grown to whole 4 KiB pages: start rounded down, end rounded up.
    ///
    /// # Errors
    ///
    /// - [`RangeError::WholeSpace`]: the pages would be all 2^64 bytes.
    #[inline]
    pub const fn align_outward_4k(&self) -> Result<Self, RangeError> {
        let last = Address::new(self.last.as_u64() | (PAGE_SIZE_4K - 1));
        Self::from_start_last(self.start.align_down_4k(), last)
    }
}

/// The bits of an address that count within a block of `1 << order` bytes.
#[inline]
const fn block_mask(order: u32) -> u64 {
    !u64::MAX.wrapping_shl(order)
}

/// The one byte at an address.
impl<S: AddressSpace> From<Address<S>> for AddressRange<S> {
    #[inline]
    fn from(address: Address<S>) -> Self {
        Self {
            start: address,
            last: address,
        }
    }
}

impl<S: AddressSpace> fmt::Debug for AddressRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({self})", S::NAME)
    }
}

impl<S: AddressSpace> fmt::Display for AddressRange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.last)
    }
}
