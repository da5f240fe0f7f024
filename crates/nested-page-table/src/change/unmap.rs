//! Unmapping a range: leaves at the edges are split, tables inside are unlinked whole.

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr};

use crate::change::edit::Edit;
use crate::change::map::retire_table;
use crate::change::split::{Action, Clear, Operation};
use crate::change::survey::Survey;
use crate::contract::error::{UnmapError, Unsettled};
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidationFailed;
use crate::contract::level::Level;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gather::Gather;
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::retired::retired_word;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Removes every translation in `guest` and none outside. A leaf that reaches beyond the range is
    /// split: what lies outside keeps address, flags and memory type. Holes are skipped. A table
    /// that the range covers is unlinked, and given back after the invalidation.
    ///
    /// CPUs may use the old translations until the edit is finished. All or nothing; O(tables touched).
    ///
    /// # Errors
    ///
    /// - [`UnmapError::Unaligned`]: the range does not begin and end at multiples of 4 KiB.
    /// - [`UnmapError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`UnmapError::OutOfMemory`]: there are not enough frames to split the leaves at the edges.
    /// - [`UnmapError::Unsettled`]: leaves of an earlier operation wait to be reported.
    /// - [`UnmapError::NotInvalidated`]: a leaf that reaches beyond the range had to be invalidated before it was
    ///   split (break before make), and that failed. It is whole; what lies below it in the range is unmapped.
    #[inline]
    pub fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        loop {
            if let Some(removed) = self.tree.clear_leaf(guest) {
                self.tree.gather.note_stored();
                self.tree.gather.add(removed);
                return Ok(());
            }
            if !self.tree.find_directory(guest) {
                return self.tree.unmap_range(guest);
            }
        }
    }

    /// [`unmap`](Self::unmap), which invalidates at once. Then it calls `report` for each removed leaf, in
    /// ascending order of each table. No CPU can use the leaf any more when it is reported, so its memory may
    /// be freed. Of a leaf that was split, the removed pieces are reported. O(leaves removed).
    ///
    /// If the invalidation fails or the callback panics, the unreported leaves are kept as notes in their entries. The
    /// next call of `unmap_reporting` reports them, whatever its range. Until then, other operations on their ranges
    /// return [`Unsettled::Unreported`]. The leaf whose callback panicked counts as reported. Dropping the table
    /// reports nothing.
    ///
    /// # Errors
    ///
    /// Those of [`unmap`](Self::unmap), except that it never returns [`Unsettled::Unreported`]. With
    /// [`UnmapError::NotInvalidated`] no leaf of this range was reported.
    pub fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        check_unmap(&self.tree.tables, guest)?;
        self.tree
            .flush_reporting(&mut report)
            .map_err(Unsettled::InvalidationFailed)?;
        let (tables, gather) = (&self.tree.tables, &mut self.tree.gather);
        let top = tables.lowest_over(guest);
        remove(tables, gather, &top.part, Retire)?;
        self.tree
            .flush_reporting(&mut report)
            .map_err(UnmapError::NotInvalidated)
    }
}

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`Edit::unmap`], out of the way of the leaves that take one store.
    #[inline]
    pub(crate) fn unmap_range(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        let (tables, gather) = (&self.tables, &mut self.gather);
        check_unmap(tables, guest)?;
        // Or the leaves in a table that is unlinked now would be taken for some of them.
        gather.refuse_unreported()?;
        let top = tables.lowest_over(guest);
        remove(tables, gather, &top.part, Clear)
    }
}

#[inline]
fn check_unmap<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    guest: GuestPhysRange,
) -> Result<(), UnmapError> {
    let geometry = tables.geometry();
    if !guest.is_aligned_4k() {
        return Err(UnmapError::Unaligned { guest });
    }
    if !geometry.holds_guest(&guest) {
        let bits = geometry.input_bits();
        return Err(UnmapError::GuestTooWide { guest, bits });
    }
    Ok(())
}

#[inline]
fn remove<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    part: &Part,
    action: impl Action,
) -> Result<(), UnmapError> {
    let mut survey = Survey::to_unmap(tables);
    // Pages are never split.
    if part.table.level != Level::PAGE_4K {
        survey.of(part);
    }
    let frames = survey.frames;
    let mut clearing = Clearing {
        operation: Operation::new(tables, gather, action),
        result: Ok(()),
    };
    if !clearing.operation.reserve.take(frames) {
        return Err(UnmapError::OutOfMemory { frames });
    }
    tables.pass_over(part, &mut clearing);
    clearing.result.map_err(UnmapError::NotInvalidated)
}

/// The leaves become absent, and leave notes to be reported.
struct Retire;

impl Action for Retire {
    const REMEMBERS: bool = true;

    fn apply<F: Format>(&self, format: &F, level: Level, bits: u64) -> Option<u64> {
        Some(retired_word(format, level, bits))
    }
}

/// The second half: clears entries, up to a leaf that could not be split.
struct Clearing<'a, F: Format, H: TableHost, A> {
    operation: Operation<'a, F, H, A>,
    result: Result<(), InvalidationFailed>,
}

impl<F: Format, H: TableHost, A: Action> Look for Clearing<'_, F, H, A> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        self.operation.clear_leaves(run)
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let operation = &mut self.operation;
        match seen.found {
            Found::Absent => {}
            // A leaf that was asked for whole was cleared in a run.
            Found::Leaf => self.result = operation.split(seen),
            Found::Table(address) if seen.is_whole => operation.unlink(seen, address),
            Found::Table(_) => return Next::Into,
        }
        match self.result {
            Ok(()) => Next::Over,
            Err(_) => Next::Stop,
        }
    }
}

impl<F: Format, H: TableHost, A: Action> Operation<'_, F, H, A> {
    /// Clears the leaves at the beginning of `run`, up to the first entry that points to a table. Returns how many
    /// entries it looked at.
    fn clear_leaves(&mut self, run: &Run<'_>) -> usize {
        let (mut count, mut cleared) = (0, None);
        for entry in run.entries {
            match self.tables().find(run.level, entry.load()) {
                Found::Absent => {}
                Found::Leaf => {
                    self.clear_leaf(run.level, entry);
                    let (first, _) = cleared.unwrap_or((count, count));
                    cleared = Some((first, count));
                }
                Found::Table(_) => break,
            }
            count += 1;
        }
        if let Some((first, last)) = cleared {
            if A::REMEMBERS {
                self.gather.note_retired_leaf();
            }
            let range = run.span(first, last);
            self.gather.add_removed(range, Some(run.level));
        }
        count
    }

    #[inline]
    fn clear_leaf(&self, level: Level, entry: &Word) {
        let format = &self.tables().format;
        let absent = format.absent();
        let cleared = match A::REMEMBERS {
            // The note holds what the hardware wrote last.
            true => self.action.apply(format, level, entry.swap(absent)),
            false => None,
        };
        entry.store(cleared.unwrap_or(absent), Ordering::Relaxed);
    }

    /// Unlinks the table at `address`, which the range covers.
    fn unlink(&mut self, seen: &Seen<'_>, address: HostPhysAddr) {
        if A::REMEMBERS {
            // Its leaves are reported from where they are.
            self.gather.note_retired_leaf();
        }
        retire_table(self.tables(), self.gather, seen, address);
    }
}
