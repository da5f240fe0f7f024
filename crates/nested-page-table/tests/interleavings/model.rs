//! What a table maps, as a list of leaves: the operations one after another.

use std::collections::BTreeSet;

use crate::operation::{Leaf, Operation, Outcome};

const PAGE: u64 = 0x1000;

/// The leaves, and the entries that lead to tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    leaves: Vec<Leaf>,
    /// By start and size.
    divided: BTreeSet<(u64, u64)>,
    /// The sizes of entries, ascending.
    sizes: Vec<u64>,
}

impl Model {
    /// A table without leaves, with entries of `sizes`.
    pub(crate) fn new(sizes: Vec<u64>) -> Self {
        Self {
            sizes,
            ..Self::default()
        }
    }

    /// The leaves, in ascending order.
    pub(crate) fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = self.leaves.clone();
        leaves.sort_by_key(|leaf| leaf.start);
        leaves
    }

    fn leaf_over(&mut self, address: u64) -> Option<&mut Leaf> {
        let is_over = |leaf: &&mut Leaf| (leaf.start..leaf.start + leaf.size).contains(&address);
        self.leaves.iter_mut().find(is_over)
    }

    /// Adds a leaf that is known to be in nobody's way, with the tables above it.
    pub(crate) fn add(&mut self, leaf: Leaf) {
        let above = self.sizes.iter().filter(|size| **size > leaf.size);
        for size in above {
            self.divided.insert((leaf.start & !(size - 1), *size));
        }
        self.leaves.push(leaf);
    }

    /// Does `operation`, and returns what comes of it if nothing else happens meanwhile.
    pub(crate) fn apply(&mut self, operation: Operation) -> Outcome {
        match operation {
            Operation::Fill {
                start,
                size,
                host,
                flags,
            } => self.fill(Leaf {
                start,
                size,
                host,
                flags,
            }),
            Operation::Raise {
                address,
                permissions,
            } => match self.leaf_over(address) {
                None => Outcome::Absent,
                Some(leaf) if leaf.flags.contains(permissions) => Outcome::Unchanged(*leaf),
                Some(leaf) => {
                    leaf.flags |= permissions;
                    Outcome::Raised(*leaf)
                }
            },
            Operation::Mark { address } => {
                let leaf = self.leaf_over(address);
                leaf.map_or(Outcome::Absent, |leaf| Outcome::Marked(*leaf))
            }
            Operation::Split { address, largest } => self.split(address, 1 << largest.shift()),
            Operation::FailingSplit { address, largest } => match self.leaf_over(address) {
                None => Outcome::Absent,
                Some(leaf) if leaf.size <= 1 << largest.shift() => Outcome::Unchanged(*leaf),
                Some(_) => Outcome::NotInvalidated,
            },
            Operation::Translate { address } => Outcome::Found(self.leaf_over(address).copied()),
            Operation::Touch { address, write } => {
                let needs = match write {
                    true => mapping_flags::MappingFlags::WRITE,
                    false => mapping_flags::MappingFlags::READ,
                };
                let leaf = self.leaf_over(address);
                Outcome::Touched(leaf.is_some_and(|leaf| leaf.flags.contains(needs)))
            }
            Operation::Access { .. } => panic!("an access consists of other operations"),
        }
    }

    fn fill(&mut self, leaf: Leaf) -> Outcome {
        if let Some(there) = self.leaf_over(leaf.start)
            && there.size >= leaf.size
        {
            return Outcome::Present(*there);
        }
        if self.divided.contains(&(leaf.start, leaf.size)) {
            return Outcome::Divided;
        }
        self.add(leaf);
        Outcome::Filled
    }

    fn split(&mut self, address: u64, largest: u64) -> Outcome {
        let Some(leaf) = self.leaf_over(address).copied() else {
            return Outcome::Absent;
        };
        if leaf.size <= largest {
            return Outcome::Unchanged(leaf);
        }
        self.leaves.retain(|other| *other != leaf);
        self.divided.insert((leaf.start, leaf.size));
        let below = leaf.size / 512;
        for number in 0..512 {
            let offset = number * below;
            self.add(Leaf {
                start: leaf.start + offset,
                size: below,
                host: leaf.host + offset,
                flags: leaf.flags,
            });
        }
        if below > largest.max(PAGE) {
            self.split(address, largest);
        }
        Outcome::Split
    }
}
