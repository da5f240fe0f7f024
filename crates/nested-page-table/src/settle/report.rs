//! Telling of leaves that were unmapped, when no CPU can use them any more.

use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::mapping::UnmappedLeaf;
use crate::contract::note::Note;
use crate::settle::gather::Gather;
use crate::tree::pass::{Found, Next};
use crate::tree::retired::note_of;
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
            Found::Leaf if unlinked => note_of(&tables.format, seen.level, seen.bits),
            Found::Leaf => None,
            Found::Absent => tables.format.decode_note(seen.bits),
        };
        let guest = seen.span();
        match note {
            Some(Note::Table(address)) => {
                if let Some(child) = tables.child(seen.level, address) {
                    report_in(tables, child, guest, true, report);
                }
            }
            Some(Note::Leaf {
                address,
                accessed,
                dirty,
            }) => {
                let absent = tables.format.absent();
                seen.entry.store(absent, Ordering::Relaxed);
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
