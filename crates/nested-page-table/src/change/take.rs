//! Few leaves that are unmapped and reported: until their invalidation has completed, they wait on the stack.

use core::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use guest_addr::GuestPhysRange;

use crate::contract::error::UnmapError;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange};
use crate::contract::mapping::UnmappedLeaf;
use crate::contract::note::Note;
use crate::settle::gather::Gather;
use crate::settle::release;
use crate::tree::pass::{Found, Run};
use crate::tree::retired::{note_of, retired_word};
use crate::tree::tables::Tables;

/// The most leaves that wait on the stack, in 512 bytes. More leave notes in their entries.
const MOST: usize = 64;

/// Leaves of one table that were taken out of their entries, with nothing else gathered.
///
/// Should the invalidation fail, or the host or the caller's closure unwind, those that were not reported leave notes,
/// as they would have without a place on the stack.
pub(crate) struct Taken<'t, F: Format, H: TableHost> {
    tables: &'t Tables<F, H>,
    gather: &'t mut Gather,
    /// The entries, the first and the last of which had leaves.
    run: Run<'t>,
    range: GuestPhysRange,
    /// What stood in the entries.
    words: ArrayVec<u64, MOST>,
    /// How many of the entries are done with.
    reported: usize,
}

impl<'t, F: Format, H: TableHost> Taken<'t, F, H> {
    /// Takes the leaves in `guest` out, if they stand side by side in one table, and there are few of them. `None` where
    /// nothing has changed.
    #[inline]
    pub(crate) fn of(
        tables: &'t Tables<F, H>,
        gather: &'t mut Gather,
        guest: GuestPhysRange,
    ) -> Option<Self> {
        let top = tables.lowest_over(guest);
        let run = tables.whole_run(&top.part)?;
        let run = leaves_in(tables, &run)?;
        let mut words = ArrayVec::new();
        let absent = tables.format.absent();
        let two_writers = tables.format.rules().hardware_writes_entries;
        for entry in run.entries {
            let bits = match two_writers {
                true => entry.swap(absent),
                false => {
                    let bits = entry.load();
                    entry.store(absent, Ordering::Relaxed);
                    bits
                }
            };
            // There is room for it.
            let _ = words.try_push(bits);
        }
        let range = run.span(0, run.entries.len() - 1);
        Some(Self {
            tables,
            gather,
            run,
            range,
            words,
            reported: 0,
        })
    }

    /// Invalidates the leaves, and calls `report` for each.
    #[inline]
    pub(crate) fn report(
        mut self,
        report: &mut impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        let removed = InvalidatedRange::leaves(self.range, self.run.level, Change::Removed);
        release::publish_and_invalidate(self.tables, self.gather, Some(removed))
            .map_err(UnmapError::NotInvalidated)?;
        while let Some(&bits) = self.words.get(self.reported) {
            let guest = self.run.span(self.reported, self.reported);
            // Before the call: should it unwind, this leaf was reported.
            self.reported += 1;
            let note = note_of(&self.tables.format, self.run.level, bits);
            if let Some(Note::Leaf {
                address,
                accessed,
                dirty,
            }) = note
            {
                report(UnmappedLeaf {
                    guest,
                    host: address,
                    accessed,
                    dirty,
                });
            }
        }
        Ok(())
    }

    /// Leaves notes of what was not reported.
    #[cold]
    fn leave_notes(&mut self) {
        let waiting = self.run.entries.iter().zip(&self.words);
        for (entry, &bits) in waiting.skip(self.reported) {
            let note = retired_word(&self.tables.format, self.run.level, bits);
            entry.store(note, Ordering::Relaxed);
        }
        self.gather.note_retired_leaf();
        self.gather.begin_operation();
        self.gather.add_removed(self.range, Some(self.run.level));
    }
}

impl<F: Format, H: TableHost> Drop for Taken<'_, F, H> {
    #[inline]
    fn drop(&mut self) {
        if self.reported < self.words.len() {
            self.leave_notes();
        }
    }
}

/// The part of `run` from the first leaf to the last one, if these are few, and all others are absent without notes.
#[inline]
fn leaves_in<'t, F: Format, H: TableHost>(tables: &Tables<F, H>, run: &Run<'t>) -> Option<Run<'t>> {
    if run.entries.len() > MOST {
        return None;
    }
    let absent = tables.format.absent();
    let (mut first, mut end) = (None, 0);
    for (index, entry) in run.entries.iter().enumerate() {
        let bits = entry.load();
        if bits == absent {
            continue;
        }
        if tables.find(run.level, bits) != Found::Leaf {
            return None;
        }
        first = first.or(Some(index));
        end = index + 1;
    }
    let first = first?;
    Some(Run {
        level: run.level,
        entries: run.entries.get(first..end)?,
        start: run.span(first, first).start(),
    })
}
