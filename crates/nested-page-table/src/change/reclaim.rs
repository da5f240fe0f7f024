//! Giving back tables that have become empty.

use crate::change::edit::Edit;
use crate::change::map::retire_table;
use crate::contract::error::Unsettled;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::settle::gather::Gather;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Unlinks every table without a present entry. The tables are given back after the invalidation. The
    /// root stays. Unmapping page by page leaves such tables, so mapping the pages again is cheap. O(entries).
    ///
    /// # Errors
    ///
    /// [`Unsettled`]: an earlier removal is not settled. No table was unlinked.
    pub fn reclaim_empty(&mut self) -> Result<(), Unsettled> {
        self.tree.settle_all()?;
        let (tables, gather) = (&self.tree.tables, &mut self.tree.gather);
        let (table, range) = (tables.root(), tables.geometry().all_guest());
        gather.begin_operation();
        unlink_empty(tables, gather, &Part { table, range });
        Ok(())
    }
}

/// Unlinks the empty tables below `whole`, a table and all that it translates. Returns whether it is empty itself.
fn unlink_empty<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    whole: &Part,
) -> bool {
    let mut reclaiming = Reclaiming {
        tables,
        gather,
        is_empty: true,
    };
    tables.pass_over(whole, &mut reclaiming);
    reclaiming.is_empty
}

/// The search for empty tables in one table.
struct Reclaiming<'r, F: Format, H: TableHost> {
    tables: &'r Tables<F, H>,
    gather: &'r mut Gather,
    is_empty: bool,
}

impl<F: Format, H: TableHost> Look for Reclaiming<'_, F, H> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        let is_absent = |entry: &&Word| self.tables.find(run.level, entry.load()) == Found::Absent;
        run.entries.iter().take_while(is_absent).count()
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let (tables, gather) = (self.tables, &mut *self.gather);
        let range = seen.span();
        let child = match seen.found {
            Found::Absent => return Next::Over,
            Found::Leaf => None,
            Found::Table(address) => tables.child(seen.level, address),
        };
        match child {
            Some(table) if unlink_empty(tables, gather, &Part { table, range }) => {
                retire_table(tables, gather, seen, table.address);
            }
            _ => self.is_empty = false,
        }
        match seen.level {
            // There are no tables behind a page.
            Level::PAGE_4K => Next::Stop,
            _ => Next::Over,
        }
    }
}
