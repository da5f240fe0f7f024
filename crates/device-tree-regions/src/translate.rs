//! From an address on a bus to an address of the CPU, bus by bus.
//!
//! Devicetree Specification v0.4, section 2.3.8.

use crate::cells::{self, BusAddress, Cells};
use crate::region::IgnoredReason;
use crate::walk::{Level, window_counts};

/// At least one byte on some bus, by first and last.
#[derive(Clone, Copy)]
pub(crate) struct BusRange {
    pub(crate) start: BusAddress,
    /// The last byte, in the same space as the first.
    pub(crate) last: u64,
}

impl BusRange {
    /// `None` when the size is 0. Numbers that are `None` exceed 64 bits.
    pub(crate) fn new(
        start: Option<BusAddress>,
        size: Option<u64>,
    ) -> Result<Option<Self>, IgnoredReason> {
        if size == Some(0) {
            return Ok(None);
        }
        let start = start.unwrap_or(BusAddress::plain(u64::MAX));
        let before_last = size.and_then(|size| size.checked_sub(1));
        match before_last.and_then(|bytes| start.value.checked_add(bytes)) {
            Some(last) => Ok(Some(Self { start, last })),
            None => Err(IgnoredReason::Wraps {
                start: start.value,
                size: size.unwrap_or(u64::MAX),
            }),
        }
    }

    /// How many bytes there are; 2^64 - 1 where there are 2^64.
    pub(crate) const fn size(&self) -> u64 {
        self.last.saturating_sub(self.start.value).saturating_add(1)
    }

    const fn holds(&self, address: u64) -> bool {
        self.start.value <= address && address <= self.last
    }
}

/// Whether an entry with this address counts: on a PCI bus only memory does.
pub(crate) fn is_entry(bus: &Level<'_>, start: &[u8]) -> bool {
    let first_cell = || cells::address(start).and_then(|start| start.first_cell);
    !bus.is_pci || first_cell().is_some_and(is_pci_memory)
}

