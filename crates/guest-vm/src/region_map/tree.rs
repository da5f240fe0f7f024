//! Regions in a B+ tree: a change moves what lies in one leaf.
//!
//! Three things differ from a textbook's tree:
//!
//! - **The leaf of the last change is remembered.** Each leaf knows the addresses that belong to it, so a
//!   change near the last one walks no tree, however many regions there are.
//! - **Nodes are reserved.** [`reserve`](RegionTree::reserve) takes the nodes that a change may need; the
//!   change itself allocates nothing and cannot fail.
//! - **A node goes when it is empty**, and is not merged with its neighbours before ("free-at-empty":
//!   T. Johnson and D. Shasha, "B-Trees with Inserts and Deletes: Why Free-at-Empty Is Better than
//!   Merge-at-Half", 1993). Nodes are split on the way down, so a node above a full one has room.

use core::iter;

use arrayvec::ArrayVec;
use guest_addr::{GuestPhysAddr, GuestPhysRange};

use super::slab::Slab;
use crate::error::VmError;
use crate::region::Region;

/// How many regions a leaf holds.
const LEAF_REGIONS: usize = 16;
/// How many nodes an inner node leads to.
const INNER_CHILDREN: usize = 32;
/// More levels than a tree ever has. One more needs a full root, whose children were each split off a full node:
/// so it takes at least eight times the insertions of the last one.
const MAX_HEIGHT: usize = 24;

/// The regions that begin at addresses from `first` to `last`, in order. A leaf is empty only if it is the
/// only one.
#[derive(Debug)]
struct Leaf {
    first: GuestPhysAddr,
    last: GuestPhysAddr,
    regions: ArrayVec<Region, LEAF_REGIONS>,
    previous: Option<u32>,
    next: Option<u32>,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            first: GuestPhysAddr::ZERO,
            last: GuestPhysAddr::LAST,
            regions: ArrayVec::new(),
            previous: None,
            next: None,
        }
    }
}

impl Leaf {
    /// Whether a region that begins at `address` belongs here.
    #[inline]
    fn is_for(&self, address: GuestPhysAddr) -> bool {
        self.first <= address && address <= self.last
    }

    /// How many regions begin at `address` or below.
    #[inline]
    fn count_up_to(&self, address: GuestPhysAddr) -> usize {
        self.regions
            .partition_point(|region| region.guest.start() <= address)
    }
}

/// A node of the level below, and the first address that belongs to it. What comes before the first child's
/// address belongs to the first child too.
#[derive(Clone, Copy, Debug)]
struct Child {
    start: GuestPhysAddr,
    node: u32,
}

#[derive(Debug, Default)]
struct Inner {
    children: ArrayVec<Child, INNER_CHILDREN>,
}

impl Inner {
    /// The position of the child that `address` belongs to.
    #[inline]
    fn position_of(&self, address: GuestPhysAddr) -> usize {
        self.children
            .partition_point(|child| child.start <= address)
            .saturating_sub(1)
    }

    #[inline]
    fn child_of(&self, address: GuestPhysAddr) -> Option<u32> {
        let child = self.children.get(self.position_of(address))?;
        Some(child.node)
    }
}

/// Where a region is, until the next insertion or removal. Small, so that it is passed in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    #[inline]
    const fn new(leaf: u32, position: usize) -> Self {
        Self((leaf as u64) << 32 | position as u32 as u64)
    }

    #[inline]
    const fn leaf(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    const fn position(self) -> usize {
        self.0 as u32 as usize
    }
}

/// Where a region can be inserted, until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy {
    place: Place,
    pub(super) around: Around,
}

/// What is next to the place for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Around {
    /// Nothing that touches it.
    Free,
    /// A region that begins or ends where it would end or begin.
    Touching,
    /// A region that has a byte of it: there is no place.
    Occupied,
}

/// Disjoint regions by ascending address.
#[derive(Debug)]
pub(super) struct RegionTree {
    leaves: Slab<Leaf>,
    inner: Slab<Inner>,
    /// A leaf if the height is 0, else an inner node. The first leaf, number 0, comes with the first
    /// reservation.
    root: u32,
    height: usize,
    /// The leaf of the last change.
    recent: u32,
}

impl Default for RegionTree {
    fn default() -> Self {
        Self {
            leaves: Slab::new(),
            inner: Slab::new(),
            root: 0,
            height: 0,
            recent: 0,
        }
    }
}

