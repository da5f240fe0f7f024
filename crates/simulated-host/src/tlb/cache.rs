//! The memory of one CPU: walks, and which parts of them it still has.

use std::collections::BTreeMap;

use crate::tlb::Tag;
use crate::walk::{Outcome, Walk};

/// Parts of a walk that a CPU may keep, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Kept {
    /// The result, tagged by the guest-physical address. Absence is a result too.
    pub result: bool,
    /// The result combined with the guest's own translation, which no guest-physical address tags.
    pub combined: bool,
    /// The entries that point to tables.
    pub tables: bool,
}

impl Kept {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }

    fn join(&mut self, other: Self) {
        self.result |= other.result;
        self.combined |= other.combined;
        self.tables |= other.tables;
    }
}

/// A walk of which some parts are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedWalk {
    pub(crate) walk: Walk,
    pub(crate) kept: Kept,
    /// The CPU may remember that nothing was there until it faults for that, once.
    pub(crate) excused: bool,
}

impl CachedWalk {
    fn is_absent(&self) -> bool {
        self.walk.outcome() == Outcome::Absent
    }
}

/// A part of an address space in which a CPU forgot something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Region {
    pub(crate) tag: Tag,
    pub(crate) gpa: u64,
    pub(crate) last: u64,
}

/// The cached walks of one address space, by the first byte of their regions.
type Space = BTreeMap<u64, Vec<CachedWalk>>;

/// The cached walks of one CPU. Walks that differ in any entry are cached side by side: which one a
/// CPU uses is its choice.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    spaces: BTreeMap<Tag, Space>,
    disturbed: Vec<Region>,
}

impl Cache {
    /// The number of walks of which something is cached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.walks().count()
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.walks().next().is_none()
    }

    pub(crate) fn insert(&mut self, tag: Tag, walk: Walk, mut kept: Kept) {
        kept.tables &= !walk.table_steps().is_empty();
        if kept.is_nothing() {
            return;
        }
        let space = self.spaces.entry(tag).or_default();
        let same_start = space
            .entry(walk.gpa().as_u64())
            .or_insert_with(|| Vec::with_capacity(1));
        match same_start.iter_mut().find(|cached| cached.walk == walk) {
            Some(cached) => cached.kept.join(kept),
            None => same_start.push(CachedWalk {
                walk,
                kept,
                excused: false,
            }),
        }
    }

    /// Everything, with the tags.
    pub(crate) fn walks(&self) -> impl Iterator<Item = (Tag, &CachedWalk)> {
        self.spaces.iter().flat_map(|(&tag, space)| {
            let walks = space.values().flatten();
            walks.map(move |cached| (tag, cached))
        })
    }

    /// The walks with `tag` whose region has a byte in `first..=last`.
    pub(crate) fn walks_in(
        &self,
        tag: Tag,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = &CachedWalk> {
        let space = self.spaces.get(&tag);
        let around = starts_around(first).filter_map(move |start| space?.get(&start));
        let within = space
            .into_iter()
            .flat_map(move |space| space.range(first..=last.max(first)))
            .map(|(_, walks)| walks);
        around
            .chain(within)
            .flatten()
            .filter(move |cached| cached.walk.last().as_u64() >= first)
    }

    /// What is remembered of absent entries with `tag` in `first..=last` is `excused` from now on, or not.
    pub(crate) fn excuse_in(&mut self, tag: Tag, first: u64, last: u64, excused: bool) {
        let walks = self.spaces.get_mut(&tag).into_iter().flatten();
        for cached in walks.flat_map(|(_, walks)| walks) {
            let (start, end) = (cached.walk.gpa().as_u64(), cached.walk.last().as_u64());
            if cached.is_absent() && start <= last && end >= first {
                cached.excused = excused;
            }
        }
    }

    /// Applies `forget` to everything with `tag`, or to everything at all.
    pub(crate) fn forget(&mut self, tag: Option<Tag>, forget: impl FnMut(&Walk, &mut Kept)) {
        self.forget_in(tag, 0, u64::MAX, forget);
    }

    /// Applies `forget` to what [`walks_in`](Self::walks_in) finds, with one tag or with any.
    pub(crate) fn forget_in(
        &mut self,
        tag: Option<Tag>,
        first: u64,
        last: u64,
        mut forget: impl FnMut(&Walk, &mut Kept),
    ) {
        let disturbed = &mut self.disturbed;
        let mut forget_walk = |tag: Tag, cached: &mut CachedWalk| {
            let (gpa, end) = (cached.walk.gpa().as_u64(), cached.walk.last().as_u64());
            let before = cached.kept;
            if end >= first {
                forget(&cached.walk, &mut cached.kept);
            }
            if cached.kept != before {
                disturbed.push(Region {
                    tag,
                    gpa,
                    last: end,
                });
            }
            !cached.kept.is_nothing()
        };
        let chosen = |space: &(&Tag, &mut Space)| tag.is_none_or(|tag| *space.0 == tag);
        for (&tag, space) in self.spaces.iter_mut().filter(chosen) {
            let mut emptied = Vec::new();
            let mut forget_start = |start: u64, walks: &mut Vec<CachedWalk>| {
                walks.retain_mut(|cached| forget_walk(tag, cached));
                if walks.is_empty() {
                    emptied.push(start);
                }
            };
            for start in starts_around(first) {
                if let Some(walks) = space.get_mut(&start) {
                    forget_start(start, walks);
                }
            }
            for (&start, walks) in space.range_mut(first..=last.max(first)) {
                forget_start(start, walks);
            }
            for start in emptied {
                space.remove(&start);
            }
        }
    }

    /// Where something was forgotten since the last call.
    pub(crate) fn take_disturbed(&mut self) -> Vec<Region> {
        core::mem::take(&mut self.disturbed)
    }
}

/// Where regions of the five sizes start that hold `gpa` and start below it. Each once.
fn starts_around(gpa: u64) -> impl Iterator<Item = u64> {
    let mut above = gpa;
    [12, 21, 30, 39, 48].into_iter().filter_map(move |shift| {
        let start = gpa >> shift << shift;
        let is_new = start < above;
        above = start;
        is_new.then_some(start)
    })
}
