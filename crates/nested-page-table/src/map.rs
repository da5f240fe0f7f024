//! Mapping a range: survey and reserve first, then place what cannot fail.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;

use crate::build::{Parts, build, leaf_words};
use crate::edit::Edit;
use crate::entry::Entry;
use crate::error::MapError;
use crate::format::Format;
use crate::gather::{Changes, Gather};
use crate::host::TableHost;
use crate::invalidation::{Change, InvalidatedRange};
use crate::level::Level;
use crate::mapping::Mapping;
use crate::release;
use crate::reserve::Reserve;
use crate::retired::Retired;
use crate::slots::{Slot, slots, span_of, tables_below};
use crate::tables::{Table, Tables};
use crate::visit;

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Maps `guest` to the host memory from `host` on, with the largest leaves that alignment, the
    /// hardware and the [`LeafPolicy`](crate::LeafPolicy) allow. A huge leaf may take the place of
    /// tables that have become empty.
    ///
    /// Fresh mappings need no invalidation on AArch64 and x86, and one for the whole edit on RISC-V
    /// without Svvptc. All or nothing; O(entries written).
    ///
    /// # Errors
    ///
    /// - [`MapError::Unaligned`]: the range or `host` is not a multiple of 4 KiB.
    /// - [`MapError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`MapError::HostTooWide`]: the host range goes beyond the output width.
    /// - [`MapError::Flags`]: the flags mean nothing, or the format cannot express them.
    /// - [`MapError::Conflict`]: something is mapped in the range; the first such leaf is named.
    /// - [`MapError::OutOfMemory`]: there are not enough frames for tables.
    #[inline]
    pub fn map(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        if self.map_page(&guest, host, flags) {
            return Ok(());
        }
        self.map_range(guest, host, flags)
    }

    /// Maps one page where that takes one store, and says whether it did.
    #[inline]
    fn map_page(
        &mut self,
        guest: &GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> bool {
        if self.table.gather.overlaps(guest) || !self.table.store_page(guest, host, flags) {
            return false;
        }
        self.table.gather.note_stored();
        if let Some(fresh) = self.table.fresh_page(guest) {
            self.table.gather.add(fresh);
        }
        true
    }

    /// [`map`](Self::map), out of the way of the pages that take one store.
    #[inline(never)]
    pub(crate) fn map_range(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        if self.table.find_page(&guest) && self.map_page(&guest, host, flags) {
            return Ok(());
        }
        let plan = Plan::new(&self.table.tables, guest, host, flags)?;
        if guest.size() == PAGE_SIZE_4K {
            self.table.recent.remember(&self.table.tables.format, flags);
        }
        self.settle(&guest);
        let (tables, gather) = self.parts();
        let top = tables.lowest_over(&guest);
        if let Some(entry) = absent_over(tables, top, &guest, &plan) {
            return fill_absent(tables, gather, top.level, entry, guest, &plan);
        }
        let mut survey = Survey::default();
        survey
            .add(tables, top, guest, &plan)
            .map_err(|existing| MapError::Conflict { guest, existing })?;
        let mut reserve =
            Reserve::take_for(tables, survey.frames).ok_or(MapError::OutOfMemory {
                frames: survey.frames,
            })?;
        if survey.replaces_tables {
            let mut changes = Changes::default();
            unlink_empty(tables, gather, &mut changes, top, guest, &plan);
            gather.add_all(changes);
            release::flush(tables, gather, &mut None);
        }
        fence(Ordering::Release);
        place(tables, &mut reserve, top, guest, &plan);
        note_fresh(tables, gather, guest, survey.frames > 0, &plan);
        Ok(())
    }
}