impl RegionTree {
    /// Makes sure that the next `insertions` succeed.
    #[inline]
    pub(super) fn reserve(&mut self, insertions: usize) -> Result<(), VmError> {
        if self.leaves.is_empty() {
            self.leaves.reserve(1)?;
            self.leaves.take();
        }
        // A small tree is one leaf, and needs no second one before that is full.
        let room = |leaf: &Leaf| leaf.regions.remaining_capacity() >= insertions;
        if self.height == 0 && self.leaves.get(self.recent).is_some_and(room) {
            return Ok(());
        }
        self.leaves.reserve(insertions)?;
        // One for each level that is split, and a new root.
        let levels = self.height.saturating_add(1);
        self.inner.reserve(insertions.saturating_mul(levels))
    }

    #[inline]
    pub(super) fn get(&self, place: Place) -> Option<&Region> {
        self.leaves.get(place.leaf())?.regions.get(place.position())
    }

    /// The region at `place`, to change everything but its start.
    #[inline]
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Region> {
        let leaf = self.leaves.get_mut(place.leaf())?;
        leaf.regions.get_mut(place.position())
    }

    pub(super) fn first(&self) -> Option<Place> {
        self.first_ending_at_or_after(GuestPhysAddr::ZERO)
    }

    pub(super) fn last(&self) -> Option<Place> {
        let leaf = self.leaf_of(GuestPhysAddr::LAST)?;
        let position = self.leaves.get(leaf)?.regions.len().checked_sub(1)?;
        Some(Place::new(leaf, position))
    }

    #[inline]
    pub(super) fn next(&self, place: Place) -> Option<Place> {
        let after = place.position().saturating_add(1);
        self.here_or_next(Place::new(place.leaf(), after))
    }

    #[inline]
    pub(super) fn previous(&self, place: Place) -> Option<Place> {
        if let Some(before) = place.position().checked_sub(1) {
            return Some(Place::new(place.leaf(), before));
        }
        let leaf = self.leaves.get(place.leaf())?.previous?;
        let position = self.leaves.get(leaf)?.regions.len().checked_sub(1)?;
        Some(Place::new(leaf, position))
    }

    /// The regions from `place` on.
    #[inline]
    pub(super) fn from(&self, place: Option<Place>) -> impl Iterator<Item = &Region> {
        iter::successors(place, |place| self.next(*place)).map_while(|place| self.get(place))
    }

    /// The regions from the last one down.
    pub(super) fn backwards(&self) -> impl Iterator<Item = &Region> {
        iter::successors(self.last(), |place| self.previous(*place))
            .map_while(|place| self.get(place))
    }

    /// The first region that has a byte at `address` or above.
    #[inline]
    pub(super) fn first_ending_at_or_after(&self, address: GuestPhysAddr) -> Option<Place> {
        let leaf = self.leaf_of(address)?;
        let node = self.leaves.get(leaf)?;
        let above = Place::new(leaf, node.count_up_to(address));
        if let Some(below) = self.previous(above)
            && self.get(below)?.guest.last() >= address
        {
            return Some(below);
        }
        self.here_or_next(above)
    }

    /// `place` if there is a region, or the first of the next leaf.
    #[inline]
    fn here_or_next(&self, place: Place) -> Option<Place> {
        let leaf = self.leaves.get(place.leaf())?;
        match leaf.regions.get(place.position()) {
            Some(_) => Some(place),
            None => leaf.next.map(|leaf| Place::new(leaf, 0)),
        }
    }

    /// The leaf that regions which begin at `address` belong to.
    #[inline]
    fn leaf_of(&self, address: GuestPhysAddr) -> Option<u32> {
        match self.leaves.get(self.recent) {
            Some(leaf) if leaf.is_for(address) => Some(self.recent),
            _ => self.walk_to(address),
        }
    }

    fn walk_to(&self, address: GuestPhysAddr) -> Option<u32> {
        let mut node = self.root;
        for _ in 0..self.height {
            node = self.inner.get(node)?.child_of(address)?;
        }
        Some(node)
    }

    /// Where a region with `range` goes, and what is around that place.
    #[inline]
    pub(super) fn vacancy(&self, range: &GuestPhysRange) -> Vacancy {
        let leaf = self.leaf_of(range.start()).unwrap_or(self.root);
        let position = self
            .leaves
            .get(leaf)
            .map(|node| node.count_up_to(range.start()));
        let place = Place::new(leaf, position.unwrap_or(0));
        let before = self.neighbour(self.previous(place), range);
        let behind = self.neighbour(self.here_or_next(place), range);
        let around = before.max(behind);
        Vacancy { place, around }
    }

