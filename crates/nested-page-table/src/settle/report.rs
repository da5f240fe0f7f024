//! Telling of leaves that were unmapped, when no CPU can use them any more.

use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::UnmappedLeaf;
use crate::contract::note::Note;
use crate::settle::gather::Gather;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::retired::note_of;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

/// Calls `report` for each leaf that the changes in `gather` have removed and left a note of.
pub(crate) fn report_all<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &Gather,
    report: &mut dyn FnMut(UnmappedLeaf),
) {
    for changed in gather.ranges() {
        let top = tables.lowest_over(changed.range);
        report_in(tables, &top.part, false, report);
    }
}

/// Reports the notes in `part`, and every leaf if the table was unlinked.
fn report_in<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    part: &Part,
    unlinked: bool,
    report: &mut dyn FnMut(UnmappedLeaf),
) {
    let mut reporting = Reporting {
        tables,
        unlinked,
        report,
    };
    tables.pass_over(part, &mut reporting);
}

/// A report under way.
struct Reporting<'r, F: Format, H: TableHost> {
    tables: &'r Tables<F, H>,
    unlinked: bool,
    report: &'r mut dyn FnMut(UnmappedLeaf),
}

impl<F: Format, H: TableHost> Reporting<'_, F, H> {
    /// The note in the entry `bits`, or that of the leaf which is still there.
    #[inline]
    fn note(&self, level: Level, bits: u64) -> Option<Note> {
        match self.tables.find(level, bits) {
            Found::Leaf if self.unlinked => note_of(&self.tables.format, level, bits),
            Found::Absent => self.tables.format.decode_note(bits),
            _ => None,
        }
    }

    /// Reports the leaf in `note`, if it is one.
    ///
    /// Its entry becomes absent before: should `report` unwind, what it was called with was reported, and the
    /// rest is still there.
    #[inline]
    fn report_leaf(&mut self, guest: GuestPhysRange, entry: &Word, note: Option<Note>) {
        if let Some(Note::Leaf {
            address,
            accessed,
            dirty,
        }) = note
        {
            entry.store(self.tables.format.absent(), Ordering::Relaxed);
            (self.report)(UnmappedLeaf {
                guest,
                host: address,
                accessed,
                dirty,
            });
        }
    }
}

impl<F: Format, H: TableHost> Look for Reporting<'_, F, H> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        let mut count = 0;
        for entry in run.entries {
            let bits = entry.load();
            let note = self.note(run.level, bits);
            let leads_down = matches!(note, Some(Note::Table(_)))
                || matches!(self.tables.find(run.level, bits), Found::Table(_));
            if leads_down {
                break;
            }
            self.report_leaf(run.span(count, count), entry, note);
            count += 1;
        }
        count
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let note = self.note(seen.level, seen.bits);
        if let Some(Note::Table(address)) = note
            && let Some(table) = self.tables.child(seen.level, address)
        {
            let range = seen.span();
            report_in(self.tables, &Part { table, range }, true, self.report);
        }
        self.report_leaf(seen.span(), seen.entry, note);
        Next::Into
    }
}