/// The entry of `top` that translates all of `guest` and more, if it is absent.
#[inline]
fn absent_over<'t, F: Format, H: TableHost>(
    tables: &'t Tables<F, H>,
    top: Table,
    guest: &GuestPhysRange,
    plan: &Plan,
) -> Option<&'t AtomicU64> {
    let span = span_of(tables.geometry(), top.level, guest.start());
    let needs_tables = span != *guest || top.level > plan.largest_leaf;
    if !needs_tables || !span.contains(guest.last()) {
        return None;
    }
    let entry = tables.entry(top, guest.start())?;
    matches!(tables.decode(top.level, entry), Entry::Absent).then_some(entry)
}

/// Maps what lies below one absent entry of `level`: nothing can be in the way, and all becomes
/// visible with one store. Tables are allocated as they are built, since nobody sees them until then.
#[inline]
fn fill_absent<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    level: Level,
    entry: &AtomicU64,
    guest: GuestPhysRange,
    plan: &Plan,
) -> Result<(), MapError> {
    let Some(bits) = build(tables, &mut Reserve::on_demand(tables), level, guest, plan) else {
        let frames = tables_below(tables.geometry(), level, &guest, plan.largest_leaf);
        return Err(MapError::OutOfMemory { frames });
    };
    entry.store(bits, Ordering::Release);
    note_fresh(tables, gather, guest, true, plan);
    Ok(())
}

/// A mapping whose arguments were checked.
pub(crate) struct Plan {
    pub(crate) flags: MappingFlags,
    /// Host minus guest address, wrapping.
    delta: u64,
    pub(crate) largest_leaf: Level,
}

