//! A device tree whose structure has been checked.

use core::fmt;

use crate::cells;
use crate::error::DeviceTreeError;
use crate::header::Blocks;
use crate::path::NodePath;
use crate::selection::Selection;
use crate::structure;
use crate::walk::{Walk, window_counts};

/// How many nodes may nest, the root included: twice what Linux reads (`FDT_MAX_DEPTH`, 64).
pub const MAX_DEPTH: usize = 128;

/// How long the path of a node may be, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

/// How often an address may have to be compared with a window of some `ranges`, over all addresses
/// of the tree. Boards with hundreds of devices need some thousands.
pub const MAX_COMPARISONS: u64 = 1 << 23;

/// A flattened device tree, borrowed and checked.
///
/// [`DeviceTree::new`] checks the whole structure; after that nothing fails, and a property whose
/// value makes no sense is reported where it matters. Every other call walks the tree once, from
/// the root on, and keeps about 8 KiB of state on the stack.
#[derive(Clone, Copy)]
pub struct DeviceTree<'a> {
    blocks: Blocks<'a>,
}

impl<'a> DeviceTree<'a> {
    /// The device tree at the start of `blob`.
    ///
    /// Bytes after the total size in the header are allowed and not read: loaders pad. The slice
    /// itself needs no alignment. Versions 16 and 17 of the format are read, and later ones that
    /// declare themselves compatible with 17. Takes time in proportion to the total size.
    ///
    /// # Errors
    ///
    /// - [`DeviceTreeError::Truncated`]: `blob` is shorter than its header or its total size.
    /// - [`DeviceTreeError::BadMagic`]: `blob` does not begin with 0xd00dfeed.
    /// - [`DeviceTreeError::UnsupportedVersion`]: the format's version is neither 16 nor compatible
    ///   with 17.
    /// - [`DeviceTreeError::TotalSizeTooSmall`]: the total size does not hold the header.
    /// - [`DeviceTreeError::BlockOutside`]: a block begins inside the header or ends after the total
    ///   size.
    /// - [`DeviceTreeError::BlockMisaligned`]: the reservations are not aligned to 8 bytes, or the
    ///   structure block is not aligned to 4.
    /// - [`DeviceTreeError::ReservationsUnterminated`]: the reservations have no empty last entry.
    /// - [`DeviceTreeError::Structure`]: the structure block is broken, as its [`StructureFault`](crate::StructureFault)
    ///   says: this is where nodes that nest too deep and paths that are too long are refused, too.
    /// - [`DeviceTreeError::TooCostly`]: translating every address takes more than
    ///   [`MAX_COMPARISONS`].
    pub fn new(blob: &'a [u8]) -> Result<Self, DeviceTreeError> {
        let blocks = Blocks::locate(blob)?;
        structure::check(blocks)?;
        let tree = Self { blocks };
        tree.check_cost()?;
        Ok(tree)
    }

    /// The bytes that belong to the tree, counted from the start of the blob.
    #[must_use]
    pub fn total_size(&self) -> usize {
        self.blocks.total_size
    }

    /// Whether a node has exactly this path, unit addresses included. The root is `/`.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        let mut walk = self.walk(Selection::default());
        while walk.next_node().is_some() {
            if walk.path() == *path {
                return true;
            }
        }
        false
    }

    /// Calls `visit` with the path of every node: parents before children, in the tree's order.
    pub fn visit_nodes(&self, mut visit: impl FnMut(NodePath<'_>)) {
        let mut walk = self.walk(Selection::default());
        while walk.next_node().is_some() {
            visit(walk.path());
        }
    }

    /// Addresses times windows is the one cost that is not linear in the size of the tree.
    fn check_cost(&self) -> Result<(), DeviceTreeError> {
        let mut walk = self.walk(Selection::default());
        let mut comparisons: u64 = 0;
        while let Some(properties) = walk.next_node() {
            let [.., bus, node] = walk.levels() else {
                continue;
            };
            let counts = [bus.cells.address, bus.cells.size];
            let count = |value: Option<_>, counts| cells::count(value.unwrap_or_default(), counts);
            let own = match bus.is_pci {
                true => count(properties.assigned_addresses, counts),
                false => count(properties.reg, counts),
            };
            let windows = match node.contributes_windows(bus) {
                true => cells::count(
                    node.ranges.unwrap_or_default(),
                    window_counts(node.cells, bus.cells),
                ),
                false => 0,
            };
            let addresses = own.saturating_add(windows) as u64;
            let cost = addresses.saturating_mul(bus.comparisons as u64);
            comparisons = comparisons.saturating_add(cost);
        }
        if comparisons > MAX_COMPARISONS {
            return Err(DeviceTreeError::TooCostly { comparisons });
        }
        Ok(())
    }

    pub(crate) fn walk<'s>(&self, selection: Selection<'s>) -> Walk<'a, 's> {
        Walk::new(self.blocks, selection)
    }
}

impl fmt::Debug for DeviceTree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceTree({:#x} bytes)", self.total_size())
    }
}
