//! What one edit has changed and not yet invalidated.

use core::mem;

use guest_addr::GuestPhysRange;

use crate::contract::error::Unsettled;
use crate::contract::invalidation::{
    AddressSpaceId, Change, InvalidatedRange, Invalidation, InvalidationFailed, Scope,
};
use crate::contract::level::Level;
use crate::tree::encoded::EncodedLeaves;
use crate::tree::recent::Recent;

/// The changes that wait for their invalidation, in the order in which they were made.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Gather {
    noted: u8,
    /// The directory of the last leaf. Here, since no table is unlinked without a note.
    pub(crate) recent: Recent,
    /// The kinds of leaves that were mapped last. Here, so that all that a single leaf needs stands together.
    pub(crate) encoded: EncodedLeaves,
    /// The changed ranges. Without the flag [`CHANGED`], it has one range, a placeholder, and does not ask for
    /// everything.
    request: Invalidation,
}

/// The request has a range.
const CHANGED: u8 = 1 << 0;
/// Stores were made that walkers have to see.
const STORED: u8 = 1 << 1;
/// Entries hold notes of tables, which the sweep after the invalidation has to look at.
const RETIRED_TABLES: u8 = 1 << 2;
/// Entries hold notes of leaves, or unlinked tables hold leaves, that have to be reported.
const RETIRED_LEAVES: u8 = 1 << 3;
/// The newest range is that of the operation under way.
const PART: u8 = 1 << 4;

impl Gather {
    pub(crate) fn new(space: AddressSpaceId) -> Self {
        Self {
            recent: Recent::new(),
            encoded: EncodedLeaves::new(),
            request: Invalidation::unused(space, Scope::AllCpus),
            noted: 0,
        }
    }

    /// The address space that the changes belong to.
    #[inline]
    pub(crate) fn space(&self) -> AddressSpaceId {
        self.request.space()
    }

    /// The changes from now on belong to `space`. None is pending.
    pub(crate) fn set_space(&mut self, space: AddressSpaceId) {
        self.request.set_space(space);
    }

    /// Notes that entries were stored, whether or not anything has to be invalidated.
    #[inline]
    pub(crate) fn note_stored(&mut self) {
        self.noted |= STORED;
    }

    /// Notes that an entry in the ranges gathered holds the note of a table, which may be what was
    /// remembered.
    #[inline]
    pub(crate) fn note_retired_table(&mut self) {
        self.recent.forget();
        self.noted |= RETIRED_TABLES;
    }

    /// Notes that an entry in the ranges gathered holds the note of a leaf.
    #[inline]
    pub(crate) fn note_retired_leaf(&mut self) {
        self.noted |= RETIRED_LEAVES;
    }

    /// Calls `invalidate` with a request for `changed`, where nothing was noted as changed before. Should
    /// it fail or unwind, the change waits for its invalidation like every other.
    #[inline]
    pub(crate) fn request_alone(
        &mut self,
        changed: InvalidatedRange,
        invalidate: impl FnOnce(&Invalidation) -> Result<(), InvalidationFailed>,
    ) -> Result<(), InvalidationFailed> {
        self.request.replace_range(changed);
        let pending = Pending { gather: self };
        invalidate(&pending.gather.request)?;
        mem::forget(pending);
        Ok(())
    }

    /// Adds a changed range. One that touches the newest and changed in the same way is joined to
    /// it.
    #[inline]
    pub(crate) fn add(&mut self, changed: InvalidatedRange) {
        if self.noted & CHANGED == 0 {
            self.noted |= CHANGED;
            self.request.replace_range(changed);
        } else {
            // In registers: what is passed in memory would be stored on the way above too.
            let InvalidatedRange {
                range,
                level,
                tables,
                change,
            } = changed;
            self.add_to_others(range, level, tables, change);
        }
    }

