//! Invalidation as a value: what CPUs must forget, which CPUs, and why.

use core::fmt;

use arrayvec::ArrayVec;
use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::contract::level::Level;

/// The address space whose cached translations an invalidation concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressSpaceId {
    /// The VMID, or on AMD the ASID. It has no meaning on Intel, where the root tags the translations.
    pub vmid: u16,
    /// The register value that selects the table: hgatp, VTTBR_EL2, the EPTP, or nCR3.
    pub root_register: u64,
}

/// Which CPUs must forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The calling CPU only.
    Local,
    /// Every CPU that may hold translations of the address space.
    AllCpus,
}

impl Scope {
    /// Who has to forget what changed in this way. A CPU that remembers "absent" of what is fresh faults once
    /// too often, and forgets then: all others are left alone.
    #[inline]
    const fn of(change: Change) -> Self {
        match change {
            Change::Fresh => Self::Local,
            Change::Raised | Change::Removed => Self::AllCpus,
        }
    }
}

/// What happened to a mapping, from the mildest to the most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Absent became present. Only asked for where absent entries may be cached, and then with
    /// [`Scope::Local`], unless the request has other changes too. Another CPU that remembers "absent" faults
    /// once more; its fault handler carries out a local invalidation, and the guest goes on.
    Fresh,
    /// Permissions were added and none was taken away. A CPU with a stale translation faults once without
    /// need, and does no harm.
    Raised,
    /// Access was taken away, or the address, the size or a table changed. A CPU with a stale translation
    /// can do harm.
    Removed,
}

/// A range in which translations changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidatedRange {
    /// The guest-physical range.
    pub range: GuestPhysRange,
    /// The level of the changed leaves, if all have the same level and no table changed.
    pub level: Option<Level>,
    /// Whether entries that point to tables changed too. Then cached table entries must go.
    pub tables: bool,
    /// The most severe change in the range.
    pub change: Change,
}

impl InvalidatedRange {
    pub(crate) const fn leaves(range: GuestPhysRange, level: Level, change: Change) -> Self {
        Self {
            range,
            level: Some(level),
            tables: false,
            change,
        }
    }

    pub(crate) const fn tables(range: GuestPhysRange, change: Change) -> Self {
        Self {
            range,
            level: None,
            tables: true,
            change,
        }
    }

    /// Whether `other` touches this range and changed in the same way.
    fn is_continued_by(&self, other: &Self) -> bool {
        // Where nothing comes after a range, nothing continues it.
        let next = |range: GuestPhysRange| range.last().as_u64().wrapping_add(1);
        let touching = other.range.start().as_u64() <= next(self.range)
            && self.range.start().as_u64() <= next(other.range);
        touching && self.kind() == other.kind() && self.change == other.change
    }

    /// A number for the level of the leaves, and others for leaves of several levels and for tables.
    fn kind(&self) -> u32 {
        let several = u32::from(self.tables);
        self.level.map_or(several, Level::shift)
    }

    /// Makes this the smallest statement that covers `other` too.
    fn join(&mut self, other: &Self) {
        self.range = self.range.hull(&other.range).unwrap_or(self.range);
        self.level = self.level.filter(|_| self.level == other.level);
        self.tables |= other.tables;
        self.change = self.change.max(other.change);
    }
}

/// One request to forget cached translations of one address space.
#[derive(Clone)]
#[repr(C)]
pub struct Invalidation {
    /// Everything is asked for, whatever the ranges are.
    everything: bool,
    scope: Scope,
    /// Always one at least.
    ranges: ArrayVec<InvalidatedRange, { Self::MAX_RANGES }>,
    space: AddressSpaceId,
}

impl Invalidation {
    /// The most ranges that one request names. A batch that gathered more asks for everything.
    pub const MAX_RANGES: usize = 8;