    /// Where the region at `place` is, as `range` sees it.
    #[inline]
    fn neighbour(&self, place: Option<Place>, range: &GuestPhysRange) -> Around {
        let Some(region) = place.and_then(|place| self.get(place)) else {
            return Around::Free;
        };
        if region.guest.overlaps(range) {
            Around::Occupied
        } else if region.guest.is_followed_by(range) || range.is_followed_by(&region.guest) {
            Around::Touching
        } else {
            Around::Free
        }
    }

    /// Adds a region in the place that was found for it. There is a [reservation](Self::reserve).
    #[inline]
    pub(super) fn insert(&mut self, region: Region, vacancy: Vacancy) -> Option<Place> {
        let mut place = vacancy.place;
        if self.leaves.get(place.leaf())?.regions.is_full() {
            let start = region.guest.start();
            self.make_room(start)?;
            let leaf = self.leaf_of(start)?;
            place = Place::new(leaf, self.leaves.get(leaf)?.count_up_to(start));
        }
        self.recent = place.leaf();
        let node = self.leaves.get_mut(place.leaf())?;
        node.regions.try_insert(place.position(), region).ok()?;
        Some(place)
    }

    /// Removes the region at `place`, and returns where the next one is.
    #[inline]
    pub(super) fn remove(&mut self, place: Place) -> Option<Place> {
        let next = self.next(place);
        let node = self.leaves.get_mut(place.leaf())?;
        node.regions.pop_at(place.position())?;
        self.recent = place.leaf();
        if node.regions.is_empty() {
            self.remove_leaf(place.leaf());
        }
        match next {
            // It moved to where the removed one was.
            Some(next) if next.leaf() == place.leaf() => Some(place),
            next => next,
        }
    }

    /// Splits the nodes on the way to `start` that are full, the leaf included.
    #[cold]
    fn make_room(&mut self, start: GuestPhysAddr) -> Option<()> {
        self.grow_at_root()?;
        let mut above = self.root;
        for level in (0..self.height).rev() {
            let position = self.inner.get(above)?.position_of(start);
            let below = self.inner.get(above)?.children.get(position)?.node;
            let split = match level {
                0 => self.split_leaf(below, start),
                _ => self.split_inner(below),
            };
            if let Some(right) = split {
                let children = &mut self.inner.get_mut(above)?.children;
                children
                    .try_insert(position.saturating_add(1), right)
                    .ok()?;
            }
            above = self.inner.get(above)?.child_of(start)?;
        }
        Some(())
    }

    /// Puts a new root above one that is full.
    fn grow_at_root(&mut self) -> Option<()> {
        let root = self.root;
        let is_full = match self.height {
            0 => self.leaves.get(root)?.regions.is_full(),
            _ => self.inner.get(root)?.children.is_full(),
        };
        if is_full {
            let new = self.inner.take()?;
            self.inner.get_mut(new)?.children.push(Child {
                start: GuestPhysAddr::ZERO,
                node: root,
            });
            self.root = new;
            self.height = self.height.saturating_add(1);
        }
        Some(())
    }

    /// Moves the upper half of a full inner node into a new one, which is returned.
    fn split_inner(&mut self, node: u32) -> Option<Child> {
        if !self.inner.get(node)?.children.is_full() {
            return None;
        }
        let new = self.inner.take()?;
        let upper = INNER_CHILDREN / 2..;
        let moved: ArrayVec<_, INNER_CHILDREN> =
            self.inner.get_mut(node)?.children.drain(upper).collect();
        let start = moved.first()?.start;
        self.inner.get_mut(new)?.children = moved;
        Some(Child { start, node: new })
    }

