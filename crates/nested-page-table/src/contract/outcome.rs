//! What became of a change through a shared reference, and what it leaves to its caller.

use guest_addr::GuestPhysRange;

use crate::contract::invalidation::{
    AddressSpaceId, Change, InvalidatedRange, Invalidation, Scope,
};
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;

/// The invalidation that is due on the CPU that made a change, before it enters the guest again.
///
/// Other CPUs need none. One that still has the old translation faults once; its own fault handler finds that nothing
/// is missing, and invalidates there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "without its invalidation the guest may fault again"]
pub enum Due {
    /// None: the hardware remembers no old translation of this kind, or forgets it with the fault.
    Nothing,
    /// This CPU must forget the range.
    Local(InvalidatedRange),
}

impl Due {
    /// For an absent entry of `level` over `leaf` that became present.
    pub(crate) fn fresh(leaf: GuestPhysRange, level: Level, new_tables: bool) -> Self {
        Self::Local(match new_tables {
            true => InvalidatedRange::tables(leaf, Change::Fresh),
            false => InvalidatedRange::leaves(leaf, level, Change::Fresh),
        })
    }

    /// For a leaf of `level` that gained permissions.
    pub(crate) fn raised(leaf: GuestPhysRange, level: Level) -> Self {
        Self::Local(InvalidatedRange::leaves(leaf, level, Change::Raised))
    }

    /// After a fault that `leaf` does not explain: see
    /// [`due_after_spurious_fault`](crate::NestedPageTable::due_after_spurious_fault).
    pub(crate) fn spurious(leaf: &Mapping, absent_is_cached: bool) -> Self {
        Self::Local(InvalidatedRange {
            range: leaf.guest,
            // Where absent entries may be cached, the one that this CPU remembers may be a table's.
            level: (!absent_is_cached).then_some(leaf.level),
            tables: absent_is_cached,
            change: Change::Raised,
        })
    }

    /// The request for the host, or for a format's `instructions`. `None` if nothing is due.
    #[must_use]
    pub fn request(self, space: AddressSpaceId) -> Option<Invalidation> {
        match self {
            Self::Nothing => None,
            Self::Local(range) => Some(Invalidation::range(space, Scope::Local, range)),
        }
    }
}

/// What became of a [`fill`](crate::NestedPageTable::fill).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a fill may find the place taken"]
pub enum FillOutcome {
    /// The leaf is there now, and this call put it there.
    Filled(Due),
    /// A leaf was there already. Nothing has changed. The caller keeps the host memory that it offered.
    ///
    /// If this leaf permits the access that faulted, the fault was spurious: carry out what is
    /// [due then](crate::NestedPageTable::due_after_spurious_fault), and enter the guest.
    Present(Mapping),
    /// The place of the huge leaf is taken by a table, which may be empty. A table is never removed through a shared
    /// reference. Fill a smaller leaf, or [`map`](crate::Edit::map) the huge one with an exclusive reference.
    Divided,
    /// Another CPU is [splitting](crate::NestedPageTable::split) the leaf that is here. Try again: this does not last longer
    /// than its call.
    Busy,
}

/// What became of a [`raise`](crate::NestedPageTable::raise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a raise may find nothing to raise"]
pub enum RaiseOutcome {
    /// The leaf has more permissions now, by this call.
    Raised {
        /// The leaf as it is now.
        leaf: Mapping,
        /// The invalidation that is due.
        due: Due,
    },
    /// The leaf had the permissions already. If the guest faulted on them, the fault was spurious, as for
    /// [`FillOutcome::Present`].
    Unchanged(Mapping),
    /// Nothing is mapped here.
    Absent,
    /// As for [`FillOutcome::Busy`].
    Busy,
}

/// What became of a [`mark_accessed`](crate::NestedPageTable::mark_accessed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a mark may find nothing to mark"]
pub enum MarkOutcome {
    /// The leaf is marked as accessed. No invalidation is due: no CPU caches an entry that is not accessed as one that
    /// the guest may use.
    Marked(Mapping),
    /// Nothing is mapped here.
    Absent,
    /// As for [`FillOutcome::Busy`].
    Busy,
}

/// What became of a [`split`](crate::NestedPageTable::split).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a split may find nothing to split"]
pub enum SplitOutcome {
    /// The leaf is in pieces now, by this call.
    Split(Due),
    /// The leaf was small enough already.
    Unchanged(Mapping),
    /// Nothing is mapped here.
    Absent,
    /// As for [`FillOutcome::Busy`].
    Busy,
}
