//! Giving back tables that have become empty.

use guest_addr::GuestPhysRange;

use crate::edit::Edit;
use crate::format::Format;
use crate::gather::Gather;
use crate::host::TableHost;
use crate::map::retire_table;
use crate::pass::{Found, Next};
use crate::tables::{Table, Tables};

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Unlinks every table without a present entry; they are given back after the invalidation. The
    /// root stays. Unmapping page by page leaves such tables behind, so that mapping the pages again
    /// is cheap. O(entries).
    pub fn reclaim_empty(&mut self) {
        self.flush();
        let (tables, gather) = (&self.table.tables, &mut self.table.gather);
        let (root, all) = (tables.root(), tables.geometry().all_guest());
        gather.begin_operation();
        unlink_empty(tables, gather, root, all);
    }
}

/// Unlinks the empty tables below `table`, and says whether it is empty itself.
fn unlink_empty<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    table: Table,
    range: GuestPhysRange,
) -> bool {
    let mut empty = true;
    tables.pass(table, range, |seen| {
        let child = match seen.found {
            Found::Absent => return Next::Over,
            Found::Leaf => None,
            Found::Table(address) => tables.child(seen.level, address),
        };
        match child {
            Some(child) if unlink_empty(tables, gather, child, seen.span()) => {
                retire_table(gather, seen, child.address);
            }
            _ => empty = false,
        }
        Next::Over
    });
    empty
}
