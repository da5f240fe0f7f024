//! Walking the entries of one table that a range touches.

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::geometry::Geometry;
use crate::level::Level;

/// One entry of a table, and what a range has of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The index into the table.
    pub(crate) index: usize,
    /// The guest-physical range that the entry translates.
    pub(crate) span: GuestPhysRange,
    /// The part of it that was asked for.
    pub(crate) portion: GuestPhysRange,
}

impl Slot {
    /// Whether the whole entry was asked for.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.portion == self.span
    }
}

/// The entries of the table of `level` that `range` touches, in ascending order. The range lies
/// within what one table of that level translates.
#[inline]
pub(crate) fn slots(geometry: &Geometry, level: Level, range: GuestPhysRange) -> Slots<'_> {
    let next = Some(range.start());
    Slots {
        geometry,
        level,
        range,
        next,
    }
}

/// An iterator over [`Slot`]s.
pub(crate) struct Slots<'g> {
    geometry: &'g Geometry,
    level: Level,
    range: GuestPhysRange,
    next: Option<GuestPhysAddr>,
}

impl Iterator for Slots<'_> {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let start = self.next?;
        let span = span_of(self.geometry, self.level, start);
        let portion = span.intersection(&self.range)?;
        self.next = if portion.last() == self.range.last() {
            None
        } else {
            portion.end()
        };
        Some(Slot {
            index: self.geometry.index(self.level, start),
            span,
            portion,
        })
    }
}

/// What the entry of `level` that translates `address` translates in all.
#[inline]
pub(crate) fn span_of(geometry: &Geometry, level: Level, address: GuestPhysAddr) -> GuestPhysRange {
    let below = geometry.entry_size(level) - 1;
    let start = GuestPhysAddr::new(address.as_u64() & !below);
    let last = GuestPhysAddr::new(address.as_u64() | below);
    // Never the whole space, so never an error: an entry maps at most 2^63 bytes.
    GuestPhysRange::from_start_last(start, last).unwrap_or(GuestPhysRange::from(address))
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
