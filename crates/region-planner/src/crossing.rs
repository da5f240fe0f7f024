//! Which device-tree regions go on behind a cut.

use alloc::vec;
use alloc::vec::Vec;

use crate::owned::OwnedPages;
use crate::region::{Origin, Region};

/// The device-tree regions of a sorted slice, and a tree of maxima over where they end.
///
/// RAM may cut one region into many pieces, and many regions at once. A list of the regions behind
/// each cut could grow with the square of the input; this takes linear memory and finds each of
/// them in logarithmic time.
#[derive(Debug, Default)]
pub(crate) struct Crossing {
    positions: Vec<u32>,
    /// Node `n` has the children `2n` and `2n + 1`; the root is 1 and the leaves begin at half.
    furthest: Vec<u64>,
}

impl Crossing {
    pub(crate) fn of(regions: &[Region<'_>], owned: &OwnedPages) -> Self {
        let mut positions = Vec::new();
        let mut ends = Vec::new();
        for (position, region) in (0_u32..).zip(regions) {
            if region.origin() == Origin::DeviceTree
                && let Some(pages) = owned.visible(region)
            {
                positions.push(position);
                ends.push(pages.end);
            }
        }
        let furthest = tree_of_maxima(&ends);
        Self {
            positions,
            furthest,
        }
    }

    /// The positions below `before` of the regions that end after `page`, in ascending order.
    pub(crate) fn ending_after(&self, page: u64, before: u32) -> impl Iterator<Item = u32> + Clone {
        let mut from = 0;
        core::iter::from_fn(move || {
            let leaf = self.first_leaf(from, page)?;
            from = leaf.saturating_add(1);
            self.positions.get(leaf).copied()
        })
        .take_while(move |&position| position < before)
    }

    /// The first leaf from `from` on whose region ends after `page`.
    fn first_leaf(&self, from: usize, page: u64) -> Option<usize> {
        let leaves = self.furthest.len() / 2;
        let ends_after = |node: usize| self.furthest.get(node).is_some_and(|&end| end > page);
        let mut node = leaves.checked_add(from).filter(|_| from < leaves)?;
        while !ends_after(node) {
            // The next subtree to the right; the right edge climbs to the root and ends there.
            node = (node >> node.trailing_ones())
                .checked_add(1)
                .filter(|&node| node > 1)?;
        }
        while node < leaves {
            let left = node.saturating_mul(2);
            node = if ends_after(left) { left } else { left | 1 };
        }
        node.checked_sub(leaves)
    }
}

fn tree_of_maxima(ends: &[u64]) -> Vec<u64> {
    let leaves = ends.len().next_power_of_two();
    let mut tree = vec![0; leaves];
    tree.extend(ends);
    tree.resize(leaves.saturating_mul(2), 0);
    for node in (1..leaves).rev() {
        let children = node.saturating_mul(2);
        let furthest = tree
            .get(children..)
            .and_then(|rest| rest.iter().take(2).copied().max());
        if let (Some(parent), Some(furthest)) = (tree.get_mut(node), furthest) {
            *parent = furthest;
        }
    }
    tree
}
