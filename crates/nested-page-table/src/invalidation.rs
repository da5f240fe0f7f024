//! Invalidation as a value: what has to be forgotten, where, and why.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::level::Level;

/// The address space whose cached translations an invalidation concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressSpaceId {
    /// The VMID. Without meaning on x86, where EPT translations are tagged by the root.
    pub vmid: u16,
    /// The register value that selects the table: hgatp, VTTBR_EL2, or the EPTP.
    pub root_register: u64,
}

/// Which CPUs have to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The calling CPU only.
    Local,
    /// Every CPU that may hold translations of the address space.
    AllCpus,
}

/// What happened to a mapping, from the mildest to the most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Absent became present. Only asked for where absent entries may be cached.
    Fresh,
    /// Permissions were added and none taken away: a CPU that has not forgotten faults once too
    /// often, and does no harm.
    Raised,
    /// Access was taken away, or the address, the size or a table changed: a CPU that has not
    /// forgotten can do harm.
    Removed,
}

/// A range in which translations changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidatedRange {
    /// The guest-physical range.
    pub range: GuestPhysRange,
    /// The level of every leaf concerned, where all are of one level and no table is.
    pub level: Option<Level>,
    /// Whether entries that point to tables changed too, so that cached table entries must go.
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

    /// The smallest statement that covers both.
    #[inline(never)]
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let start = self.range.start().min(other.range.start());
        let last = self.range.last().max(other.range.last());
        Self {
            range: GuestPhysRange::from_start_last(start, last).unwrap_or(self.range),
            level: self.level.filter(|_| self.level == other.level),
            tables: self.tables || other.tables,
            change: self.change.max(other.change),
        }
    }
}

/// One request to forget cached translations of one address space.
#[derive(Clone, Copy)]
pub struct Invalidation {
    space: AddressSpaceId,
    scope: Scope,
    count: usize,
    ranges: [InvalidatedRange; Self::MAX_RANGES],
}

impl Invalidation {
    /// The most ranges that one request names. A batch that gathered more asks for everything.
    pub const MAX_RANGES: usize = 8;

    /// A request for every translation of `space`, table entries included.
    #[must_use]
    pub fn everything(space: AddressSpaceId, scope: Scope) -> Self {
        let unused =
            InvalidatedRange::tables(GuestPhysRange::from(GuestPhysAddr::ZERO), Change::Removed);
        Self {
            space,
            scope,
            count: 0,
            ranges: [unused; Self::MAX_RANGES],
        }
    }

    /// A request for one range of `space`.
    #[must_use]
    pub fn range(space: AddressSpaceId, scope: Scope, range: InvalidatedRange) -> Self {
        let mut request = Self::everything(space, scope);
        request.push(range);
        request
    }

    /// Makes `range` the only range.
    #[inline]
    pub(crate) fn push_first(&mut self, range: InvalidatedRange) {
        let [first, ..] = &mut self.ranges;
        *first = range;
        self.count = 1;
    }

    /// Adds a range if there is room.
    #[inline]
    pub(crate) fn push(&mut self, range: InvalidatedRange) -> bool {
        match self.ranges.get_mut(self.count) {
            Some(slot) => {
                *slot = range;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// Empties the request.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Replaces every range, and `range`, by one that covers them all.
    pub(crate) fn join_all(&mut self, range: &InvalidatedRange) {
        let joined = self
            .ranges()
            .iter()
            .fold(*range, |all, one| all.joined(one));
        self.clear();
        self.push(joined);
    }

    /// The range that was added last.
    pub(crate) fn newest(&mut self) -> Option<&mut InvalidatedRange> {
        self.ranges.get_mut(self.count.checked_sub(1)?)
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
        self.count == 0
    }

    /// The ranges, in the order in which they changed. Ranges may overlap.
    #[inline]
    #[must_use]
    pub fn ranges(&self) -> &[InvalidatedRange] {
        self.ranges.get(..self.count).unwrap_or_default()
    }
}

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
