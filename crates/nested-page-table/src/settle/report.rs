//! Telling of leaves that were unmapped, when no CPU can use them any more.

use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gather::Gather;
use crate::tree::pass::{Found, Next};
use crate::tree::retired::{Retired, retired_word};
use crate::tree::tables::{Table, Tables};

/// Calls `report` for each leaf that the changes in `gather` have removed and left a note of.
pub(crate) fn report_all<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &Gather,
    report: &mut dyn FnMut(UnmappedLeaf),
) {
    for changed in gather.ranges() {
        let top = tables.lowest_over(changed.range);
        report_in(tables, top, changed.range, false, report);
    }
}

/// Reports the notes in the part `range` of `table`, and every leaf if the table was unlinked.
///
/// An entry becomes absent before its leaf is reported: should `report` unwind, what it was called with was
/// reported, and the rest is still there.
fn report_in<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    range: GuestPhysRange,
    unlinked: bool,
    report: &mut dyn FnMut(UnmappedLeaf),
) {
    tables.pass(table, range, |seen| {
        let note = match seen.found {
            Found::Table(_) => return Next::Into,
            Found::Leaf if unlinked => retired_word(&tables.format, seen.level, seen.bits),
            Found::Leaf => 0,
            Found::Absent => seen.bits,
        };
        let guest = seen.span();
        match Retired::decode(note) {
            Some(Retired::Table(address)) => {
                if let Some(child) = tables.child(seen.level, address) {
                    report_in(tables, child, guest, true, report);
                }
            }
            Some(Retired::Leaf {
                address,
                accessed,
                dirty,
            }) => {
                seen.entry.store(0, Ordering::Relaxed);
                report(UnmappedLeaf {
                    guest,
                    host: address,
                    accessed,
                    dirty,
                });
            }
            None => {}
        }
        Next::Over
    });
}
