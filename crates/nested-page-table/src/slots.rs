//! Walking the entries of one table that a range touches.

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::geometry::Geometry;
use crate::level::Level;

/// One entry of a table, and what a range has of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The index into the table.
    pub(crate) index: usize,
    /// The first and the last byte that was asked for.
    start: u64,
    last: u64,
    /// The address bits that the entry leaves to the levels below.
    below: u64,
}

impl Slot {
    /// The part that was asked for.
    #[inline]
    pub(crate) fn portion(&self) -> GuestPhysRange {
        range_of(self.start, self.last)
    }

    /// The guest-physical range that the entry translates.
    #[inline]
    pub(crate) fn span(&self) -> GuestPhysRange {
        range_of(self.start & !self.below, self.last | self.below)
    }

    /// Whether the whole entry was asked for.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        (self.start | !self.last) & self.below == 0
    }
}

/// The entries that `range` touches in a table of `count` entries that map `1 << shift` bytes each, in
/// ascending order. The count is a power of two, and the range lies within what one such table
/// translates.
#[inline]
pub(crate) fn slots(shift: u32, count: usize, range: GuestPhysRange) -> Slots {
    Slots {
        next: range.start().as_u64(),
        last: range.last().as_u64(),
        shift,
        index_mask: count.wrapping_sub(1),
    }
}

/// An iterator over [`Slot`]s.
pub(crate) struct Slots {
    next: u64,
    last: u64,
    shift: u32,
    index_mask: usize,
}

impl Slots {
    /// Passes over all entries that are left but the last one.
    #[inline]
    pub(crate) fn skip_to_last(&mut self) {
        self.next = self.next.max(self.last >> self.shift << self.shift);
    }
}

impl Iterator for Slots {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let start = self.next;
        if start > self.last {
            return None;
        }
        let below = (1 << self.shift) - 1;
        let span_last = start | below;
        // A table translates at most 63 bits.
        self.next = span_last.wrapping_add(1);
        Some(Slot {
            index: (start >> self.shift) as usize & self.index_mask,
            start,
            last: span_last.min(self.last),
            below,
        })
    }
}

/// What the entry of `level` that translates `address` translates in all.
#[inline]
pub(crate) fn span_of(geometry: &Geometry, level: Level, address: GuestPhysAddr) -> GuestPhysRange {
    let below = geometry.entry_size(level) - 1;
    range_of(address.as_u64() & !below, address.as_u64() | below)
}

/// The bytes from `start` to `last`, which does not lie before it, and is at most 2^63 bytes away.
#[inline]
pub(crate) fn range_of(start: u64, last: u64) -> GuestPhysRange {
    let start = GuestPhysAddr::new(start);
    GuestPhysRange::from_start_last(start, GuestPhysAddr::new(last))
        .unwrap_or(GuestPhysRange::from(start))
}

/// The number of aligned spans of `1 << shift` bytes that `range` touches.
pub(crate) fn touched_spans(range: &GuestPhysRange, shift: u32) -> u64 {
    (range.last().as_u64() >> shift) - (range.start().as_u64() >> shift) + 1
}

/// The number of aligned spans of `1 << shift` bytes that `range` touches and does not cover.
pub(crate) fn partial_spans(range: &GuestPhysRange, shift: u32) -> u64 {
    let below = (1_u64 << shift) - 1;
    let cut_at_start = range.start().as_u64() & below != 0;
    let cut_at_end = range.last().as_u64() & below != below;
    match (cut_at_start, cut_at_end) {
        (true, true) if touched_spans(range, shift) == 1 => 1,
        (start, end) => u64::from(start) + u64::from(end),
    }
}

/// The number of tables that it takes below an entry of `level` to give `portion` of it leaves of at
/// most `largest_leaf`: as large as fit, where the rest of the entry stays what it is.
pub(crate) fn tables_below(
    geometry: &Geometry,
    level: Level,
    portion: &GuestPhysRange,
    largest_leaf: Level,
) -> u64 {
    let mut tables = 0;
    let mut parent = level;
    while let Some(table) = parent.below() {
        let shift = geometry.shift(parent);
        if table >= largest_leaf {
            tables += touched_spans(portion, shift);
        } else {
            let partial = partial_spans(portion, shift);
            if partial == 0 {
                // Nor does it cut the smaller spans further down.
                break;
            }
            tables += partial;
        }
        parent = table;
    }
    tables
}
