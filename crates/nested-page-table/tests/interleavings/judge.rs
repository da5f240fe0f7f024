//! What is allowed at each access, while others look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use guest_addr::HostPhysAddr;
use nested_page_table::watch::Access;
use nested_page_table::{Entry, Geometry, Level};

use simulated_host::SimulatedHost;

/// What is known of a machine.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) host: &'static SimulatedHost,
    pub(crate) geometry: Geometry,
    pub(crate) absent: u64,
    pub(crate) decode: Arc<dyn Fn(Level, u64) -> Entry + Send + Sync>,
}

/// Judges the accesses of all actors. One that is not allowed panics in the actor that makes it.
pub(crate) struct Judge {
    /// The first word of each table that is linked, with its address, its level and its number of entries.
    tables: BTreeMap<usize, (HostPhysAddr, Level, usize)>,
    /// Who left a note in which word, and the number of invalidations by then.
    notes: BTreeMap<usize, (usize, usize)>,
    /// When entries were frozen.
    pub(crate) frozen: Vec<(usize, usize)>,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Absent,
    Note,
    Leaf(HostPhysAddr),
    Table(HostPhysAddr),
}

/// How a word is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Store,
    Exchange,
}

impl Judge {
    pub(crate) fn new(facts: &Facts, root: HostPhysAddr) -> Self {
        let mut judge = Self {
            tables: BTreeMap::new(),
            notes: BTreeMap::new(),
            frozen: Vec::new(),
        };
        let level = facts.geometry.root_level();
        judge.add(facts, root, level, facts.geometry.entries(level));
        judge
    }

    /// The number of tables that are linked, the root included.
    pub(crate) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Whether an entry is frozen now.
    pub(crate) fn is_any_frozen(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Notes a table with all below.
    fn add(&mut self, facts: &Facts, table: HostPhysAddr, level: Level, entries: usize) {
        let memory = facts.host.memory();
        let first = memory.pointer(table).unwrap().as_ptr() as usize;
        let known = self.tables.insert(first, (table, level, entries));
        assert!(known.is_none(), "a table is linked twice");
        let Some(below) = level.below() else {
            return;
        };
        for index in 0..entries {
            let word = memory.read(at(table, index)).unwrap();
            if let Entry::Table(child) = (facts.decode)(level, word) {
                self.add(facts, child, below, 512);
            }
        }
    }

    /// The level of the entry at `word`, and where it is, if its table is linked.
    fn entry(&self, word: *const u64) -> Option<(Level, HostPhysAddr)> {
        let word = word as usize;
        let (first, (table, level, entries)) = self.tables.range(..=word).next_back()?;
        let index = (word - first) / 8;
        (index < *entries).then(|| (*level, at(*table, index)))
    }

    /// Judges `access` of `actor`, which is about to happen at the moment `now`.
    pub(crate) fn see(&mut self, facts: &Facts, actor: usize, access: &Access, now: usize) {
        match *access {
            Access::Load { word, order } => self.judge_load(facts, word, order),
            Access::PlainLoad { .. } => panic!("a plain load through a shared reference"),
            Access::Store { word, value, order } => {
                self.judge_write(facts, actor, word, (value, order, Write::Store), now);
            }
            Access::Swap { word, value, order } => {
                self.judge_write(facts, actor, word, (value, order, Write::Exchange), now);
            }
            Access::CompareExchange {
                word,
                expected,
                value,
                order,
            } => {
                let found = self
                    .entry(word)
                    .map(|(_, place)| facts.host.memory().read(place).unwrap());
                if found.is_none_or(|found| found == expected) {
                    self.judge_write(facts, actor, word, (value, order, Write::Exchange), now);
                }
            }
            Access::Fence => {}
            Access::Private { first, .. } => assert!(
                self.entry(first).is_none(),
                "words of a linked table count as private"
            ),
        }
    }

    /// What is followed was loaded with acquire.
    fn judge_load(&self, facts: &Facts, word: *const u64, order: Ordering) {
        let Some((level, place)) = self.entry(word) else {
            panic!("a word is read in a table that is not linked");
        };
        let bits = facts.host.memory().read(place).unwrap();
        let is_followed = (facts.decode)(level, bits) != Entry::Absent;
        assert!(
            !is_followed || order == Ordering::Acquire,
            "{bits:#x} is loaded by {order:?}"
        );
    }

    fn judge_write(
        &mut self,
        facts: &Facts,
        actor: usize,
        word: *const u64,
        (value, order, write): (u64, Ordering, Write),
        now: usize,
    ) {
        let (level, place) = self.entry(word).expect("a linked table is written");
        let bits = facts.host.memory().read(place).unwrap();
        let (old, new) = (read(facts, level, bits), read(facts, level, value));
        let releases = matches!(order, Ordering::Release | Ordering::AcqRel);
        if new != Word::Absent {
            assert!(releases, "{value:#x} is written by {order:?}");
        }
        let is_ours = write == Write::Exchange;
        match (old, new) {
            (Word::Absent, Word::Leaf(_) | Word::Table(_)) => {
                assert!(is_ours, "an absent entry is filled by a plain store");
            }
            (Word::Leaf(one), Word::Leaf(other)) => {
                assert!(is_ours && one == other, "{bits:#x} becomes {value:#x}");
            }
            (Word::Leaf(_), Word::Note) => {
                assert!(is_ours, "a leaf is frozen by a plain store");
                let invalidations = facts.host.requests().len();
                self.notes.insert(word as usize, (actor, invalidations));
                self.frozen.push((now, usize::MAX));
            }
            (Word::Note, Word::Leaf(_) | Word::Table(_)) => {
                let note = self.notes.remove(&(word as usize));
                let (owner, invalidations) = note.expect("a note from before is overwritten");
                assert_eq!(owner, actor, "somebody else's note is overwritten");
                if let Word::Table(_) = new {
                    let asked = facts.host.requests().len() > invalidations;
                    assert!(asked, "a table is linked before the leaf was invalidated");
                }
                let last = self.frozen.iter_mut().rfind(|(_, to)| *to == usize::MAX);
                last.unwrap().1 = now;
            }
            _ => panic!("{old:x?} becomes {new:x?}"),
        }
        if let (Word::Table(table), Some(below)) = (new, level.below()) {
            self.add(facts, table, below, 512);
        }
    }
}

fn at(table: HostPhysAddr, index: usize) -> HostPhysAddr {
    HostPhysAddr::new(table.as_u64() + 8 * index as u64)
}

fn read(facts: &Facts, level: Level, bits: u64) -> Word {
    match (facts.decode)(level, bits) {
        Entry::Leaf(leaf) => Word::Leaf(leaf.address),
        Entry::Table(table) => Word::Table(table),
        Entry::Absent if bits == facts.absent => Word::Absent,
        Entry::Absent => Word::Note,
    }
}
