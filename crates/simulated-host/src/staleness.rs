//! What a CPU can still do with a cached walk, against what the tables say now.

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use crate::memory::Reader;
use crate::tlb::CachedWalk;
use crate::violation::{Source, Violation};
use crate::walk::{Outcome, Permissions, Step, Walk, Walker};

/// The tables of one address space as they are now.
pub(crate) struct Present<'a> {
    pub(crate) memory: Reader<'a>,
    pub(crate) walker: &'a dyn Walker,
    pub(crate) root_register: u64,
}

/// What a cached walk leads to for one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) source: Source,
    pub(crate) walk: Walk,
}

/// How an outcome differs from the one that the tables give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// It permits less, or nothing.
    Less {
        /// It is a translation with fewer permissions.
        translates: bool,
    },
    /// It permits what the tables do not, or leads elsewhere.
    More,
}

impl Present<'_> {
    /// The walk that a CPU which remembers nothing does.
    pub(crate) fn walk(&self, gpa: u64) -> Walk {
        self.replay(self.root_register, &[], gpa)
    }

    /// The walk from `root_register` with `cached` entries in place of those in memory.
    fn replay(&self, root_register: u64, cached: &[Step], gpa: u64) -> Walk {
        let read = |address: HostPhysAddr| {
            let step = cached.iter().find(|step| step.address == address);
            step.map(|step| step.value)
                .or_else(|| self.memory.read(address))
        };
        let gpa = GuestPhysAddr::new(gpa);
        self.walker.walk(&read, root_register, gpa)
    }

    /// The number of entries of a cached walk, from the root down, that the tables still have.
    fn unchanged_steps(&self, walk: &Walk) -> usize {
        if walk.root_register() != self.root_register {
            return 0;
        }
        let same = |step: &&Step| self.memory.read(step.address) == Some(step.value);
        walk.steps().iter().take_while(same).count()
    }

    /// What a CPU can conclude for `gpa` from the parts of `cached` that the tables do not have any
    /// more. Nothing, if they have them all.
    pub(crate) fn views(&self, cached: &CachedWalk, gpa: u64) -> Vec<View> {
        let CachedWalk { walk, kept, .. } = cached;
        let unchanged = self.unchanged_steps(walk);
        let mut views = Vec::new();
        let mut add = |source, walk| views.push(View { source, walk });
        if unchanged < walk.steps().len() {
            if kept.result {
                add(Source::Translation, *walk);
            } else if kept.combined {
                add(Source::Combined, *walk);
            }
        }
        let tables = if kept.tables { walk.table_steps() } else { &[] };
        for (index, step) in tables.iter().enumerate().skip(unchanged) {
            let prefix = tables.get(..=index).unwrap_or_default();
            let continued = self.replay(walk.root_register(), prefix, gpa);
            add(Source::TableEntry(step.level), continued);
        }
        views
    }

    /// The first address for which a cached walk leads to a stale use; if there is none, the first
    /// for which it leads to a spurious fault.
    pub(crate) fn examine(
        &self,
        cpu: usize,
        cached: &CachedWalk,
        fault_drops_translation: bool,
    ) -> Option<Violation> {
        let last = cached.walk.last().as_u64();
        let mut gpa = cached.walk.gpa().as_u64();
        let mut spurious = None;
        loop {
            let views = self.views(cached, gpa);
            if views.is_empty() {
                return spurious;
            }
            let current = self.walk(gpa);
            let mut agreed_to = current.last().as_u64().min(last);
            for view in views {
                agreed_to = agreed_to.min(view.walk.last().as_u64());
                let violation = view
                    .violation(cpu, &current, gpa, fault_drops_translation)
                    .filter(|violation| !(cached.excused && is_of_absence(violation)));
                if matches!(violation, Some(Violation::Stale { .. })) {
                    return violation;
                }
                spurious = spurious.or(violation);
            }
            if agreed_to >= last {
                return spurious;
            }
            gpa = agreed_to.max(gpa) + 1;
        }
    }

    /// The violation of break-before-make that a cached walk proves, if any: it is valid, the tables
    /// have a valid entry for the same address, and the two must not be cached side by side.
    pub(crate) fn unbroken(&self, cpu: usize, cached: &CachedWalk) -> Option<Violation> {
        let CachedWalk { walk, kept, .. } = cached;
        if self.unchanged_steps(walk) == walk.steps().len() {
            return None;
        }
        let current = self.walk(walk.gpa().as_u64());
        let conflicts = (kept.tables && tables_conflict(walk, &current))
            || ((kept.result || kept.combined) && results_conflict(walk, &current));
        conflicts.then_some(Violation::BreakBeforeMake {
            cpu,
            gpa: walk.gpa(),
            cached: *walk,
            current,
        })
    }
}

