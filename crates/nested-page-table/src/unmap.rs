//! Unmapping a range: leaves at the edges are split, tables inside are unlinked whole.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::edit::Edit;
use crate::entry::Entry;
use crate::error::UnmapError;
use crate::format::Format;
use crate::gather::Changes;
use crate::host::TableHost;
use crate::invalidation::{Change, InvalidatedRange};
use crate::level::Level;
use crate::map::retire_table;
use crate::mapping::UnmappedLeaf;
use crate::one_page::removed_page;
use crate::release;
use crate::reserve::Reserve;
use crate::slots::{Slot, slots, tables_below};
use crate::split::{Action, Operation, retired_word};
use crate::tables::{Table, Tables};

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Removes every translation in `guest` and none outside. Leaves that reach beyond the range are
    /// split: what lies outside keeps address, flags and memory type. Holes are skipped. A table
    /// that the range covers is unlinked and given back after the invalidation.
    ///
    /// When this returns, CPUs may still use the old translations; when the edit is finished, no
    /// more. All or nothing; O(tables touched).
    ///
    /// # Errors
    ///
    /// - [`UnmapError::Unaligned`]: the range does not begin and end at multiples of 4 KiB.
    /// - [`UnmapError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`UnmapError::OutOfMemory`]: there are not enough frames to split the leaves at the edges.
    #[inline]
    pub fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        if self.unmap_page(&guest) {
            return Ok(());
        }
        self.unmap_range(guest)
    }

    /// Unmaps one page where that takes one store, and says whether it did.
    #[inline]
    fn unmap_page(&mut self, guest: &GuestPhysRange) -> bool {
        if !self.table.clear_page(guest) {
            return false;
        }
        self.table.gather.note_stored();
        self.table.gather.add(removed_page(guest));
        true
    }

    /// [`unmap`](Self::unmap), out of the way of the pages that take one store.
    #[inline(never)]
    pub(crate) fn unmap_range(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        if self.table.find_page(&guest) && self.unmap_page(&guest) {
            return Ok(());
        }
        self.check_unmap(&guest)?;
        self.remove(guest, Action::Clear)
    }

    /// [`unmap`](Self::unmap), which also invalidates at once and then calls `report` for each leaf
    /// that was removed, in ascending order of each table: when it is called, no CPU can use the
    /// leaf any more, so that its memory may be freed. A leaf that was split is reported in the
    /// pieces that were removed. O(leaves removed).
    ///
    /// # Errors
    ///
    /// Those of [`unmap`](Self::unmap); nothing was reported then.
    pub fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        self.check_unmap(&guest)?;
        self.flush();
        self.remove(guest, Action::Retire)?;
        let (tables, gather) = self.parts();
        release::flush(tables, gather, &mut Some(&mut report));
        Ok(())
    }

    fn check_unmap(&self, guest: &GuestPhysRange) -> Result<(), UnmapError> {
        let geometry = self.table.geometry();
        if !guest.is_aligned_4k() {
            return Err(UnmapError::Unaligned { guest: *guest });
        }
        if !geometry.holds_guest(guest) {
            let bits = geometry.input_bits();
            return Err(UnmapError::GuestTooWide {
                guest: *guest,
                bits,
            });
        }
        Ok(())
    }

    fn remove(&mut self, guest: GuestPhysRange, action: Action) -> Result<(), UnmapError> {
        let (tables, gather) = self.parts();
        let top = tables.lowest_over(&guest);
        let frames = edge_tables(tables, top, &guest);
        let reserve =
            Reserve::take_for(tables, frames).ok_or(UnmapError::OutOfMemory { frames })?;
        let changes = Changes::default();
        let mut operation = Operation {
            tables,
            gather,
            reserve,
            changes,
            action,
        };
        operation.clear(top, guest);
        Ok(())
    }
}

/// The tables that it takes to split the leaves that reach beyond `range` at its edges.
pub(crate) fn edge_tables<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    top: Table,
    range: &GuestPhysRange,
) -> u64 {
    if top.level == Level::PAGE_4K {
        return 0;
    }
    let at_start = cut_leaf(tables, range, range.start());
    let at_end = match at_start {
        Some((span, _)) if span.contains(range.last()) => None,
        _ => cut_leaf(tables, range, range.last()),
    };
    let count = |(span, level): (GuestPhysRange, Level)| {
        let portion = span.intersection(range)?;
        Some(tables_below(tables.geometry(), level, &portion, level))
    };
    [at_start, at_end]
        .into_iter()
        .flatten()
        .filter_map(count)
        .sum()
}

/// The leaf at `address`, if it reaches beyond `range`.
fn cut_leaf<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    range: &GuestPhysRange,
    address: GuestPhysAddr,
) -> Option<(GuestPhysRange, Level)> {
    let leaf = tables.leaf(address)?;
    (!range.contains_range(&leaf.guest)).then_some((leaf.guest, leaf.level))
}

impl<F: Format, H: TableHost> Operation<'_, F, H> {
    /// Clears the part `range` of `table`.
    fn clear(&mut self, table: Table, range: GuestPhysRange) {
        let entries = self.tables.entries(table);
        for slot in slots(self.tables.geometry(), table.level, range) {
            let Some(entry) = entries.get(slot.index) else {
                continue;
            };
            match self.tables.decode(table.level, entry) {
                Entry::Absent => {}
                Entry::Leaf(_) if slot.is_whole() => self.clear_leaf(table.level, entry, &slot),
                Entry::Leaf(_) => self.split(table.level, entry, &slot),
                Entry::Table(address) if slot.is_whole() => {
                    retire_table(self.gather, entry, address);
                    self.changes
                        .add(InvalidatedRange::tables(slot.span, Change::Removed));
                }
                Entry::Table(address) => {
                    if let Some(child) = self.tables.child(table, address) {
                        self.clear(child, slot.portion);
                    }
                }
            }
        }
    }

    fn clear_leaf(&mut self, level: Level, entry: &AtomicU64, slot: &Slot) {
        match self.action {
            Action::Retire => {
                let bits = entry.swap(0, Ordering::AcqRel);
                entry.store(
                    retired_word(&self.tables.format, level, bits),
                    Ordering::Relaxed,
                );
                self.gather.note_retired();
            }
            _ => entry.store(0, Ordering::Relaxed),
        }
        self.gather.note_stored();
        self.changes
            .add(InvalidatedRange::leaves(slot.span, level, Change::Removed));
    }
}
