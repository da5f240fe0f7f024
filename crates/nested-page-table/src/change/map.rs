//! Mapping a range: survey and reserve first, then place what cannot fail.

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange};
use mapping_flags::MappingFlags;

use crate::change::build::{build, leaf_step, leaf_word};
use crate::change::edit::Edit;
use crate::change::reserve::Reserve;
use crate::change::survey::Survey;
use crate::contract::error::{MapError, Unsettled};
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange};
use crate::contract::level::Level;
use crate::contract::policy::LeafPolicy;
use crate::settle::gather::Gather;
use crate::settle::gathering_tree::GatheringTree;
use crate::settle::release;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::slots::tables_below;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::{self, Word};

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Maps `guest` to the host memory from `host` on, with the largest leaves that alignment, the
    /// hardware and the [`LeafPolicy`](crate::LeafPolicy) allow. A huge leaf may replace empty tables.
    ///
    /// Fresh mappings need no invalidation on AArch64 and x86, and one for the whole edit on RISC-V
    /// without Svvptc. All or nothing; O(entries written).
    ///
    /// # Errors
    ///
    /// - [`MapError::Unaligned`]: the range or `host` is not a multiple of 4 KiB.
    /// - [`MapError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`MapError::HostTooWide`]: the host range goes beyond the output width.
    /// - [`MapError::Flags`]: the flags are invalid, or the format cannot express them.
    /// - [`MapError::Conflict`]: something is mapped in the range. The error names the first such leaf.
    /// - [`MapError::OutOfMemory`]: there are not enough frames for tables.
    /// - [`MapError::Unsettled`]: an earlier removal in the range, or an empty table in the place of a huge
    ///   leaf, could not be invalidated; or leaves wait to be reported.
    #[inline]
    pub fn map(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        loop {
            if !self.tree.gather.overlaps(guest)
                && let Some(level) = self.tree.store_leaf(guest, host, flags)
            {
                self.tree.gather.note_stored();
                if let Some(fresh) = self.tree.fresh_leaf(guest, level) {
                    self.tree.gather.add(fresh);
                }
                return Ok(());
            }
            if !self.tree.find_directory(guest) {
                return self.tree.map_range(guest, host, flags);
            }
        }
    }
}

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// [`map`](Self::map) with leaves of at most what `policy` says too, for this call: for instance in pages where the range will
    /// be watched or moved page by page.
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map).
    pub fn map_with(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
        policy: LeafPolicy,
    ) -> Result<(), MapError> {
        let capped = Capped::new(self.tree, policy);
        capped.tree.map_range(guest, host, flags)
    }
}

/// A tree whose leaf policy is stricter until this is dropped, also where the host unwinds.
struct Capped<'t, F: Format, H: TableHost> {
    tree: &'t mut GatheringTree<F, H>,
    before: LeafPolicy,
}

impl<'t, F: Format, H: TableHost> Capped<'t, F, H> {
    fn new(tree: &'t mut GatheringTree<F, H>, policy: LeafPolicy) -> Self {
        let before = tree.tables.policy;
        tree.tables.policy = before.intersect(policy);
        Self { tree, before }
    }
}

impl<F: Format, H: TableHost> Drop for Capped<'_, F, H> {
    fn drop(&mut self) {
        self.tree.tables.policy = self.before;
    }
}

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`Edit::map`], out of the way of the leaves that take one store.
    pub(crate) fn map_range(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        check(&self.tables, guest, host, flags)?;
        let plan = Plan::new(&self.tables, guest, host, flags);
        self.settle(guest)?;
        let (tables, gather) = (&self.tables, &mut self.gather);
        let top = tables.lowest_for(guest, plan.largest_leaf);
        let mut reserve = Reserve::empty(tables);
        if let Some(entry) = top.absent {
            let level = top.part.table.level;
            return fill_absent(gather, &mut reserve, level, entry, guest, &plan);
        }
        let mut survey = Survey::to_map(tables, plan.largest_leaf);
        survey.of(&top.part);
        let frames = survey.frames;
        if let Some(existing) = survey.in_the_way {
            return Err(MapError::Conflict { guest, existing });
        }
        if !reserve.take(frames) {
            return Err(MapError::OutOfMemory { frames });
        }
        if survey.replaces_tables {
            // Or the notes of the tables would stay in their entries, and the leaves take the place of both.
            gather.refuse_unreported()?;
            gather.begin_operation();
            place(&mut reserve, &plan, &top.part, Some(gather));
            release::carry_out(tables, gather).map_err(Unsettled::InvalidationFailed)?;
        }
        place(&mut reserve, &plan, &top.part, None);
        note_fresh(tables, gather, guest, frames > 0, &plan);
        if tables.geometry().entry_size(top.part.table.level) == guest.size() {
            // It was one leaf, since `lowest_for` goes on to smaller ones otherwise. The next can take one store.
            let leaf = leaf_word(tables, top.part.table.level, &plan, guest.start());
            let attributes = leaf ^ tables.format.address_bits(host);
            gather
                .encoded
                .remember(top.part.table.level, flags, attributes);
        }
        Ok(())
    }
}