/// Whether all that is wrong is that a CPU remembers nothing where something is.
fn is_of_absence(violation: &Violation) -> bool {
    let source = Source::Translation;
    matches!(violation, Violation::Spurious { source: of, cached: Outcome::Absent, .. } if *of == source)
}

impl View {
    fn difference(&self, current: &Walk, gpa: u64) -> Difference {
        use Outcome::{Fault, Translation};
        match (self.walk.outcome_at(gpa), current.outcome_at(gpa)) {
            (Translation(mine), Translation(theirs)) => {
                if mine.host != theirs.host
                    || mine.memory_type != theirs.memory_type
                    || !theirs.permissions.contains(mine.permissions)
                {
                    Difference::More
                } else if mine.permissions == theirs.permissions {
                    Difference::None
                } else {
                    Difference::Less { translates: true }
                }
            }
            (Translation(_), _) => Difference::More,
            // A walk through a stale table entry that ends in nonsense.
            (Fault, outcome) if matches!(self.source, Source::TableEntry(_)) => match outcome {
                Fault => Difference::None,
                _ => Difference::More,
            },
            (_, Translation(_)) => Difference::Less { translates: false },
            _ => Difference::None,
        }
    }

    /// The violation in an access to `gpa` through this view, if there is one.
    pub(crate) fn stale_use(&self, cpu: usize, current: &Walk, gpa: u64) -> Option<Violation> {
        self.violation(cpu, current, gpa, true)
            .filter(|violation| matches!(violation, Violation::Stale { .. }))
    }

    /// The violation in remembering this view of `gpa`, if there is one.
    fn violation(
        &self,
        cpu: usize,
        current: &Walk,
        gpa: u64,
        fault_drops_translation: bool,
    ) -> Option<Violation> {
        let source = self.source;
        let difference = self.difference(current, gpa);
        let (cached, current) = (self.walk.outcome_at(gpa), current.outcome_at(gpa));
        let gpa = GuestPhysAddr::new(gpa);
        match difference {
            Difference::None => None,
            Difference::Less { translates } if translates && fault_drops_translation => None,
            Difference::Less { .. } => Some(Violation::Spurious {
                cpu,
                gpa,
                source,
                cached,
                current,
            }),
            Difference::More => Some(Violation::Stale {
                cpu,
                gpa,
                source,
                cached,
                current,
            }),
        }
    }
}

/// Whether a walk ends in a translation with all of `permissions`.
pub(crate) fn permits(walk: &Walk, permissions: Permissions) -> bool {
    match walk.outcome() {
        Outcome::Translation(translation) => translation.permissions.contains(permissions),
        _ => false,
    }
}

/// Whether two results for the first byte of `cached` differ in address, size or memory type.
fn results_conflict(cached: &Walk, current: &Walk) -> bool {
    let gpa = cached.gpa().as_u64();
    match (cached.outcome_at(gpa), current.outcome_at(gpa)) {
        (Outcome::Translation(old), Outcome::Translation(new)) => {
            cached.size() != current.size()
                || old.host != new.host
                || old.memory_type != new.memory_type
        }
        _ => false,
    }
}

/// Whether a pointer to a table in `cached` is a valid entry of another kind, or to another table, in
/// `current`.
fn tables_conflict(cached: &Walk, current: &Walk) -> bool {
    let replaced = |(index, old): (usize, &Step)| {
        let new = current.steps().get(index);
        let Some(new) = new.filter(|new| new.address == old.address && new.value != old.value)
        else {
            return false;
        };
        match current.steps().get(index + 1) {
            // Both walks are for one address, so entries of one table have one address.
            Some(next) => {
                cached.steps().get(index + 1).map(|step| step.address) != Some(next.address)
            }
            None => new.level > 0 && matches!(current.outcome(), Outcome::Translation(_)),
        }
    };
    cached.table_steps().iter().enumerate().any(replaced)
}
