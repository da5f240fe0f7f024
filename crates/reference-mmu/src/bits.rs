//! Bit fields as the manuals write them: `value[high:low]`, both ends included.

/// The bits `high` down to `low`, both included and at most 63.
pub(crate) const fn mask(high: u32, low: u32) -> u64 {
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}

/// `value[high:low]` as a number.
pub(crate) const fn field(value: u64, high: u32, low: u32) -> u64 {
    (value & mask(high, low)) >> low
}

/// Whether `value[bit]` is 1.
pub(crate) const fn bit(value: u64, bit: u32) -> bool {
    field(value, bit, bit) == 1
}
