//! Ranges of whole 4 KiB pages, by number.

use guest_addr::{Address, AddressRange, AddressSpace, PAGE_SIZE_4K, RangeError};

pub(crate) const PAGE_SHIFT: u32 = PAGE_SIZE_4K.trailing_zeros();

/// Page numbers from `start` up to but not including `end`. `end` is at most 2^52, so that a range
/// which ends at the last byte of the space needs no special case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Pages {
    /// The pages that hold the bytes: start rounded down, end rounded up.
    #[inline]
    pub(crate) const fn around<S: AddressSpace>(bytes: AddressRange<S>) -> Self {
        Self {
            start: bytes.start().as_u64() >> PAGE_SHIFT,
            end: (bytes.last().as_u64() >> PAGE_SHIFT).saturating_add(1),
        }
    }

    #[inline]
    pub(crate) const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The pages that both have; empty or reversed when there are none.
    pub(crate) fn common(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// The bytes of the pages, or `None` when they are all 2^64 bytes or none.
    pub(crate) fn bytes<S: AddressSpace>(self) -> Result<AddressRange<S>, RangeError> {
        let start = self.start << PAGE_SHIFT;
        let last = (self.end << PAGE_SHIFT).wrapping_sub(1);
        AddressRange::from_start_last(Address::new(start), Address::new(last))
    }
}

/// A place in the guest measured in aligned blocks of 2^`shift` bytes.
pub(crate) struct Block {
    /// The number of the block.
    pub(crate) number: u64,
    /// Whether the place is where the block begins.
    pub(crate) is_start: bool,
}

impl Block {
    /// The block of 2^`shift` bytes, at least a page, that holds page `page`.
    pub(crate) fn of(page: u64, shift: u32) -> Self {
        let shift = shift.saturating_sub(PAGE_SHIFT);
        Self {
            number: page.checked_shr(shift).unwrap_or(0),
            is_start: page.trailing_zeros() >= shift,
        }
    }
}
