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
        self.level = self.level.filter(|_| self.kind() == other.kind());
        self.tables |= other.tables;
        self.change = self.change.max(other.change);
    }
}

/// The ranges of a request that names none.
const UNUSED: [InvalidatedRange; Invalidation::MAX_RANGES] = [InvalidatedRange {
    range: match GuestPhysRange::from_start_last(GuestPhysAddr::ZERO, GuestPhysAddr::ZERO) {
        Ok(range) => range,
        Err(_) => unreachable!(),
    },
    level: None,
    tables: false,
    change: Change::Fresh,
}; Invalidation::MAX_RANGES];

/// Everything is asked for, whatever the ranges are.
const EVERYTHING: u8 = 1 << 7;

/// One request to forget cached translations of one address space.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Invalidation {
    ranges: [InvalidatedRange; Self::MAX_RANGES],
    space: AddressSpaceId,
    scope: Scope,
    /// The number of ranges that were pushed, and [`EVERYTHING`]: one byte, since it is stored each time
    /// that a page is mapped or unmapped.
    asked: u8,
}

impl Invalidation {
    /// The most ranges that one request names. A batch that gathered more asks for everything.
    pub const MAX_RANGES: usize = 8;

    /// A request for every translation of `space`, table entries included.
    #[must_use]
    pub fn everything(space: AddressSpaceId, scope: Scope) -> Self {
        Self {
            space,
            scope,
            asked: EVERYTHING,
            ranges: UNUSED,
        }
    }

    /// A request for one range of `space`.
    #[must_use]
    pub fn range(space: AddressSpaceId, scope: Scope, range: InvalidatedRange) -> Self {
        let mut request = Self::everything(space, scope);
        request.push_first(range);
        request
    }

    /// Makes `range` the only range.
    #[inline]
    pub(crate) fn push_first(&mut self, range: InvalidatedRange) {
        let [first, ..] = &mut self.ranges;
        *first = range;
        // Where single pages come and go it mostly is: a comparison is cheaper than a store that waits
        // behind others.
        if self.asked != 1 {
            self.asked = 1;
        }
    }

    /// Adds a range to those before: joins it to the newest if it is a part of the same, or if they touch and
    /// say the same, or puts it behind it if there is room. If there is none, joins it too, and asks for
    /// everything from then on.
    pub(crate) fn push(&mut self, range: &InvalidatedRange, is_part: bool) {
        let count = self.count();
        let Some(newest) = self.ranges.get_mut(count.wrapping_sub(1)) else {
            return self.push_first(*range);
        };
        if is_part || newest.is_continued_by(range) {
            newest.join(range);
        } else if count == Self::MAX_RANGES {
            newest.join(range);
            self.ask_for_everything();
        } else if let Some(slot) = self.ranges.get_mut(count) {
            *slot = *range;
            self.asked += 1;
        }
    }

    #[inline]
    fn count(&self) -> usize {
        usize::from(self.asked & !EVERYTHING)
    }

    /// Asks for everything from now on, and keeps the ranges.
    pub(crate) fn ask_for_everything(&mut self) {
        self.asked |= EVERYTHING;
    }

    /// Ranges that cover what was pushed, also where everything is asked for.
    #[inline]
    pub(crate) fn pushed(&self) -> &[InvalidatedRange] {
        self.ranges.get(..self.count()).unwrap_or_default()
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
        self.asked & EVERYTHING != 0
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
