//! What one edit has changed and not yet invalidated.

use guest_addr::GuestPhysRange;

use crate::invalidation::{AddressSpaceId, InvalidatedRange, Invalidation, Scope};

/// The changes that wait for their invalidation, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Gather {
    request: Invalidation,
    /// The smallest range that covers every change, and what it needs altogether.
    hull: Option<InvalidatedRange>,
    /// More ranges than a request can name.
    overflowed: bool,
    /// Entries hold notes that the sweep after the invalidation has to look at.
    retired: bool,
    /// Stores were made that walkers have to see.
    stored: bool,
}

impl Gather {
    pub(crate) fn new(space: AddressSpaceId) -> Self {
        Self {
            request: Invalidation::everything(space, Scope::AllCpus),
            hull: None,
            overflowed: false,
            retired: false,
            stored: false,
        }
    }

    /// Notes that entries were stored, whether or not anything has to be invalidated.
    #[inline]
    pub(crate) fn note_stored(&mut self) {
        self.stored = true;
    }

    /// Notes that entries in the ranges gathered hold notes for the sweep.
    #[inline]
    pub(crate) fn note_retired(&mut self) {
        self.retired = true;
    }

    /// Adds a changed range. One that touches the newest and changed in the same way is joined to
    /// it.
    pub(crate) fn add(&mut self, changed: InvalidatedRange) {
        self.hull = Some(match self.hull {
            None => changed,
            Some(hull) => hull.joined(&changed),
        });
        let joined = self
            .request
            .newest()
            .is_some_and(|newest| join(newest, &changed));
        if !joined && !self.request.push(changed) {
            self.overflowed = true;
        }
    }

    /// Adds what an operation changed altogether.
    pub(crate) fn add_all(&mut self, changes: Changes) {
        if let Some(changed) = changes.joined {
            self.add(changed);
        }
    }

    /// Whether a change in `range` waits for its invalidation.
    pub(crate) fn overlaps(&self, range: &GuestPhysRange) -> bool {
        let hit = |changed: &InvalidatedRange| changed.range.overlaps(range);
        match &self.hull {
            None => false,
            Some(hull) if self.overflowed => hit(hull),
            Some(_) => self.request.ranges().iter().any(hit),
        }
    }

    /// Whether stores wait to be published.
    #[inline]
    pub(crate) fn has_stores(&self) -> bool {
        self.stored
    }

    /// Empties the gather and returns the request that covers it, if anything was changed, and the
    /// range to sweep, if entries hold notes.
    pub(crate) fn take(&mut self) -> (Option<Invalidation>, Option<GuestPhysRange>) {
        let space = self.request.space();
        let taken = core::mem::replace(self, Self::new(space));
        let Some(hull) = taken.hull else {
            return (None, None);
        };
        let request = match taken.overflowed {
            true => Invalidation::everything(space, Scope::AllCpus),
            false => taken.request,
        };
        (Some(request), taken.retired.then_some(hull.range))
    }
}

/// Joins `changed` to `newest` where that says exactly the same.
fn join(newest: &mut InvalidatedRange, changed: &InvalidatedRange) -> bool {
    let same_kind = (newest.level, newest.tables, newest.change)
        == (changed.level, changed.tables, changed.change);
    let touching = newest.range.is_followed_by(&changed.range)
        || changed.range.is_followed_by(&newest.range)
        || newest.range.overlaps(&changed.range);
    if same_kind && touching {
        *newest = newest.joined(changed);
    }
    same_kind && touching
}

/// Collects what one operation changes into a single range: between the entries that it changed lie
/// only holes, so that the range is no less precise than a list.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    joined: Option<InvalidatedRange>,
}

impl Changes {
    /// Adds what happened to one entry.
    #[inline]
    pub(crate) fn add(&mut self, changed: InvalidatedRange) {
        self.joined = Some(match self.joined {
            None => changed,
            Some(joined) => joined.joined(&changed),
        });
    }
}
