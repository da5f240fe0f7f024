//! What is allowed at each access.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use mapping_flags::MappingFlags;
use nested_page_table::watch::Access;
use nested_page_table::{Entry, Leaf};

use crate::world::{Found, Machine};

/// Judges the accesses of one operation.
pub(crate) struct Judge {
    machine: Machine,
    pages: Vec<u64>,
    before: Vec<Found>,
    after: Vec<Found>,
    /// A release fence came before whatever is stored now.
    fenced: bool,
    /// Entries that became absent and were not invalidated since.
    broken: BTreeSet<usize>,
    /// The invalidations so far.
    invalidations: usize,
    /// A word was written since the translations were looked at.
    written: bool,
}

impl Judge {
    pub(crate) fn new(machine: &Machine, pages: &[u64], after: Vec<Found>) -> Self {
        Self {
            machine: machine.clone(),
            pages: pages.to_vec(),
            before: machine.find(pages),
            after,
            fenced: false,
            broken: BTreeSet::new(),
            invalidations: machine.variant.host.requests().len(),
            written: true,
        }
    }

    /// Judges what is there now, and what is about to happen.
    pub(crate) fn see(&mut self, access: &Access) {
        self.note_invalidations();
        if self.written {
            self.judge_translations();
            self.written = false;
        }
        match *access {
            Access::Fence => self.fenced = true,
            Access::Store { word, value, order }
            | Access::Swap { word, value, order }
            | Access::CompareExchange {
                word, value, order, ..
            } => self.judge_write(word, value, order),
            Access::Load { .. } | Access::PlainLoad { .. } => {}
            Access::Private { first, count } => self.judge_private(first, count),
        }
    }

    fn note_invalidations(&mut self) {
        let invalidations = self.machine.variant.host.requests().len();
        if invalidations > self.invalidations {
            self.broken.clear();
        }
        self.invalidations = invalidations;
    }

    /// A walker finds what was there before, or what is there afterwards; nothing only for a moment where a
    /// leaf has to be broken, or taken out of the hardware's reach.
    fn judge_translations(&self) {
        let rules = self.machine.variant.rules;
        let may_break = rules.break_before_make || rules.hardware_writes_entries;
        let now = self.machine.find(&self.pages);
        for (index, page) in self.pages.iter().enumerate() {
            let (now, before, after) = (now[index], self.before[index], self.after[index]);
            let is_one = now == before || now == after || now.is_none() && may_break;
            assert!(
                is_one,
                "guest {page:#x} leads to {now:x?}, neither {before:x?} nor {after:x?}"
            );
        }
    }

    fn judge_write(&mut self, word: *const u64, value: u64, order: Ordering) {
        self.written = true;
        let Some((level, old)) = self.machine.entry_at(word) else {
            // No walker finds it.
            return;
        };
        let decode = &self.machine.variant.decode;
        let (old, new) = (decode(level, old), decode(level, value));
        let is_release = matches!(
            order,
            Ordering::Release | Ordering::AcqRel | Ordering::SeqCst
        );
        match (old, new) {
            (Entry::Table(one), Entry::Table(other)) if one == other => {}
            (_, Entry::Table(_)) => assert!(is_release, "a table is linked by {order:?}"),
            (Entry::Leaf(one), Entry::Leaf(other)) if one.address == other.address => {}
            (_, Entry::Leaf(_)) => assert!(
                is_release || self.fenced,
                "a leaf is stored by {order:?}, with no fence before"
            ),
            (_, Entry::Absent) => {}
        }
        if self.machine.variant.rules.break_before_make {
            let is_made = new != Entry::Absent && is_other(old, new);
            assert!(
                !(is_made && old != Entry::Absent),
                "{old:x?} becomes {new:x?} without being broken"
            );
            assert!(
                !(is_made && self.broken.contains(&(word as usize))),
                "{new:x?} is made before what was broken is invalidated"
            );
        }
        if old != Entry::Absent && new == Entry::Absent {
            self.broken.insert(word as usize);
        }
    }

    /// Nobody finds the words that are written without being watched.
    fn judge_private(&self, first: *const u64, count: usize) {
        let is_linked = self.machine.entry_at(first).is_some();
        assert!(
            !is_linked,
            "{count} words of a linked table count as private"
        );
    }
}

/// Whether the two differ in more than permissions.
fn is_other(old: Entry, new: Entry) -> bool {
    let fixed = |leaf: Leaf| {
        (
            leaf.address,
            leaf.flags.intersection(MappingFlags::MEMORY_TYPE),
        )
    };
    match (old, new) {
        (Entry::Leaf(old), Entry::Leaf(new)) => fixed(old) != fixed(new),
        (old, new) => old != new,
    }
}
