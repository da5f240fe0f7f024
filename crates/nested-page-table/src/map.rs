//! Mapping a range: survey and reserve first, then place what cannot fail.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use core::sync::atomic::{AtomicU64, Ordering, fence};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;

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
use crate::slots::{Slot, slots, tables_below};
use crate::tables::{Table, Tables};
use crate::visit;
use crate::words::{self, FRAME_WORDS};

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
        if self.map_one_page(guest, host, flags) {
            return Ok(());
        }
        self.map_range(guest, host, flags)
    }

    /// Maps one page where this takes one store: its table is there, its entry is absent, nothing
    /// pending concerns it. Says whether it did; otherwise nothing was changed.
    #[inline]
    fn map_one_page(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> bool {
        let (tables, gather) = (&self.table.tables, &mut self.table.gather);
        let is_page = guest.size() == PAGE_SIZE_4K
            && guest.start().is_aligned_4k()
            && host.is_aligned_4k()
            && host.fits_in(tables.geometry().output_bits());
        let (true, Some(attributes)) = (is_page, self.table.page_attributes.of(tables, flags))
        else {
            return false;
        };
        let Some(entry) = tables.page_entry(guest.start()) else {
            return false;
        };
        if entry.load(Ordering::Relaxed) != 0 || gather.overlaps(&guest) {
            return false;
        }
        let bits = attributes | tables.format.address_bits(host);
        entry.store(bits, Ordering::Release);
        gather.note_stored();
        if tables.format.rules().fresh_needs_invalidation {
            gather.add(InvalidatedRange::leaves(
                guest,
                Level::PAGE_4K,
                Change::Fresh,
            ));
        }
        true
    }

    #[inline(never)]
    fn map_range(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        let plan = Plan::new(&self.table.tables, guest, host, flags)?;
        self.settle(&guest);
        let (tables, gather) = self.parts();
        let top = tables.lowest_over(&guest);
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
        note_fresh(tables, gather, guest, &survey, &plan);
        Ok(())
    }
}

/// A mapping whose arguments were checked.
struct Plan {
    flags: MappingFlags,
    /// Host minus guest address, wrapping.
    delta: u64,
    largest_leaf: Level,
}

impl Plan {
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
    fn host_of(&self, guest: GuestPhysAddr) -> u64 {
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
    survey: &Survey,
    plan: &Plan,
) {
    gather.note_stored();
    if !tables.format.rules().fresh_needs_invalidation {
        return;
    }
    let uniform = plan.largest_leaf == Level::PAGE_4K;
    gather.add(if survey.frames > 0 {
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
    for part in parts.below.into_iter().flatten() {
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

/// The words of consecutive leaves of `level` from the host address `host` on.
#[inline]
fn leaf_words<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    plan: &Plan,
    host: u64,
) -> impl Iterator<Item = u64> {
    let format = tables.format;
    let size = tables.geometry().entry_size(level);
    let attributes = format.leaf_attributes(level, plan.flags);
    let mut next = host;
    core::iter::repeat_with(move || {
        let bits = attributes | format.address_bits(HostPhysAddr::new(next));
        next = next.wrapping_add(size);
        bits
    })
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

/// Builds a complete table below an entry of `parent` and returns the entry that links it. `None`
/// is impossible: the survey counted the same tables.
fn build<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    reserve: &mut Reserve<'_, H::Frames>,
    parent: Level,
    range: GuestPhysRange,
    plan: &Plan,
) -> Option<u64> {
    let level = parent.below()?;
    let frame = reserve.pop()?;
    let geometry = tables.geometry();
    // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
    let words = unsafe { words::private(tables.frames(), frame, FRAME_WORDS) };
    let first = geometry.index(level, range.start());
    let last = geometry.index(level, range.last());
    words.get_mut(..first)?.fill(0);
    words.get_mut(last..)?.get_mut(1..)?.fill(0);
    let parts = Parts::of(tables, level, range, plan);
    if let Some(body) = parts.leaves {
        let first = geometry.index(level, body.start());
        let last = geometry.index(level, body.last());
        let leaves = leaf_words(tables, level, plan, plan.host_of(body.start()));
        for (word, bits) in words.get_mut(first..=last)?.iter_mut().zip(leaves) {
            *word = bits;
        }
    }
    for part in parts.below.into_iter().flatten() {
        for slot in slots(geometry, level, part) {
            *words.get_mut(slot.index)? = build(tables, reserve, level, slot.portion, plan)?;
        }
    }
    Some(tables.format.encode_table(frame))
}

/// A range cut into what one table maps with leaves and what needs tables below it.
struct Parts {
    leaves: Option<GuestPhysRange>,
    below: [Option<GuestPhysRange>; 2],
}

impl Parts {
    fn of<F: Format, H: TableHost>(
        tables: &Tables<F, H>,
        level: Level,
        range: GuestPhysRange,
        plan: &Plan,
    ) -> Self {
        if level > plan.largest_leaf {
            return Self {
                leaves: None,
                below: [Some(range), None],
            };
        }
        let below = tables.geometry().entry_size(level) - 1;
        let (start, last) = (range.start().as_u64(), range.last().as_u64());
        // Neither wraps: a guest range lies within 63 bits.
        let body_start = start.wrapping_add(below) & !below;
        let body_end = last.wrapping_add(1) & !below;
        if body_start >= body_end {
            return Self {
                leaves: None,
                below: [Some(range), None],
            };
        }
        Self {
            leaves: range_of(body_start, body_end.wrapping_sub(1)),
            below: [
                range_of(start, body_start.wrapping_sub(1)).filter(|_| start < body_start),
                range_of(body_end, last).filter(|_| body_end <= last),
            ],
        }
    }
}

fn range_of(start: u64, last: u64) -> Option<GuestPhysRange> {
    GuestPhysRange::from_start_last(GuestPhysAddr::new(start), GuestPhysAddr::new(last)).ok()
}
