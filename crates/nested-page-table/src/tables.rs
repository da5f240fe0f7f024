//! The tree of tables: reading entries and following them down.
#![expect(
    unsafe_code,
    reason = "turns the addresses of live tables into their entries"
)]

use core::sync::atomic::{AtomicU64, Ordering};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::entry::Entry;
use crate::format::Format;
use crate::geometry::Geometry;
use crate::host::TableHost;
use crate::invalidation::AddressSpaceId;
use crate::level::Level;
use crate::mapping::Mapping;
use crate::policy::LeafPolicy;
use crate::slots::span_of;
use crate::words;

/// A table that is linked into the tree, or the root.
///
/// Invariant: made by [`Tables::root`], or by [`Tables::child`] from an entry of such a table, and
/// used only while the table is linked or was unlinked and not yet given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) address: HostPhysAddr,
    pub(crate) level: Level,
}

/// A tree of tables and what is needed to read it.
///
/// Invariants:
///
/// - `root` is a run of `geometry.root_frames()` frames from `host.frames()`, every table below it
///   one frame; all stay out until the tree gives them back;
/// - each table has one parent entry, and every table entry was written by this crate;
/// - the words of linked tables are accessed through atomics only.
#[derive(Debug)]
pub(crate) struct Tables<F: Format, H: TableHost> {
    pub(crate) format: F,
    pub(crate) host: H,
    pub(crate) root: HostPhysAddr,
    pub(crate) space: AddressSpaceId,
    pub(crate) policy: LeafPolicy,
}

impl<F: Format, H: TableHost> Tables<F, H> {
    #[inline]
    pub(crate) fn geometry(&self) -> &Geometry {
        self.format.geometry()
    }

    #[inline]
    pub(crate) fn frames(&self) -> &H::Frames {
        self.host.frames()
    }

    #[inline]
    pub(crate) fn root(&self) -> Table {
        Table {
            address: self.root,
            level: self.geometry().root_level(),
        }
    }

    /// The table that an entry of `parent` points to at `address`, or `None` below the pages.
    #[inline]
    pub(crate) fn child(&self, parent: Table, address: HostPhysAddr) -> Option<Table> {
        Some(Table {
            address,
            level: parent.level.below()?,
        })
    }

    /// The entries of a table.
    #[inline]
    pub(crate) fn entries(&self, table: Table) -> &[AtomicU64] {
        let count = self.geometry().entries(table.level);
        // SAFETY: by the invariants of `Table` and `Tables` the table has `count` words that came
        // from these frames and stay out; private slices are made of unlinked frames only.
        unsafe { words::live(self.frames(), table.address, count) }
    }

    /// The entry of `table` that translates `address`.
    #[inline]
    pub(crate) fn entry(&self, table: Table, address: GuestPhysAddr) -> Option<&AtomicU64> {
        self.entries(table)
            .get(self.geometry().index(table.level, address))
    }

    #[inline]
    pub(crate) fn decode(&self, level: Level, entry: &AtomicU64) -> Entry {
        self.format.decode(level, entry.load(Ordering::Acquire))
    }

    /// The lowest table of which `range` is a part, and not all: where the range covers all that a
    /// table translates, the entry that points to the table is part of the matter.
    #[inline]
    pub(crate) fn lowest_over(&self, range: &GuestPhysRange) -> Table {
        let (start, last) = (range.start().as_u64(), range.last().as_u64());
        let mut table = self.root();
        loop {
            let below = self.geometry().entry_size(table.level) - 1;
            let in_one_entry = (start ^ last) & !below == 0;
            let covers_it = start & below == 0 && last & below == below;
            if !in_one_entry || covers_it {
                return table;
            }
            let entry = self.entry(table, range.start());
            let next = match entry.map(|entry| self.decode(table.level, entry)) {
                Some(Entry::Table(address)) => self.child(table, address),
                _ => None,
            };
            match next {
                Some(child) => table = child,
                None => return table,
            }
        }
    }

    /// The leaf below `table` that translates `address`.
    #[inline]
    pub(crate) fn leaf_below(&self, mut table: Table, address: GuestPhysAddr) -> Option<Mapping> {
        loop {
            match self.decode(table.level, self.entry(table, address)?) {
                Entry::Absent => return None,
                Entry::Table(next) => table = self.child(table, next)?,
                Entry::Leaf(leaf) => {
                    let guest = span_of(self.geometry(), table.level, address);
                    let (host, flags, level) = (leaf.address, leaf.flags, table.level);
                    return Some(Mapping {
                        guest,
                        host,
                        flags,
                        level,
                    });
                }
            }
        }
    }

    /// The highest level for a leaf with `flags` where guest and host address differ by `delta`.
    pub(crate) fn largest_leaf(&self, flags: mapping_flags::MappingFlags, delta: u64) -> Level {
        let cap = self
            .policy
            .largest_for(flags)
            .min(self.geometry().largest_leaf());
        let aligned = |level: &Level| delta & (self.geometry().entry_size(*level) - 1) == 0;
        cap.up_to().rev().find(aligned).unwrap_or(Level::PAGE_4K)
    }
}
