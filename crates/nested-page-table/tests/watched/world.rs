//! A table on a machine, and what a page walker finds in it.

use std::rc::Rc;

use guest_addr::HostPhysAddr;
use nested_page_table::{Entry, Level, UnmappedLeaf};
use reference_mmu::MemoryKind;

use crate::variant::{Table, Variant};

/// What one page leads to, for a page walker.
pub(crate) type Found = Option<(u64, reference_mmu::Permissions, MemoryKind)>;

/// What can be done to a table. Leaves that it reports are noted.
pub(crate) type Work = fn(&mut dyn Table, &mut Vec<UnmappedLeaf>);

/// A machine on which one operation is watched.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) variant: Rc<Variant>,
    register: u64,
    root: HostPhysAddr,
}

/// A table and its machine. The table comes first: it is dropped before the machine.
pub(crate) struct World {
    pub(crate) table: Box<dyn Table>,
    pub(crate) machine: Machine,
}

impl World {
    pub(crate) fn new(variant: Variant, set_up: Work) -> Self {
        let variant = Rc::new(variant);
        let mut table = (variant.new_table)(variant.host).expect("a table");
        set_up(&mut *table, &mut Vec::new());
        let (register, root) = (table.root_register(), table.root());
        Self {
            table,
            machine: Machine {
                variant,
                register,
                root,
            },
        }
    }
}

impl Machine {
    /// What a walker finds for each of `pages`.
    pub(crate) fn find(&self, pages: &[u64]) -> Vec<Found> {
        let memory = self.variant.host.memory();
        let leaves = self.variant.reference.leaves(memory, self.register);
        let find = |page: &u64| {
            let leaf = leaves
                .iter()
                .find(|leaf| (leaf.guest..leaf.guest + leaf.size).contains(page))?;
            let host = leaf.host + (page - leaf.guest);
            Some((host, leaf.permissions, leaf.kind))
        };
        pages.iter().map(find).collect()
    }

    /// The hardware accesses `page`, if it may. Says whether it did.
    pub(crate) fn touch(&self, page: u64) -> bool {
        let memory = self.variant.host.memory();
        self.variant
            .reference
            .touch(memory, self.register, page, true)
    }

    /// Whether the leaf over `page` was accessed, and written to.
    pub(crate) fn state(&self, page: u64) -> (bool, bool) {
        let memory = self.variant.host.memory();
        self.variant.reference.state(memory, self.register, page)
    }

    /// The level of the entry at `word` and what stands in it, if its table is linked.
    pub(crate) fn entry_at(&self, word: *const u64) -> Option<(Level, u64)> {
        let geometry = &self.variant.geometry;
        let entries = geometry.entries(geometry.root_level());
        self.entry_below(word, self.root, geometry.root_level(), entries)
    }

    fn entry_below(
        &self,
        word: *const u64,
        table: HostPhysAddr,
        level: Level,
        entries: usize,
    ) -> Option<(Level, u64)> {
        let memory = self.variant.host.memory();
        let at = |index: usize| HostPhysAddr::new(table.as_u64() + 8 * index as u64);
        let first = memory.pointer(table)?.as_ptr() as usize;
        let offset = (word as usize).wrapping_sub(first);
        if offset < 8 * entries {
            return Some((level, memory.read(at(offset / 8))?));
        }
        let below = level.below()?;
        (0..entries).find_map(
            |index| match (self.variant.decode)(level, memory.read(at(index))?) {
                Entry::Table(child) => self.entry_below(word, child, below, 512),
                _ => None,
            },
        )
    }
}
