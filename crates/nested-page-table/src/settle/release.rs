//! Invalidating what an edit changed, and giving back what it unlinked.
#![expect(unsafe_code, reason = "gives table frames back to HostFrames")]

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr};

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::frames::HostFrames;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidatedRange;
use crate::contract::level::Level;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gather::Gather;
use crate::settle::report::report_all;
use crate::tree::pass::Next;
use crate::tree::retired::Retired;
use crate::tree::tables::{Table, Tables, load};

/// Publishes stores, invalidates everything gathered in one batch, and only then sweeps what changed
/// for retired entries: tables are given back.
#[inline(never)]
pub(crate) fn flush<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &mut Gather) {
    if gather.has_only_stores() {
        tables.format.publish();
        gather.clear_stores();
    } else if !gather.is_idle() {
        carry_out(tables, gather);
    }
}

/// [`flush`], with something to carry out.
#[inline(never)]
pub(crate) fn carry_out<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &mut Gather) {
    invalidate(tables, gather);
    settle(tables, gather);
}

/// [`flush`], which calls `report` for each leaf that left a note, after the invalidation.
pub(crate) fn flush_reporting<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    report: &mut dyn FnMut(UnmappedLeaf),
) {
    invalidate(tables, gather);
    report_all(tables, gather, report);
    settle(tables, gather);
}

fn invalidate<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &Gather) {
    if gather.has_stores() {
        tables.format.publish();
    }
    gather.request(|request| tables.host.invalidate(request));
}

/// Gives back the tables that were unlinked, and forgets what was gathered: it was invalidated.
fn settle<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &mut Gather) {
    if gather.has_retired() {
        sweep_all(tables, gather);
    }
    gather.clear();
}

/// Forgets the notes in all ranges that were gathered, and gives back the tables that they name.
#[inline(never)]
fn sweep_all<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &Gather) {
    let pages = gather.has_retired_leaves();
    for changed in gather.ranges() {
        sweep(tables, changed.range, pages);
    }
}

/// Publishes the stores of a change of single entries and invalidates it, with nothing gathered
/// before.
#[inline]
pub(crate) fn publish_and_invalidate<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    changed: Option<InvalidatedRange>,
) {
    tables.format.publish();
    if let Some(changed) = changed {
        gather.request_alone(changed, |request| tables.host.invalidate(request));
    }
}

/// Empties the root, invalidates the address space, and gives back every table.
///
/// # Safety
///
/// - The tree is not used any more.
#[inline(never)]
pub(crate) unsafe fn release_tree<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
) {
    let root = tables.root();
    // Nothing present is left in the root, so that a walk which begins before the invalidation has
    // completed finds nothing afterwards.
    for entry in tables.entries(root) {
        let table = table_of(tables, root.level, load(entry));
        let note = table.map_or(0, |address| Retired::Table(address).encode());
        entry.store(note, Ordering::Relaxed);
    }
    tables.format.publish();
    tables.host.invalidate(gather.everything());
    release_below(tables, root);
    // SAFETY: the root is a run that `alloc` returned whole, no CPU has its translations any more, and by
    // the caller's condition it is not used again.
    unsafe {
        let frames = tables.geometry().root_frames();
        tables.frames().dealloc(root.address, frames);
    }
}

/// Forgets the notes in `range`, and gives back the tables that they name. Leaf tables, which have notes of
/// leaves at most, are looked at only if `pages` says so.
fn sweep<F: Format, H: TableHost>(tables: &Tables<F, H>, range: GuestPhysRange, pages: bool) {
    tables.pass(tables.root(), range, |seen| {
        if let Some(note) = Retired::decode(seen.bits) {
            seen.entry.store(0, Ordering::Relaxed);
            if let Retired::Table(address) = note
                && let Some(table) = tables.child(seen.level, address)
            {
                release_table(tables, table);
            }
        }
        match seen.level {
            Level::BLOCK_2M if !pages => Next::Over,
            _ => Next::Into,
        }
    });
}

/// Gives back `table` and all tables below, which no CPU can reach any more.
#[inline(always)]
pub(crate) fn release_table<F: Format, H: TableHost>(tables: &Tables<F, H>, table: Table) {
    if table.level != Level::PAGE_4K {
        release_below(tables, table);
    }
    // SAFETY: every table below a root is one frame from `alloc(1, _)`; its only entry is gone, and
    // either it was never linked, or the invalidation that covers it has completed on all CPUs.
    unsafe { tables.frames().dealloc(table.address, 1) };
}

/// Gives back every table below `table`, which no CPU can reach any more. Leaf tables, most of a tree,
/// are not looked at, and given back without a call of this for each.
#[inline(never)]
fn release_below<F: Format, H: TableHost>(tables: &Tables<F, H>, table: Table) {
    let Some(level) = table.level.below() else {
        return;
    };
    for entry in tables.entries(table) {
        if let Some(address) = table_of(tables, table.level, load(entry)) {
            release_table(tables, Table { address, level });
        }
    }
}

/// The table that an entry of `level` points to, or pointed to when it was retired.
#[inline]
fn table_of<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    bits: u64,
) -> Option<HostPhysAddr> {
    if let Entry::Table(address) = tables.format.decode_own(level, bits) {
        return Some(address);
    }
    match Retired::decode(bits) {
        Some(Retired::Table(address)) => Some(address),
        _ => None,
    }
}
