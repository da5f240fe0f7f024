//! From an address on a bus to an address of the CPU.
//!
//! Devicetree Specification v0.4, section 2.3.8.

use crate::cells::{self, Cells};
use crate::region::IgnoredReason;
use crate::walk::{Level, window_counts};

/// At least one byte on some bus, by first and last.
#[derive(Clone, Copy)]
pub(crate) struct BusRange {
    pub(crate) start: u64,
    pub(crate) last: u64,
}

impl BusRange {
    /// `None` when the size is 0. Numbers that are `None` exceed 64 bits.
    pub(crate) fn new(
        start: Option<u64>,
        size: Option<u64>,
    ) -> Result<Option<Self>, IgnoredReason> {
        if size == Some(0) {
            return Ok(None);
        }
        let start = start.unwrap_or(u64::MAX);
        let before_last = size.and_then(|size| size.checked_sub(1));
        match before_last.and_then(|bytes| start.checked_add(bytes)) {
            Some(last) => Ok(Some(Self { start, last })),
            None => Err(IgnoredReason::Wraps {
                start,
                size: size.unwrap_or(u64::MAX),
            }),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.last <= self.last
    }
}

/// An entry of `ranges`, read when it is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    child: &'a [u8],
    parent: &'a [u8],
    size: &'a [u8],
}

impl<'a> Window<'a> {
    fn new(mut entry: &'a [u8], [child, parent, size]: [u16; 3]) -> Self {
        Self {
            child: cells::take_field(&mut entry, child),
            parent: cells::take_field(&mut entry, parent),
            size: cells::take_field(&mut entry, size),
        }
    }

    pub(crate) fn child_side(&self) -> Result<Option<BusRange>, IgnoredReason> {
        self.side(self.child)
    }

    pub(crate) fn parent_side(&self) -> Result<Option<BusRange>, IgnoredReason> {
        self.side(self.parent)
    }

    fn side(&self, start: &[u8]) -> Result<Option<BusRange>, IgnoredReason> {
        BusRange::new(cells::number(start), cells::number(self.size))
    }

    /// `None` when the range does not lie whole inside the window, or the window wraps.
    fn translate(&self, range: BusRange) -> Option<BusRange> {
        let child = self.child_side().ok()??;
        if !child.contains(&range) {
            return None;
        }
        let parent = self.parent_side().ok()??;
        let up = |address: u64| {
            let offset = address.checked_sub(child.start)?;
            parent.start.checked_add(offset)
        };
        Some(BusRange {
            start: up(range.start)?,
            last: up(range.last)?,
        })
    }
}

/// The windows of a `ranges` that is a whole number of entries.
pub(crate) fn windows(
    ranges: &[u8],
    bus: Cells,
    parent: Cells,
) -> impl Iterator<Item = Window<'_>> {
    let counts = window_counts(bus, parent);
    cells::entries(ranges, counts)
        .into_iter()
        .flatten()
        .map(move |entry| Window::new(entry, counts))
}

/// Translates a range on the bus of the last of `buses`, which begin at the root.
///
/// `None` when a bus on the way has no `ranges`, none of its windows holds the whole range, or its
/// addresses do not have one or two cells. The first window that holds the range counts. Takes time
/// in proportion to the windows on the way.
pub(crate) fn to_cpu(buses: &[Level<'_>], range: BusRange) -> Option<BusRange> {
    let (bus, above) = buses.split_last()?;
    let mut range = range;
    let mut bus = bus;
    for parent in above.iter().rev() {
        range = through(bus, parent.cells, range)?;
        bus = parent;
    }
    bus.cells.hold_cpu_address().then_some(range)
}

fn through(bus: &Level<'_>, parent: Cells, range: BusRange) -> Option<BusRange> {
    if !bus.cells.hold_cpu_address() {
        return None;
    }
    match bus.ranges? {
        [] => Some(range),
        ranges => windows(ranges, bus.cells, parent).find_map(|window| window.translate(range)),
    }
}
