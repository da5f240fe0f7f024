//! Giving back tables that have become empty.

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::edit::Edit;
use crate::entry::Entry;
use crate::format::Format;
use crate::gather::{Changes, Gather};
use crate::host::TableHost;
use crate::invalidation::{Change, InvalidatedRange};
use crate::map::retire_table;
use crate::slots::slots;
use crate::tables::{Table, Tables};

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Unlinks every table without a present entry; they are given back after the invalidation. The
    /// root stays. Unmapping page by page leaves such tables behind, so that mapping the pages again
    /// is cheap. O(entries).
    pub fn reclaim_empty(&mut self) {
        self.flush();
        let (tables, gather) = self.parts();
        let last = tables.geometry().last_guest();
        if let Ok(everything) = GuestPhysRange::from_start_last(GuestPhysAddr::ZERO, last) {
            let mut changes = Changes::default();
            unlink_empty(tables, gather, &mut changes, tables.root(), everything);
            gather.add_all(changes);
        }
    }
}

/// Unlinks the empty tables below `table`, and says whether it is empty itself.
fn unlink_empty<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    changes: &mut Changes,
    table: Table,
    range: GuestPhysRange,
) -> bool {
    let mut empty = true;
    for slot in slots(tables.geometry(), table.level, range) {
        let Some(entry) = tables.entries(table).get(slot.index) else {
            continue;
        };
        match tables.decode(table.level, entry) {
            Entry::Absent => {}
            Entry::Leaf(_) => empty = false,
            Entry::Table(address) => match tables.child(table, address) {
                Some(child) if unlink_empty(tables, gather, changes, child, slot.span) => {
                    retire_table(gather, entry, address);
                    changes.add(InvalidatedRange::tables(slot.span, Change::Removed));
                }
                _ => empty = false,
            },
        }
    }
    empty
}