impl Plan {
    #[inline]
    fn new<F: Format, H: TableHost>(
        tables: &Tables<F, H>,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<Self, MapError> {
        let geometry = tables.geometry();
        if !guest.is_aligned_4k() || !host.is_aligned_4k() {
            return Err(MapError::Unaligned { guest, host });
        }
        if !geometry.holds_guest(&guest) {
            return Err(MapError::GuestTooWide {
                guest,
                bits: geometry.input_bits(),
            });
        }
        let fits = HostPhysRange::from_start_size(host, guest.size());
        if !fits.is_ok_and(|range| geometry.holds_host(&range)) {
            let (size, bits) = (guest.size(), geometry.output_bits());
            return Err(MapError::HostTooWide { host, size, bits });
        }
        tables.format.check_flags(flags)?;
        let delta = host.as_u64().wrapping_sub(guest.start().as_u64());
        Ok(Self {
            flags,
            delta,
            largest_leaf: tables.largest_leaf(flags, delta),
        })
    }

    #[inline]
    pub(crate) fn host_of(&self, guest: GuestPhysAddr) -> u64 {
        guest.as_u64().wrapping_add(self.delta)
    }

    /// Whether a leaf fills the slot of a table of `level`.
    #[inline]
    fn is_leaf(&self, level: Level, slot: &Slot) -> bool {
        level <= self.largest_leaf && slot.is_whole()
    }
}

/// What a mapping needs, found without changing anything.
#[derive(Default)]
struct Survey {
    /// Frames for new tables.
    frames: u64,
    /// Empty tables stand where a leaf will.
    replaces_tables: bool,
}

impl Survey {
    /// Adds what the part `range` of `table` needs, or returns the first leaf in the way.
    fn add<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        table: Table,
        range: GuestPhysRange,
        plan: &Plan,
    ) -> Result<(), Mapping> {
        let level = table.level;
        let entries = tables.entries(table);
        for slot in slots(tables.geometry(), level, range) {
            let Some(entry) = entries.get(slot.index) else {
                continue;
            };
            match tables.decode(level, entry) {
                Entry::Absent => {
                    let largest = plan.largest_leaf;
                    self.frames += tables_below(tables.geometry(), level, &slot.portion, largest);
                }
                Entry::Leaf(leaf) => {
                    let (guest, host, flags) = (slot.span, leaf.address, leaf.flags);
                    return Err(Mapping {
                        guest,
                        host,
                        flags,
                        level,
                    });
                }
                Entry::Table(address) => {
                    let Some(child) = tables.child(table, address) else {
                        continue;
                    };
                    if !plan.is_leaf(level, &slot) {
                        self.add(tables, child, slot.portion, plan)?;
                    } else if let Some(existing) = visit::first_leaf(tables, child, slot.span) {
                        return Err(existing);
                    } else {
                        self.replaces_tables = true;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Unlinks the empty tables where leaves of the plan will stand.
fn unlink_empty<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    changes: &mut Changes,
    table: Table,
    range: GuestPhysRange,
    plan: &Plan,
) {
    for slot in slots(tables.geometry(), table.level, range) {
        let Some(entry) = tables.entries(table).get(slot.index) else {
            continue;
        };
        let Entry::Table(address) = tables.decode(table.level, entry) else {
            continue;
        };
        if plan.is_leaf(table.level, &slot) {
            retire_table(gather, entry, address);
            changes.add(InvalidatedRange::tables(slot.span, Change::Removed));
        } else if let Some(child) = tables.child(table, address) {
            unlink_empty(tables, gather, changes, child, slot.portion, plan);
        }
    }
}

/// Unlinks the table at `address`, to be given back by the sweep after its invalidation, which is
/// for the caller to gather.
#[inline]
pub(crate) fn retire_table(gather: &mut Gather, entry: &AtomicU64, address: HostPhysAddr) {
    entry.store(Retired::Table(address).encode(), Ordering::Relaxed);
    gather.note_stored();
    gather.note_retired();
}

/// Notes what a mapping of fresh entries needs.
#[inline]
fn note_fresh<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    guest: GuestPhysRange,
    new_tables: bool,
    plan: &Plan,
) {
    gather.note_stored();
    if !tables.format.rules().fresh_needs_invalidation {
        return;
    }
    let uniform = plan.largest_leaf == Level::PAGE_4K;
    gather.add(if new_tables {
        InvalidatedRange::tables(guest, Change::Fresh)
    } else {
        let level = uniform.then_some(Level::PAGE_4K);
        InvalidatedRange {
            range: guest,
            level,
            tables: false,
            change: Change::Fresh,
        }
    });
}

/// Places the leaves of `range` in a live table, building what is missing below it.
fn place<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    reserve: &mut Reserve<'_, H::Frames>,
    table: Table,
    range: GuestPhysRange,
    plan: &Plan,
) {
    let entries = tables.entries(table);
    let parts = Parts::of(tables, table.level, range, plan);
    if let Some(body) = parts.leaves {
        place_leaves(tables, entries, table.level, body, plan);
    }
    for part in [parts.head, parts.tail].into_iter().flatten() {
        for slot in slots(tables.geometry(), table.level, part) {
            let Some(entry) = entries.get(slot.index) else {
                continue;
            };
            place_below(tables, reserve, table, entry, slot.portion, plan);
        }
    }
}

/// Stores leaves over `range`, all of it whole entries of a live table.
#[inline]
fn place_leaves<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    entries: &[AtomicU64],
    level: Level,
    range: GuestPhysRange,
    plan: &Plan,
) {
    let geometry = tables.geometry();
    let first = geometry.index(level, range.start());
    let last = geometry.index(level, range.last());
    let words = entries.get(first..=last).unwrap_or_default();
    let leaves = leaf_words(tables, level, plan, plan.host_of(range.start()));
    for (word, bits) in words.iter().zip(leaves) {
        word.store(bits, Ordering::Relaxed);
    }
}

/// Places the leaves of `range` below one entry of a live table.
fn place_below<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    reserve: &mut Reserve<'_, H::Frames>,
    table: Table,
    entry: &AtomicU64,
    range: GuestPhysRange,
    plan: &Plan,
) {
    if let Entry::Table(address) = tables.decode(table.level, entry) {
        if let Some(child) = tables.child(table, address) {
            place(tables, reserve, child, range, plan);
        }
    } else if let Some(bits) = build(tables, reserve, table.level, range, plan) {
        entry.store(bits, Ordering::Release);
    }
}