/// The range of an entry with these fields; the cells of `start` are those of its bus.
pub(crate) fn on_bus(start: &[u8], size: Option<u64>) -> Result<Option<BusRange>, IgnoredReason> {
    let is_translated = start.len() <= 12;
    match size {
        Some(0) => Ok(None),
        _ if start.is_empty() => Err(IgnoredReason::NoAddress),
        _ if is_translated => BusRange::new(cells::address(start), size),
        // No bus translates so many cells, so that the rest of the entry does not matter.
        _ => {
            let value = cells::number(start).unwrap_or(u64::MAX);
            Ok(Some(BusRange {
                start: BusAddress::plain(value),
                last: value,
            }))
        }
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

    /// Whether the far side can be an entry by itself.
    pub(crate) fn is_entry(&self, parent: &Level<'_>) -> bool {
        is_entry(parent, self.parent)
    }

    /// The far side as an entry by itself.
    pub(crate) fn entry(&self) -> Result<Option<BusRange>, IgnoredReason> {
        on_bus(self.parent, cells::number(self.size))
    }

    pub(crate) fn child_side(&self) -> Result<Option<BusRange>, IgnoredReason> {
        self.side(self.child)
    }

    pub(crate) fn parent_side(&self) -> Result<Option<BusRange>, IgnoredReason> {
        self.side(self.parent)
    }

    fn side(&self, start: &[u8]) -> Result<Option<BusRange>, IgnoredReason> {
        BusRange::new(cells::address(start), cells::number(self.size))
    }

    /// Both sides; `None` when the window has no size or one side wraps.
    fn sides(&self) -> Option<(BusRange, BusRange)> {
        Some((self.child_side().ok()??, self.parent_side().ok()??))
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

/// How often the windows may have to be looked at for one address: once, and once more for each
/// window that begins below the one before it, since an entry may go on there.
pub(crate) fn passes(ranges: &[u8], bus: Cells, parent: Cells) -> usize {
    let mut passes: usize = 1;
    let mut before = 0;
    for window in windows(ranges, bus, parent) {
        let start = cells::address(window.child).map_or(0, |start| start.value);
        passes = passes.saturating_add(usize::from(start < before));
        before = start;
    }
    passes
}

/// Why an address on a bus is no address of the CPU.
#[derive(Clone, Copy)]
pub(crate) struct Untranslated {
    /// How many of the buses, the root first, lead down to the one that does not translate it.
    pub(crate) depth: usize,
    pub(crate) reason: IgnoredReason,
}

/// Translates a range on the bus of the last of `buses`, which begin at the root.
///
/// The range that comes out is shorter where no window continues it. Takes time in proportion to
/// the windows on the way, times their [`passes`].
///
/// # Errors
///
/// The first byte does not translate.
pub(crate) fn to_cpu(buses: &[Level<'_>], range: BusRange) -> Result<BusRange, Untranslated> {
    let mut range = range;
    for (parent_depth, pair) in buses.windows(2).enumerate().rev() {
        if let [parent, bus] = pair {
            range = through(bus, parent, range).map_err(|reason| Untranslated {
                depth: parent_depth.saturating_add(2),
                reason,
            })?;
        }
    }
    let root = buses.first().map(|root| root.cells);
    match root.is_some_and(Cells::hold_cpu_address) {
        true => Ok(range),
        false => Err(Untranslated {
            depth: 1,
            reason: IgnoredReason::NoWindows {
                start: range.start.value,
            },
        }),
    }
}

fn through(
    bus: &Level<'_>,
    parent: &Level<'_>,
    range: BusRange,
) -> Result<BusRange, IgnoredReason> {
    let start = range.start.value;
    let ranges = bus
        .ranges
        .filter(|_| bus.cells.hold_bus_address() && parent.cells.hold_bus_address())
        .ok_or(IgnoredReason::NoWindows { start })?;
    let translated = match ranges {
        [] => identity(bus, parent, range),
        ranges => through_windows(bus, parent, ranges, range),
    };
    translated.ok_or(IgnoredReason::OutsideWindows { start })
}

/// An empty `ranges` changes nothing, so that both buses must write addresses in the same way.
fn identity(bus: &Level<'_>, parent: &Level<'_>, range: BusRange) -> Option<BusRange> {
    let has_space = |level: &Level<'_>| level.cells.address == 3;
    let first_cell = range.start.first_cell;
    let matches = has_space(bus) == has_space(parent) && same_space(bus, first_cell, first_cell);
    matches.then_some(range)
}

/// Whether two addresses on `bus` are in one space.
///
/// PCI Bus Binding to IEEE Std 1275-1994, revision 2.1, section 2.2.1.1: bits 25:24 of the first
/// cell are the space code, 2 and 3 for memory. I/O and configuration space match nothing here.
fn same_space(bus: &Level<'_>, one: Option<u32>, other: Option<u32>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if bus.is_pci => is_pci_memory(one) && is_pci_memory(other),
        (one, other) => one == other,
    }
}

const fn is_pci_memory(first_cell: u32) -> bool {
    (first_cell >> 24) & 0b10 != 0
}

/// How far an entry has been translated.
struct Translated {
    /// The first address on the bus that has not been.
    next: u64,
    target: BusRange,
}

/// The first window that holds the first byte takes the entry to the window's end. Where the entry goes
/// on, a window that begins exactly there and whose target continues the target so far takes the
/// next part, and so on; the search goes on behind the last window and then from the first.
fn through_windows(
    bus: &Level<'_>,
    parent: &Level<'_>,
    ranges: &[u8],
    range: BusRange,
) -> Option<BusRange> {
    let mut done: Option<Translated> = None;
    loop {
        let before = done.as_ref().map(|done| done.next);
        for window in windows(ranges, bus.cells, parent.cells) {
            let Some((child, target)) = window.sides() else {
                continue;
            };
            if !same_space(bus, child.start.first_cell, range.start.first_cell) {
                continue;
            }
            let taken = match &done {
                None => begin(range, child, target),
                Some(done) => proceed(done, range, child, target, parent),
            };
            let Some(taken) = taken else { continue };
            if child.holds(range.last) {
                return Some(taken.target);
            }
            done = Some(taken);
        }
        let done = done.as_ref()?;
        if before == Some(done.next) {
            return Some(done.target);
        }
    }
}

/// Translates from the entry's first byte to its end or to that of the window, if the window has
/// that byte.
fn begin(range: BusRange, child: BusRange, target: BusRange) -> Option<Translated> {
    if !child.holds(range.start.value) {
        return None;
    }
    let up = |address: u64| {
        let offset = address.checked_sub(child.start.value)?;
        target.start.value.checked_add(offset)
    };
    let last = range.last.min(child.last);
    let start = BusAddress {
        value: up(range.start.value)?,
        ..target.start
    };
    Some(Translated {
        next: last.saturating_add(1),
        target: BusRange {
            start,
            last: up(last)?,
        },
    })
}

/// Translates the next part, if the window continues both sides.
fn proceed(
    done: &Translated,
    range: BusRange,
    child: BusRange,
    target: BusRange,
    parent: &Level<'_>,
) -> Option<Translated> {
    let continues = child.start.value == done.next
        && done.target.last.checked_add(1) == Some(target.start.value)
        && same_space(
            parent,
            done.target.start.first_cell,
            target.start.first_cell,
        );
    if !continues {
        return None;
    }
    let last = range.last.min(child.last);
    let offset = last.checked_sub(child.start.value)?;
    Some(Translated {
        next: last.saturating_add(1),
        target: BusRange {
            last: target.start.value.checked_add(offset)?,
            ..done.target
        },
    })
}