/// Maps `guest`, which lies below the absent `entry` of `level`: nothing can be in the way, and all becomes
/// visible with one store. Tables are allocated as they are built, since nobody sees them until then.
#[inline]
fn fill_absent<F: Format, H: TableHost>(
    gather: &mut Gather,
    frames: &mut Reserve<'_, F, H>,
    level: Level,
    entry: &Word,
    guest: GuestPhysRange,
    plan: &Plan,
) -> Result<(), MapError> {
    let tables = frames.tables;
    let Some(bits) = build(tables, frames, level, guest, plan) else {
        let frames = tables_below(tables.geometry(), level, &guest, plan.largest_leaf);
        return Err(MapError::OutOfMemory { frames });
    };
    entry.store(bits, Ordering::Release);
    note_fresh(tables, gather, guest, true, plan);
    Ok(())
}

/// Checks what was asked for, in the order in which [`Edit::map`] lists its errors.
#[inline]
fn check<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    guest: GuestPhysRange,
    host: HostPhysAddr,
    flags: MappingFlags,
) -> Result<(), MapError> {
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
    Ok(tables.check_flags(flags)?)
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
    ) -> Self {
        let delta = host.as_u64().wrapping_sub(guest.start().as_u64());
        Self {
            flags,
            delta,
            largest_leaf: tables.largest_leaf(flags, delta),
        }
    }

    #[inline]
    pub(crate) fn host_of(&self, guest: GuestPhysAddr) -> u64 {
        guest.as_u64().wrapping_add(self.delta)
    }

    /// Whether an entry of `level`, of which the whole was asked for or not, is to be a leaf.
    #[inline]
    pub(crate) fn is_leaf(&self, level: Level, is_whole: bool) -> bool {
        level <= self.largest_leaf && is_whole
    }
}

/// Unlinks the table at `address`, to be given back by the sweep after its invalidation.
pub(crate) fn retire_table<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    gather: &mut Gather,
    seen: &Seen<'_>,
    address: HostPhysAddr,
) {
    tables.note_table(seen.entry, address);
    gather.note_retired_table();
    gather.add_removed(seen.span(), None);
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

/// The second half, or what comes before it: with `unlinked`, only unlinks the empty tables where leaves will stand.
fn place<F: Format, H: TableHost>(
    reserve: &mut Reserve<'_, F, H>,
    plan: &Plan,
    part: &Part,
    unlinked: Option<&mut Gather>,
) {
    let tables = reserve.tables;
    let mut placing = Placing {
        reserve,
        plan,
        unlinked,
    };
    tables.pass_over(part, &mut placing);
}

/// Places leaves in live tables, and builds what is missing.
struct Placing<'p, 'a, F: Format, H: TableHost> {
    reserve: &'p mut Reserve<'a, F, H>,
    plan: &'p Plan,
    /// Where unlinked tables are noted. As long as there is such a place, nothing else happens.
    unlinked: Option<&'p mut Gather>,
}

impl<F: Format, H: TableHost> Look for Placing<'_, '_, F, H> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        if run.level > self.plan.largest_leaf || self.unlinked.is_some() {
            return 0;
        }
        let tables = self.reserve.tables;
        // The survey has found nothing there, and empty tables are gone.
        place_run(tables, self.plan, run);
        run.entries.len()
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let (tables, level) = (self.reserve.tables, seen.level);
        if let Some(gather) = &mut self.unlinked {
            return match seen.found {
                Found::Table(address) if self.plan.is_leaf(level, seen.is_whole) => {
                    retire_table(tables, gather, seen, address);
                    Next::Over
                }
                _ => Next::Into,
            };
        }
        if let Found::Table(_) = seen.found {
            return Next::Into;
        }
        if let Some(bits) = build(tables, self.reserve, level, seen.portion, self.plan) {
            seen.entry.store(bits, Ordering::Release);
        }
        Next::Over
    }
}

/// Stores leaves in all entries of `run`, which are absent.
fn place_run<F: Format, H: TableHost>(tables: &Tables<F, H>, plan: &Plan, run: &Run<'_>) {
    let first = leaf_word(tables, run.level, plan, run.start);
    let step = leaf_step(tables, run.level);
    let mut leaf = first;
    words::release();
    for entry in run.entries {
        entry.store(leaf, Ordering::Relaxed);
        leaf = leaf.wrapping_add(step);
    }
}
