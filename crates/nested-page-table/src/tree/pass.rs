//! Going over the entries of a tree that translate a range: what every operation does.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::slots::slots;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

/// One entry on the way.
pub(crate) struct Seen<'t> {
    pub(crate) level: Level,
    /// The part of the entry that was asked for, and whether it is the whole.
    pub(crate) portion: GuestPhysRange,
    pub(crate) is_whole: bool,
    pub(crate) entry: &'t Word,
    /// The word that was found in the entry, and what it is.
    pub(crate) bits: u64,
    pub(crate) found: Found,
}

impl Seen<'_> {
    /// The guest-physical range that the entry translates.
    #[inline]
    pub(crate) fn span(&self) -> GuestPhysRange {
        GuestPhysRange::block_at(self.portion.start(), self.level.shift())
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Absent,
    Leaf,
    /// The table that the entry points to.
    Table(HostPhysAddr),
}

/// Where to go from an entry.
pub(crate) enum Next {
    /// Past what is below it.
    Over,
    /// Into the table that was found in it; past anything else.
    Into,
    /// Nowhere.
    Stop,
}

/// Consecutive entries of one table that were asked for whole.
pub(crate) struct Run<'t> {
    pub(crate) level: Level,
    pub(crate) entries: &'t [Word],
    /// The first address that the first entry translates.
    pub(crate) start: GuestPhysAddr,
}

impl Run<'_> {
    /// What the entries from `first` to `last` translate, or the first alone should the last come before it.
    #[inline]
    pub(crate) fn span(&self, first: usize, last: usize) -> GuestPhysRange {
        let block = |index: usize| {
            let offset = (index as u64) << self.level.shift();
            // Both lie in what one table translates.
            let address = GuestPhysAddr::new(self.start.as_u64().wrapping_add(offset));
            GuestPhysRange::block_at(address, self.level.shift())
        };
        let first = block(first);
        GuestPhysRange::from_start_last(first.start(), block(last).last()).unwrap_or(first)
    }
}

/// What an operation does with the entries of a range. Not `FnMut` itself, since a vtable of that has a second
/// copy of every closure, for calls by value.
pub(crate) trait Look {
    /// Handles as many entries at the beginning of `run` as are alike, and returns their number. What it leaves
    /// is shown one by one. Equal neighbours, which is what most entries are, cost one call.
    #[inline]
    fn run(&mut self, run: &Run<'_>) -> usize {
        let _ = run;
        0
    }

    /// Handles one entry.
    fn at(&mut self, seen: &Seen<'_>) -> Next;
}

impl<L: FnMut(&Seen<'_>) -> Next> Look for L {
    #[inline]
    fn at(&mut self, seen: &Seen<'_>) -> Next {
        self(seen)
    }
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// All entries for `part` as one run, if its range has the whole of each and lies within the input width.
    #[inline]
    pub(crate) fn whole_run(&self, part: &Part) -> Option<Run<'_>> {
        let Part { table, range } = *part;
        let (level, start) = (table.level, range.start());
        let shift = self.geometry().shift(level);
        let is_whole = (start.as_u64() | range.size()) & ((1 << shift) - 1) == 0;
        if !is_whole || !self.geometry().holds_guest(&range) {
            return None;
        }
        let entries = self.entries(table);
        let first = (start.as_u64() >> shift) as usize & entries.len().wrapping_sub(1);
        let count = (range.size() >> shift) as usize;
        Some(Run {
            level,
            entries: entries.get(first..)?.get(..count)?,
            start,
        })
    }

    /// Shows `look` the entries of `table` that `range` touches, in ascending order, and follows it
    /// into the tables below.
    #[inline]
    pub(crate) fn pass(&self, part: &Part, mut look: impl FnMut(&Seen<'_>) -> Next) {
        self.pass_over(part, &mut look);
    }

    /// [`pass`](Self::pass), which shows entries that the range covers whole in runs first. Compiled once for all
    /// operations, since most of their cost is code. Returns whether it came to the end.
    #[inline(never)]
    pub(crate) fn pass_over(&self, part: &Part, look: &mut dyn Look) -> bool {
        let Part { table, range } = *part;
        let (level, entries) = (table.level, self.entries(table));
        let shift = self.geometry().shift(level);
        let mut slots = slots(shift, entries.len(), range);
        loop {
            if let Some((start, first, count)) = slots.whole() {
                let from_first = entries.get(first..).unwrap_or_default();
                let entries = from_first.get(..count).unwrap_or(from_first);
                let run = Run {
                    level,
                    entries,
                    start,
                };
                slots.pass_over(look.run(&run));
            }
            let Some(slot) = slots.next() else {
                return true;
            };
            let Some(entry) = entries.get(slot.index) else {
                continue;
            };
            // Acquire, since a visit through a shared reference follows the word into a table that another CPU may
            // just have linked. One instruction in one place, whoever passes.
            let bits = entry.load_acquire();
            let found = self.find(level, bits);
            let seen = Seen {
                level,
                portion: slot.portion,
                is_whole: slot.is_whole,
                entry,
                bits,
                found,
            };
            match (look.at(&seen), found) {
                (Next::Stop, _) => return false,
                (Next::Into, Found::Table(address)) => {
                    if let Some(table) = self.child(level, address) {
                        let range = slot.portion;
                        if !self.pass_over(&Part { table, range }, look) {
                            return false;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// What `bits` in an entry of `level` are.
    #[inline]
    pub(crate) fn find(&self, level: Level, bits: u64) -> Found {
        match self.format.decode_own(level, bits) {
            Entry::Absent => Found::Absent,
            Entry::Leaf(_) => Found::Leaf,
            Entry::Table(address) => Found::Table(address),
        }
    }

    /// The leaf that was seen, if it was one.
    pub(crate) fn seen_leaf(&self, seen: &Seen<'_>) -> Option<Mapping> {
        match self.format.decode_own(seen.level, seen.bits) {
            Entry::Leaf(leaf) => Some(Mapping {
                guest: seen.span(),
                host: leaf.address,
                flags: leaf.flags,
                level: seen.level,
            }),
            _ => None,
        }
    }
}