    #[inline(never)]
    fn add_to_others(
        &mut self,
        range: GuestPhysRange,
        level: Option<Level>,
        tables: bool,
        change: Change,
    ) {
        let changed = InvalidatedRange {
            range,
            level,
            tables,
            change,
        };
        self.request.push(&changed, false);
    }

    /// Begins an operation, the parts of which have nothing to do with what was added before.
    #[inline]
    pub(crate) fn begin_operation(&mut self) {
        self.noted &= !PART;
    }

    /// Adds entries that an operation took out: leaves of `level`, or tables where there is none. See
    /// [`add_part`](Self::add_part).
    #[inline(never)]
    pub(crate) fn add_removed(&mut self, range: GuestPhysRange, level: Option<Level>) {
        self.add_part(InvalidatedRange {
            range,
            level,
            tables: level.is_none(),
            change: Change::Removed,
        });
    }

    /// Adds one of the entries that an operation changes. They make up a single range: between them lie
    /// only holes, so that it is no less precise than a list.
    pub(crate) fn add_part(&mut self, changed: InvalidatedRange) {
        let noted = self.noted;
        self.noted |= CHANGED | STORED | PART;
        if noted & CHANGED == 0 {
            self.request.replace_range(changed);
        } else {
            self.request.push(&changed, noted & PART != 0);
        }
    }

    /// Whether something that a CPU may still believe in waits for its invalidation in `range`. Fresh
    /// entries do not count: nothing was there.
    #[inline]
    pub(crate) fn overlaps(&self, range: GuestPhysRange) -> bool {
        self.noted & CHANGED != 0 && self.has_range_over(range)
    }

    #[inline(never)]
    fn has_range_over(&self, range: GuestPhysRange) -> bool {
        let mut ranges = self.request.pushed().iter();
        ranges.any(|changed| changed.change > Change::Fresh && changed.range.overlaps(&range))
    }

    /// Whether nothing was changed or stored.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.noted == 0
    }

    /// Whether stores wait to be published.
    #[inline]
    pub(crate) fn has_stores(&self) -> bool {
        self.noted & STORED != 0
    }

    /// Whether entries hold notes of tables.
    #[inline]
    pub(crate) fn has_retired_tables(&self) -> bool {
        self.noted & RETIRED_TABLES != 0
    }

    /// Whether entries hold notes of leaves, or unlinked tables hold leaves, that were not reported.
    #[inline]
    pub(crate) fn has_unreported_leaves(&self) -> bool {
        self.noted & RETIRED_LEAVES != 0
    }

    /// Refuses to go on where leaves wait to be reported.
    #[inline]
    pub(crate) fn refuse_unreported(&self) -> Result<(), Unsettled> {
        match self.has_unreported_leaves() {
            true => Err(Unsettled::Unreported),
            false => Ok(()),
        }
    }

    /// Notes that no entry holds the note of a leaf any more.
    #[inline]
    pub(crate) fn clear_retired_leaves(&mut self) {
        self.noted &= !RETIRED_LEAVES;
    }

    /// Calls `invalidate` with what covers every change, if there was any.
    #[inline]
    pub(crate) fn request(
        &self,
        invalidate: impl FnOnce(&Invalidation) -> Result<(), InvalidationFailed>,
    ) -> Result<(), InvalidationFailed> {
        if self.noted & CHANGED == 0 {
            return Ok(());
        }
        invalidate(&self.request)
    }

    /// A request for every translation of the address space, which covers all that was gathered.
    pub(crate) fn everything(&mut self) -> &Invalidation {
        self.request.ask_for_everything();
        &self.request
    }

    /// The ranges that were changed.
    #[inline]
    pub(crate) fn ranges(&self) -> &[InvalidatedRange] {
        match self.noted & CHANGED {
            0 => &[],
            _ => self.request.pushed(),
        }
    }

    /// Forgets everything: it was carried out.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.noted = 0;
        self.request.reset();
    }
}

/// A change that was not invalidated, should this be dropped.
struct Pending<'g> {
    gather: &'g mut Gather,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.gather.noted |= CHANGED;
    }
}
