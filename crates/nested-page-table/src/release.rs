//! Invalidating what an edit changed, and giving back what it unlinked.
#![expect(unsafe_code, reason = "gives table frames back to HostFrames")]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::entry::Entry;
use crate::format::Format;
use crate::frames::HostFrames;
use crate::gather::Gather;
use crate::host::TableHost;
use crate::invalidation::{InvalidatedRange, Invalidation, Scope};
use crate::level::Level;
use crate::mapping::UnmappedLeaf;
use crate::retired::Retired;
use crate::slots::{Slot, slots};
use crate::tables::{Table, Tables};

/// Who wants to hear of unmapped leaves.
pub(crate) type Report<'a> = Option<&'a mut dyn FnMut(UnmappedLeaf)>;

/// Publishes stores, invalidates everything gathered in one batch, and only then sweeps what changed
/// for retired entries: leaves are reported, tables given back.
#[inline]
pub(crate) fn flush<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    report: &mut Report<'_>,
) {
    if !gather.is_idle() {
        carry_out(tables, gather, report);
    }
}

#[inline(never)]
fn carry_out<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    report: &mut Report<'_>,
) {
    if gather.has_stores() {
        tables.format.publish();
    }
    gather.request(|request| tables.host.invalidate(request));
    if gather.has_retired() {
        sweep_all(tables, gather, report);
    }
    gather.clear();
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

/// Sweeps every range that was gathered.
fn sweep_all<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &Gather,
    report: &mut Report<'_>,
) {
    for changed in gather.ranges() {
        sweep(
            tables,
            tables.lowest_over(&changed.range),
            changed.range,
            report,
        );
    }
}

/// Empties the root, invalidates the whole address space and gives back every table, the root
/// included.
pub(crate) fn tear_down<F: Format, H: TableHost>(tables: &Tables<F, H>) {
    empty_root(tables);
    tables.format.publish();
    tables
        .host
        .invalidate(&Invalidation::everything(tables.space, Scope::AllCpus));
    let geometry = *tables.geometry();
    if let Ok(everything) =
        GuestPhysRange::from_start_last(Default::default(), geometry.last_guest())
    {
        release_below(tables, tables.root(), everything, &mut None);
    }
    // SAFETY: the root is a run that `alloc` returned whole; no CPU has its translations any more,
    // and the tree is not used after this.
    unsafe { tables.frames().dealloc(tables.root, geometry.root_frames()) };
}

/// Leaves nothing present in the root, so that a walk which begins before the invalidation has
/// completed finds nothing afterwards. Tables are remembered.
fn empty_root<F: Format, H: TableHost>(tables: &Tables<F, H>) {
    let root = tables.root();
    for entry in tables.entries(root) {
        let table = table_of(tables, root, entry.load(Ordering::Relaxed));
        let note = table.map_or(0, |address| Retired::Table(address).encode());
        entry.store(note, Ordering::Relaxed);
    }
}

/// Handles the retired entries of live tables in `range`.
fn sweep<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    range: GuestPhysRange,
    report: &mut Report<'_>,
) {
    for slot in slots(tables.geometry(), table.level, range) {
        let Some(entry) = tables.entries(table).get(slot.index) else {
            continue;
        };
        let bits = entry.load(Ordering::Relaxed);
        match tables.format.decode_own(table.level, bits) {
            Entry::Leaf(_) => {}
            Entry::Table(address) => {
                if let Some(child) = tables.child(table, address) {
                    sweep(tables, child, slot.portion, report);
                }
            }
            Entry::Absent => {
                if let Some(retired) = Retired::decode(bits) {
                    entry.store(0, Ordering::Relaxed);
                    release(tables, table, slot, retired, report);
                }
            }
        }
    }
}

/// Reports a retired leaf, or gives back a retired table with everything below it.
fn release<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    parent: Table,
    slot: Slot,
    retired: Retired,
    report: &mut Report<'_>,
) {
    match retired {
        Retired::Table(address) => release_table(tables, parent, address, slot.span, report),
        Retired::Leaf {
            address,
            accessed,
            dirty,
        } => {
            if let Some(report) = report {
                report(UnmappedLeaf {
                    guest: slot.span,
                    host: address,
                    accessed,
                    dirty,
                });
            }
        }
    }
}

/// Gives back the table that `bits`, an entry of `level`, leads to, with all tables below. It is
/// complete, and was never linked.
pub(crate) fn discard<F: Format, H: TableHost>(tables: &Tables<F, H>, level: Level, bits: u64) {
    let parent = Table {
        address: HostPhysAddr::ZERO,
        level,
    };
    if let Entry::Table(address) = tables.format.decode_own(level, bits) {
        release_table(
            tables,
            parent,
            address,
            GuestPhysRange::from(GuestPhysAddr::ZERO),
            &mut None,
        );
    }
}

/// Gives back the table at `address`, which an entry of `parent` pointed to, and all tables below.
fn release_table<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    parent: Table,
    address: HostPhysAddr,
    span: GuestPhysRange,
    report: &mut Report<'_>,
) {
    let Some(table) = tables.child(parent, address) else {
        return;
    };
    let only_pages = table.level.below().is_none();
    if report.is_some() || !only_pages {
        release_below(tables, table, span, report);
    }
    // SAFETY: every table below a root is one frame from `alloc(1, _)`; its only entry is gone, and
    // either it was never linked, or the invalidation that covers it has completed on all CPUs.
    unsafe { tables.frames().dealloc(address, 1) };
}

/// Gives back every table below `table`, which no CPU can reach any more, and reports its leaves.
fn release_below<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    span: GuestPhysRange,
    report: &mut Report<'_>,
) {
    let entries = tables.entries(table);
    if report.is_none() {
        if table.level == Level::BLOCK_2M {
            release_leaf_tables(tables, table, entries);
            return;
        }
        for entry in entries {
            let bits = entry.load(Ordering::Relaxed);
            if let Some(address) = table_of(tables, table, bits) {
                release_table(tables, table, address, span, report);
            }
        }
        return;
    }
    for slot in slots(tables.geometry(), table.level, span) {
        let Some(entry) = entries.get(slot.index) else {
            continue;
        };
        let bits = entry.load(Ordering::Relaxed);
        let retired = match tables.format.decode_own(table.level, bits) {
            Entry::Table(address) => Some(Retired::Table(address)),
            Entry::Leaf(leaf) => Some(Retired::Leaf {
                address: leaf.address,
                accessed: tables.format.is_accessed(bits),
                dirty: tables.format.is_dirty(bits),
            }),
            Entry::Absent => Retired::decode(bits),
        };
        if let Some(retired) = retired {
            release(tables, table, slot, retired, report);
        }
    }
}

/// Gives back the leaf tables below `table`, most of the tables of a tree: none of them is looked at.
fn release_leaf_tables<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    entries: &[AtomicU64],
) {
    for entry in entries {
        if let Some(address) = table_of(tables, table, entry.load(Ordering::Relaxed)) {
            // SAFETY: as in `release_table`, of which this is the case without tables below.
            unsafe { tables.frames().dealloc(address, 1) };
        }
    }
}

/// The table that an entry points to, or pointed to when it was retired.
#[inline]
fn table_of<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    bits: u64,
) -> Option<HostPhysAddr> {
    match tables.format.decode_own(table.level, bits) {
        Entry::Table(address) => Some(address),
        Entry::Leaf(_) => None,
        Entry::Absent => match Retired::decode(bits) {
            Some(Retired::Table(address)) => Some(address),
            _ => None,
        },
    }
}