    /// A request for every translation of `space`, table entries included.
    #[must_use]
    pub fn everything(space: AddressSpaceId, scope: Scope) -> Self {
        let mut request = Self::unused(space, scope);
        request.everything = true;
        request
    }

    /// A request with one range, a placeholder.
    #[inline]
    pub(crate) fn unused(space: AddressSpaceId, scope: Scope) -> Self {
        let page = GuestPhysRange::block_at(GuestPhysAddr::ZERO, Level::PAGE_4K.shift());
        Self::range(space, scope, InvalidatedRange::tables(page, Change::Fresh))
    }

    /// A request for one range of `space`.
    #[must_use]
    pub fn range(space: AddressSpaceId, scope: Scope, range: InvalidatedRange) -> Self {
        let mut ranges = ArrayVec::new();
        // There is room for it.
        let _ = ranges.try_push(range);
        Self {
            ranges,
            space,
            scope,
            everything: false,
        }
    }

    /// Concerns another address space from now on.
    pub(crate) fn set_space(&mut self, space: AddressSpaceId) {
        self.space = space;
    }

    /// Puts `range` in the place of the only range.
    #[inline]
    pub(crate) fn replace_range(&mut self, range: InvalidatedRange) {
        self.scope = Scope::of(range.change);
        if let Some(only) = self.ranges.first_mut() {
            *only = range;
        }
    }

    /// Forgets the ranges but for the first, and that everything was asked for.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.ranges.truncate(1);
        self.everything = false;
    }

    /// Adds a range to those before: joins it to the newest if it is a part of the same, or if they touch and
    /// say the same, or puts it behind it if there is room. If there is none, joins it too, and asks for
    /// everything from then on.
    pub(crate) fn push(&mut self, range: &InvalidatedRange, is_part: bool) {
        if range.change > Change::Fresh {
            self.scope = Scope::AllCpus;
        }
        if let Some(newest) = self.ranges.last_mut()
            && (is_part || newest.is_continued_by(range))
        {
            newest.join(range);
        } else if self.ranges.try_push(*range).is_err() {
            self.everything = true;
            if let Some(newest) = self.ranges.last_mut() {
                newest.join(range);
            }
        }
    }

    /// Asks for everything from now on, and keeps the ranges.
    pub(crate) fn ask_for_everything(&mut self) {
        self.everything = true;
        self.scope = Scope::AllCpus;
    }

    /// Ranges that cover what was pushed, also where everything is asked for.
    #[inline]
    pub(crate) fn pushed(&self) -> &[InvalidatedRange] {
        &self.ranges
    }

    /// The address space.
    #[inline]
    #[must_use]
    pub const fn space(&self) -> AddressSpaceId {
        self.space
    }

    /// The CPUs.
    #[inline]
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether every translation of the address space is meant; [`ranges`](Self::ranges) is then
    /// empty.
    #[inline]
    #[must_use]
    pub const fn covers_everything(&self) -> bool {
        self.everything
    }

    /// The ranges, in the order in which they changed. Ranges may overlap.
    #[inline]
    #[must_use]
    pub fn ranges(&self) -> &[InvalidatedRange] {
        match self.covers_everything() {
            true => &[],
            false => self.pushed(),
        }
    }
}

/// The host could not carry out an invalidation: some CPU may still use what was removed.
///
/// INVEPT, for one, can fail: it says so in the flags (SDM 3C, "INVEPT - Invalidate Translations Derived
/// from EPT": VMfail).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidationFailed;

impl fmt::Display for InvalidationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host could not invalidate cached translations")
    }
}

impl core::error::Error for InvalidationFailed {}

impl PartialEq for Invalidation {
    fn eq(&self, other: &Self) -> bool {
        self.space == other.space && self.scope == other.scope && self.ranges() == other.ranges()
    }
}

impl Eq for Invalidation {}

impl fmt::Debug for Invalidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidation")
            .field("space", &self.space)
            .field("scope", &self.scope)
            .field("ranges", &self.ranges())
            .finish()
    }
}