    /// Moves the upper half of a full leaf into a new one, which is returned. If `start` is above all of it,
    /// nothing moves: who inserts in ascending order gets full leaves.
    fn split_leaf(&mut self, left: u32, start: GuestPhysAddr) -> Option<Child> {
        let node = self.leaves.get(left)?;
        if !node.regions.is_full() {
            return None;
        }
        let kept = match node.count_up_to(start) {
            LEAF_REGIONS => LEAF_REGIONS,
            _ => LEAF_REGIONS / 2,
        };
        let first = node.regions.get(kept).map(|region| region.guest.start());
        let first = first.unwrap_or(start);
        let (last, next) = (node.last, node.next);
        let right = self.leaves.take()?;
        let node = self.leaves.get_mut(left)?;
        node.next = Some(right);
        node.last = first.checked_sub(1)?;
        let regions = node.regions.drain(kept..).collect();
        *self.leaves.get_mut(right)? = Leaf {
            first,
            last,
            regions,
            previous: Some(left),
            next,
        };
        if let Some(next) = next.and_then(|next| self.leaves.get_mut(next)) {
            next.previous = Some(right);
        }
        Some(Child {
            start: first,
            node: right,
        })
    }

    /// Removes a leaf that is empty, unless it is the only one, and the nodes that led to it alone. Its
    /// neighbour gets its addresses.
    #[cold]
    fn remove_leaf(&mut self, leaf: u32) -> Option<()> {
        let first = self.leaves.get(leaf)?.first;
        let (mut above, mut path) = (self.root, ArrayVec::<(u32, usize), MAX_HEIGHT>::new());
        for _ in 0..self.height {
            let position = self.inner.get(above)?.position_of(first);
            path.try_push((above, position)).ok()?;
            above = self.inner.get(above)?.children.get(position)?.node;
        }
        while let Some((node, position)) = path.pop() {
            let children = &mut self.inner.get_mut(node)?.children;
            children.pop_at(position)?;
            if !children.is_empty() {
                self.unlink(leaf, position > 0);
                break;
            }
            self.inner.put_back(node);
        }
        self.shrink_at_root()
    }

    /// Takes a leaf out of the order of leaves, and gives its addresses to the one before, or the one behind.
    fn unlink(&mut self, leaf: u32, to_previous: bool) -> Option<()> {
        let node = self.leaves.get(leaf)?;
        let (first, last) = (node.first, node.last);
        let (previous, next) = (node.previous, node.next);
        self.leaves.put_back(leaf);
        if let Some(before) = previous.and_then(|leaf| self.leaves.get_mut(leaf)) {
            before.next = next;
        }
        if let Some(behind) = next.and_then(|leaf| self.leaves.get_mut(leaf)) {
            behind.previous = previous;
        }
        self.recent = if to_previous { previous } else { next }?;
        let heir = self.leaves.get_mut(self.recent)?;
        heir.first = heir.first.min(first);
        heir.last = heir.last.max(last);
        Some(())
    }

    /// Removes roots that lead to one node alone.
    fn shrink_at_root(&mut self) -> Option<()> {
        while self.height > 0 {
            let root = self.root;
            let [only] = self.inner.get(root)?.children.as_slice() else {
                break;
            };
            self.root = only.node;
            self.inner.put_back(root);
            self.height = self.height.saturating_sub(1);
        }
        Some(())
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
impl RegionTree {
    pub(super) const fn height(&self) -> usize {
        self.height
    }

    /// Panics unless every leaf is where its addresses lead, in order, and every node is in use or free.
    pub(super) fn assert_shape(&self) {
        if self.leaves.is_empty() {
            return;
        }
        let (mut level, mut inner) = (alloc::vec![self.root], 0);
        for _ in 0..self.height {
            inner += level.len();
            let nodes = level
                .iter()
                .map(|node| &self.inner.get(*node).unwrap().children);
            level = nodes
                .inspect(|children| assert!(!children.is_empty()))
                .flatten()
                .map(|child| child.node)
                .collect();
        }
        let (mut expected, mut previous) = (Some(GuestPhysAddr::ZERO), None);
        for (position, number) in level.iter().enumerate() {
            let leaf = self.leaves.get(*number).unwrap();
            assert!(!leaf.regions.is_empty() || self.height == 0);
            assert_eq!((Some(leaf.first), leaf.previous), (expected, previous));
            assert_eq!(leaf.next, level.get(position + 1).copied());
            assert_eq!(self.walk_to(leaf.first), Some(*number));
            assert_eq!(self.walk_to(leaf.last), Some(*number));
            assert!(
                leaf.regions
                    .iter()
                    .all(|region| leaf.is_for(region.guest.start()))
            );
            (expected, previous) = (leaf.last.checked_add(1), Some(*number));
        }
        assert_eq!(expected, None);
        assert!(self.leaves.get(self.recent).is_some() && level.contains(&self.recent));
        assert_eq!(level.len(), self.leaves.in_use());
        assert_eq!(inner, self.inner.in_use());
    }
}
