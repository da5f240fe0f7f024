//! Reading a table in order: every entry, or every leaf.

use core::ops::ControlFlow;

use guest_addr::GuestPhysRange;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

/// One present entry, as [`NestedPageTable::visit_entries`](crate::NestedPageTable::visit_entries) shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VisitedEntry {
    /// Everything that the entry translates.
    pub guest: GuestPhysRange,
    /// The level of the entry.
    pub level: Level,
    /// The word in memory.
    pub bits: u64,
    /// What the word means: a table or a leaf.
    pub entry: Entry,
}

impl VisitedEntry {
    /// The leaf, if the entry is one.
    #[inline]
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping> {
        match self.entry {
            Entry::Leaf(leaf) => {
                let (guest, level) = (self.guest, self.level);
                Some(Mapping {
                    guest,
                    host: leaf.address,
                    flags: leaf.flags,
                    level,
                })
            }
            _ => None,
        }
    }
}

/// A visit under way.
struct Visiting<'t, F: Format, H: TableHost, V, B> {
    tables: &'t Tables<F, H>,
    visitor: V,
    result: ControlFlow<B>,
}

impl<F: Format, H: TableHost, V: FnMut(VisitedEntry) -> ControlFlow<B>, B>
    Visiting<'_, F, H, V, B>
{
    /// Shows a present entry to the visitor.
    #[inline]
    fn show(&mut self, guest: GuestPhysRange, level: Level, bits: u64) {
        self.result = (self.visitor)(VisitedEntry {
            guest,
            level,
            bits,
            entry: self.tables.format.decode(level, bits),
        });
    }
}

impl<F: Format, H: TableHost, V: FnMut(VisitedEntry) -> ControlFlow<B>, B> Look
    for Visiting<'_, F, H, V, B>
{
    fn run(&mut self, run: &Run<'_>) -> usize {
        let mut count = 0;
        for entry in run.entries {
            // Also where the last entry of the table below was the one too many.
            if self.result.is_break() {
                break;
            }
            // Acquire: the visitor may read the memory that the leaf leads to.
            let bits = entry.load_acquire();
            match self.tables.find(run.level, bits) {
                Found::Absent => {}
                Found::Leaf => self.show(run.span(count, count), run.level, bits),
                Found::Table(_) => break,
            }
            count += 1;
        }
        count
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        if self.result.is_continue() && seen.found != Found::Absent {
            self.show(seen.span(), seen.level, seen.bits);
        }
        match self.result {
            ControlFlow::Continue(()) => Next::Into,
            ControlFlow::Break(_) => Next::Stop,
        }
    }
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Calls `visitor` for each present entry that translates a byte of `range`.
    pub(crate) fn visit_entries<B>(
        &self,
        range: GuestPhysRange,
        visitor: impl FnMut(VisitedEntry) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(range) = range.intersection(&self.geometry().all_guest()) else {
            return ControlFlow::Continue(());
        };
        let mut visiting = Visiting {
            tables: self,
            visitor,
            result: ControlFlow::Continue(()),
        };
        let table = self.root();
        self.pass_over(&Part { table, range }, &mut visiting);
        visiting.result
    }

    /// Calls `visitor` for each leaf that translates a byte of `range`.
    ///
    /// A loop over each row of leaves, and a walk from the root to the next: most leaves cost a load, a decoding and
    /// nothing else.
    #[inline]
    pub(crate) fn visit(&self, range: GuestPhysRange, mut visitor: impl FnMut(Mapping)) {
        let mut next = Some(range);
        while let Some(rest) = next {
            let start = rest.start();
            let found = self.walk_to_entries(start, |level, entries| Some((level, entries)));
            // Nothing is left within the input width.
            let Some((level, entries)) = found else {
                return;
            };
            next = self.visit_row(level, entries, rest, &mut visitor);
        }
    }

    /// Calls `visitor` for the leaves at the beginning of `entries`, which are of `level` and translate the beginning of
    /// `range`, up to the first that points to a table. Returns the part of `range` from that table on, or from the end of
    /// `entries` on.
    #[inline(always)]
    fn visit_row(
        &self,
        level: Level,
        entries: &[Word],
        range: GuestPhysRange,
        visitor: &mut impl FnMut(Mapping),
    ) -> Option<GuestPhysRange> {
        let mut block = GuestPhysRange::block_at(range.start(), level.shift());
        for entry in entries {
            let bits = entry.load_acquire();
            if level != Level::PAGE_4K && matches!(self.find(level, bits), Found::Table(_)) {
                break;
            }
            if let Some(leaf) = self.format.decode_own_leaf(level, bits) {
                visitor(Mapping {
                    guest: block,
                    host: leaf.address,
                    flags: leaf.flags,
                    level,
                });
            }
            let start = block.end().filter(|start| *start <= range.last())?;
            block = GuestPhysRange::block_at(start, level.shift());
        }
        // The table that was met, or what comes after the last entry.
        GuestPhysRange::from_start_last(block.start().max(range.start()), range.last()).ok()
    }
}
