//! Invalidating what an edit changed, and giving back what it unlinked.
#![expect(unsafe_code, reason = "gives table frames back to HostFrames")]

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr};

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::frames::HostFrames;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{InvalidatedRange, InvalidationFailed};
use crate::contract::level::Level;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gather::Gather;
use crate::settle::report::report_all;
use crate::tree::pass::{Found, Next};
use crate::tree::tables::{Part, Table, Tables};

/// Publishes stores, invalidates everything gathered in one batch, and only then sweeps what changed
/// for retired entries: tables are given back. Where the invalidation fails, the batch stays pending.
#[inline(never)]
pub(crate) fn flush<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
) -> Result<(), InvalidationFailed> {
    match gather.is_idle() {
        true => Ok(()),
        false => carry_out(tables, gather),
    }
}

/// [`flush`], with something to carry out.
#[inline(never)]
pub(crate) fn carry_out<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
) -> Result<(), InvalidationFailed> {
    invalidate(tables, gather)?;
    // What was not reported is still in the entries, and in the tables that were unlinked.
    if !gather.has_unreported_leaves() {
        settle(tables, gather);
    }
    Ok(())
}

/// [`flush`], which calls `report` for each leaf that left a note, after the invalidation.
pub(crate) fn flush_reporting<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    report: &mut dyn FnMut(UnmappedLeaf),
) -> Result<(), InvalidationFailed> {
    invalidate(tables, gather)?;
    if gather.has_unreported_leaves() {
        report_all(tables, gather, report);
        gather.clear_retired_leaves();
    }
    settle(tables, gather);
    Ok(())
}

fn invalidate<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &Gather,
) -> Result<(), InvalidationFailed> {
    if gather.has_stores() {
        tables.format.publish();
    }
    gather.request(|request| tables.host.invalidate(request))
}

/// Gives back the tables that were unlinked, and forgets what was gathered: it was invalidated, and the
/// leaves were reported.
fn settle<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &mut Gather) {
    if gather.has_retired_tables() {
        sweep_all(tables, gather);
    }
    gather.clear();
}

/// Forgets the notes of tables in all ranges that were gathered, and gives the tables back.
#[inline]
fn sweep_all<F: Format, H: TableHost>(tables: &Tables<F, H>, gather: &Gather) {
    for changed in gather.ranges() {
        sweep(tables, changed.range);
    }
}

/// Publishes the stores of a change of single entries and invalidates it, with nothing gathered
/// before. Where that fails, the change stays pending.
#[inline]
pub(crate) fn publish_and_invalidate<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    changed: Option<InvalidatedRange>,
) -> Result<(), InvalidationFailed> {
    tables.format.publish();
    match changed {
        Some(changed) => gather.request_alone(changed, |request| tables.host.invalidate(request)),
        None => Ok(()),
    }
}

/// Empties the root, invalidates the address space, and gives back every table. Where the invalidation
/// fails, nothing is given back, ever: a CPU may still walk the tables.
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
        match tables.decode(root.level, entry) {
            Entry::Table(address) => tables.note_table(entry, address),
            Entry::Leaf(_) => entry.store(tables.format.absent(), Ordering::Relaxed),
            // The note of a table stays, which is still to be given back.
            Entry::Absent => {}
        }
    }
    tables.format.publish();
    if tables.host.invalidate(gather.everything()).is_err() {
        return;
    }
    release_below(tables, root);
    // SAFETY: the root is a run that `alloc` returned whole, no CPU has its translations any more, and by
    // the caller's condition it is not used again.
    unsafe {
        let frames = tables.geometry().root_frames();
        tables.frames().dealloc(root.address, frames);
    }
}

/// Forgets the notes of tables in `range`, and gives the tables back. Entries of leaf tables, which never
/// have such notes, are not looked at.
fn sweep<F: Format, H: TableHost>(tables: &Tables<F, H>, range: GuestPhysRange) {
    let table = tables.root();
    tables.pass(&Part { table, range }, |seen| {
        if let Some(address) = tables.noted_table(seen.bits) {
            let absent = tables.format.absent();
            seen.entry.store(absent, Ordering::Relaxed);
            if let Some(table) = tables.child(seen.level, address) {
                release_table(tables, table);
            }
        }
        match seen.level {
            Level::BLOCK_2M => Next::Over,
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
        if let Some(address) = table_of(tables, table.level, entry.load()) {
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
    match tables.find(level, bits) {
        Found::Table(address) => Some(address),
        _ => tables.noted_table(bits),
    }
}
