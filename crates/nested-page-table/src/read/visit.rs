//! Reading a table in order: every entry, or every leaf.

use core::ops::ControlFlow;

use guest_addr::GuestPhysRange;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::pass::{Found, Next};
use crate::tree::tables::Tables;

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

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Calls `visitor` for each present entry that translates a byte of `range`.
    pub(crate) fn visit_entries<B>(
        &self,
        range: GuestPhysRange,
        mut visitor: impl FnMut(VisitedEntry) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(range) = range.intersection(&self.geometry().all_guest()) else {
            return ControlFlow::Continue(());
        };
        let mut result = ControlFlow::Continue(());
        self.pass(self.root(), range, |seen| {
            if seen.found == Found::Absent {
                return Next::Over;
            }
            result = visitor(VisitedEntry {
                guest: seen.span(),
                level: seen.level,
                bits: seen.bits,
                entry: self.format.decode(seen.level, seen.bits),
            });
            match result {
                ControlFlow::Continue(()) => Next::Into,
                ControlFlow::Break(_) => Next::Stop,
            }
        });
        result
    }

    /// Calls `visitor` for each leaf that translates a byte of `range`.
    pub(crate) fn visit(&self, range: GuestPhysRange, mut visitor: impl FnMut(Mapping)) {
        let _: ControlFlow<()> = self.visit_entries(range, |visited| {
            if let Some(mapping) = visited.mapping() {
                visitor(mapping);
            }
            ControlFlow::Continue(())
        });
    }
}
