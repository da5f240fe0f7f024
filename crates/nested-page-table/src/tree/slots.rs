//! Walking the entries of one table that a range touches.

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::contract::geometry::Geometry;
use crate::contract::level::Level;

/// One entry of a table, and what a range has of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The index into the table.
    pub(crate) index: usize,
    /// The part that was asked for.
    pub(crate) portion: GuestPhysRange,
    /// Whether that is the whole entry.
    pub(crate) is_whole: bool,
}

/// The entries that `range` touches in a table of `count` entries that map `1 << shift` bytes each, in
/// ascending order. The count is a power of two, and the range lies within what one such table
/// translates.
#[inline]
pub(crate) fn slots(shift: u32, count: usize, range: GuestPhysRange) -> Slots {
    Slots {
        rest: Some(range),
        shift,
        index_mask: count.wrapping_sub(1),
    }
}

/// An iterator over [`Slot`]s.
pub(crate) struct Slots {
    rest: Option<GuestPhysRange>,
    shift: u32,
    index_mask: usize,
}

impl Slots {
    /// Of the entries at the beginning of which the range has the whole: the first address, the first index and
    /// the number, if there are such.
    #[inline]
    pub(crate) fn whole(&self) -> Option<(GuestPhysAddr, usize, usize)> {
        let rest = self.rest?;
        let start = rest.start().as_u64();
        // The range lies within what a table translates, so that it does not end at the last address.
        let entries = rest.size() >> self.shift;
        if start & ((1 << self.shift) - 1) != 0 || entries == 0 {
            return None;
        }
        let first = (start >> self.shift) as usize & self.index_mask;
        Some((rest.start(), first, entries as usize))
    }

    /// Passes over `count` entries, of which the range has the whole.
    #[inline]
    pub(crate) fn pass_over(&mut self, count: usize) {
        self.rest = self.rest.and_then(|rest| {
            let passed = (count as u64) << self.shift;
            // The range lies within what a table translates, so that this does not wrap.
            let start = GuestPhysAddr::new(rest.start().as_u64().wrapping_add(passed));
            GuestPhysRange::from_start_last(start, rest.last()).ok()
        });
    }

    /// Passes over all entries that are left but the last one.
    #[inline]
    pub(crate) fn skip_to_last(&mut self) {
        self.rest = self.rest.and_then(|rest| {
            let last = GuestPhysRange::block_at(rest.last(), self.shift);
            rest.intersection(&last)
        });
    }
}

impl Iterator for Slots {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let (portion, rest) = self.rest?.split_first_block(self.shift);
        self.rest = rest;
        let (start, last) = (portion.start().as_u64(), portion.last().as_u64());
        let below = (1 << self.shift) - 1;
        Some(Slot {
            index: (start >> self.shift) as usize & self.index_mask,
            portion,
            is_whole: (start | !last) & below == 0,
        })
    }
}

/// What the entry of `level` that translates `address` translates in all.
#[inline]
pub(crate) fn span_of(geometry: &Geometry, level: Level, address: GuestPhysAddr) -> GuestPhysRange {
    GuestPhysRange::block_at(address, geometry.shift(level))
}

/// The number of aligned spans of `1 << shift` bytes that `range` touches.
fn touched_spans(range: &GuestPhysRange, shift: u32) -> u64 {
    (range.last().as_u64() >> shift) - (range.start().as_u64() >> shift) + 1
}

/// The number of aligned spans of `1 << shift` bytes that `range` covers. It has at most 63 bits.
fn covered_spans(range: &GuestPhysRange, shift: u32) -> u64 {
    let below = (1 << shift) - 1;
    let first = (range.start().as_u64() + below) >> shift;
    let end = (range.last().as_u64() + 1) >> shift;
    end.saturating_sub(first)
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
        tables += touched_spans(portion, shift);
        if table < largest_leaf {
            // What is covered takes a leaf instead.
            tables -= covered_spans(portion, shift);
        }
        parent = table;
    }
    tables
}
