//! The memory of one CPU: walks, and which parts of them it still has.

use std::collections::BTreeMap;

use crate::tlb::Tag;
use crate::walk::Walk;

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
}

/// A part of an address space in which a CPU forgot something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Region {
    pub(crate) tag: Tag,
    pub(crate) gpa: u64,
    pub(crate) last: u64,
}

/// The cached walks of one CPU. Walks that differ in any entry are cached side by side: which one a
/// CPU uses is its choice.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    spaces: BTreeMap<Tag, BTreeMap<u64, Vec<CachedWalk>>>,
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
        let same_start = space.entry(walk.gpa().as_u64()).or_default();
        match same_start.iter_mut().find(|cached| cached.walk == walk) {
            Some(cached) => cached.kept.join(kept),
            None => same_start.push(CachedWalk { walk, kept }),
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
        let keys = space.map_or_else(Vec::new, |space| keys_in(space, first, last));
        let walks = keys
            .into_iter()
            .filter_map(move |key| space?.get(&key))
            .flatten();
        walks.filter(move |cached| cached.walk.last().as_u64() >= first)
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
        for (&tag, space) in self
            .spaces
            .iter_mut()
            .filter(|(t, _)| tag.is_none_or(|tag| **t == tag))
        {
            for key in keys_in(space, first, last) {
                let Some(walks) = space.get_mut(&key) else {
                    continue;
                };
                walks.retain_mut(|cached| {
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
                });
                if walks.is_empty() {
                    space.remove(&key);
                }
            }
        }
    }

    /// Where something was forgotten since the last call.
    pub(crate) fn take_disturbed(&mut self) -> Vec<Region> {
        core::mem::take(&mut self.disturbed)
    }
}

/// The keys of walks that may have a byte in `first..=last`: those that start there, and those that
/// start where a region of one of the five sizes around `first` does.
fn keys_in(space: &BTreeMap<u64, Vec<CachedWalk>>, first: u64, last: u64) -> Vec<u64> {
    let mut around: Vec<u64> = [12, 21, 30, 39, 48]
        .into_iter()
        .map(|shift| first >> shift << shift)
        .filter(|start| *start < first && space.contains_key(start))
        .collect();
    around.dedup();
    around.extend(space.range(first..=last.max(first)).map(|(key, _)| *key));
    around
}
