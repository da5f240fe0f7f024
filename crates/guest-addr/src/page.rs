//! 4 KiB alignment of sizes and raw addresses.

/// The size of a page in bytes: 4 KiB, the smallest unit that the tables map.
pub const PAGE_SIZE_4K: u64 = 0x1000;

/// `value` rounded down to a multiple of 4 KiB.
#[inline]
#[must_use]
pub const fn align_down_4k(value: u64) -> u64 {
    value & !(PAGE_SIZE_4K - 1)
}

/// `value` rounded up to a multiple of 4 KiB, or `None` when that would be 2^64.
#[inline]
#[must_use]
pub const fn align_up_4k(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE_4K - 1) {
        Some(sum) => Some(align_down_4k(sum)),
        None => None,
    }
}

/// Whether `value` is a multiple of 4 KiB.
#[inline]
#[must_use]
pub const fn is_aligned_4k(value: u64) -> bool {
    value & (PAGE_SIZE_4K - 1) == 0
}
