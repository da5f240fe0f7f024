//! Reading a table in order: every entry, or every leaf.

use core::ops::ControlFlow;
use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;

use crate::entry::Entry;
use crate::format::Format;
use crate::host::TableHost;
use crate::level::Level;
use crate::mapping::Mapping;
use crate::slots::slots;
use crate::table::NestedPageTable;
use crate::tables::{Table, Tables};

/// One present entry, as [`NestedPageTable::visit_entries`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl<F: Format, H: TableHost> NestedPageTable<F, H> {
    /// Calls `visitor` for each present entry that translates a byte of `range`, in ascending order,
    /// a table before what is below it. `Break` ends the visit and is returned. What lies beyond the
    /// input width is skipped. O(entries of the tables visited).
    pub fn visit_entries<B>(
        &self,
        range: GuestPhysRange,
        mut visitor: impl FnMut(VisitedEntry) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let last = self.geometry().last_guest();
        match GuestPhysRange::from_start_last(range.start(), range.last().min(last)) {
            Ok(range) => entries(&self.tables, self.tables.root(), range, &mut visitor),
            Err(_) => ControlFlow::Continue(()),
        }
    }

    /// Calls `visitor` for each leaf that translates a byte of `range`, whole, in ascending order.
    pub fn visit(&self, range: GuestPhysRange, mut visitor: impl FnMut(Mapping)) {
        let _: ControlFlow<()> = self.visit_entries(range, |visited| {
            if let Some(mapping) = visited.mapping() {
                visitor(mapping);
            }
            ControlFlow::Continue(())
        });
    }
}

fn entries<F: Format, H: TableHost, B>(
    tables: &Tables<F, H>,
    table: Table,
    range: GuestPhysRange,
    visitor: &mut impl FnMut(VisitedEntry) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let level = table.level;
    let words = tables.entries(table);
    for slot in slots(tables.geometry(), level, range) {
        let Some(word) = words.get(slot.index) else {
            continue;
        };
        let bits = word.load(Ordering::Acquire);
        let entry = tables.format.decode(level, bits);
        if entry == Entry::Absent {
            continue;
        }
        visitor(VisitedEntry {
            guest: slot.span,
            level,
            bits,
            entry,
        })?;
        if let Entry::Table(address) = entry
            && let Some(child) = tables.child(table, address)
        {
            entries(tables, child, slot.portion, visitor)?;
        }
    }
    ControlFlow::Continue(())
}

/// The first leaf in the part `range` of `table`.
pub(crate) fn first_leaf<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    range: GuestPhysRange,
) -> Option<Mapping> {
    let found = entries(
        tables,
        table,
        range,
        &mut |visited| match visited.mapping() {
            Some(mapping) => ControlFlow::Break(mapping),
            None => ControlFlow::Continue(()),
        },
    );
    match found {
        ControlFlow::Break(mapping) => Some(mapping),
        ControlFlow::Continue(()) => None,
    }
}
