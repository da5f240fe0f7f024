//! What a device needs besides its own regions: other nodes, named by their phandles.

use crate::cells;
use crate::path::NodePath;
use crate::properties::Properties;
use crate::selection::Selection;
use crate::tree::DeviceTree;

/// A property by which a device names nodes that it needs.
///
/// Devicetree Specification v0.4, 2.4 "Interrupts and Interrupt Mapping"; for the others the bindings of Linux:
/// `reserved-memory.yaml`, `iommu.txt`, `clock.yaml`, `reset.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DependencyKind {
    /// `memory-region`: memory that is reserved for the device.
    MemoryRegion,
    /// `iommus`: what translates the device's own accesses.
    Iommus,
    /// `clocks`.
    Clocks,
    /// `resets`.
    Resets,
    /// `interrupt-parent`, the device's own or that of a node above it, for a device with `interrupts`.
    InterruptParent,
}

impl DependencyKind {
    /// All kinds, in the order in which they are reported.
    pub const ALL: [Self; 5] = [
        Self::MemoryRegion,
        Self::Iommus,
        Self::Clocks,
        Self::Resets,
        Self::InterruptParent,
    ];

    /// The name of the property.
    #[must_use]
    pub const fn property(self) -> &'static str {
        match self {
            Self::MemoryRegion => "memory-region",
            Self::Iommus => "iommus",
            Self::Clocks => "clocks",
            Self::Resets => "resets",
            Self::InterruptParent => "interrupt-parent",
        }
    }

    /// The property of the named node that says how many cells follow its phandle. Without one no cell does.
    const fn cells_property(self) -> Option<&'static str> {
        match self {
            Self::Iommus => Some("#iommu-cells"),
            Self::Clocks => Some("#clock-cells"),
            Self::Resets => Some("#reset-cells"),
            Self::MemoryRegion | Self::InterruptParent => None,
        }
    }
}

/// A node that can be named.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Named<'w> {
    /// The node.
    pub node: NodePath<'w>,
    /// Its number: `phandle`, or `linux,phandle`.
    pub phandle: u32,
    /// How many cells follow the number where it is named, by kind in the order of [`DependencyKind::ALL`].
    pub cells: [u32; DependencyKind::ALL.len()],
    /// Whether the node and all above it have no `status`, or `ok` or `okay`.
    pub is_enabled: bool,
    /// Whether the selection passes the node through: [`DeviceTree::visit_regions`] would report it.
    pub is_passed: bool,
    /// Whether the node has a `reg` with anything in it.
    pub has_address: bool,
}

/// One node that a device needs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Dependency<'w> {
    /// The device.
    pub node: NodePath<'w>,
    /// By which property.
    pub kind: DependencyKind,
    /// Which entry of the property, counted from 0.
    pub index: usize,
    /// The number of the node that is needed.
    pub phandle: u32,
}

impl DeviceTree<'_> {
    /// Calls `visit` with every node that has a phandle, in the tree's order. The first node with a number counts.
    /// Walks the tree once.
    pub fn visit_named(&self, selection: &Selection<'_>, mut visit: impl FnMut(Named<'_>)) {
        let mut walk = self.walk(*selection);
        while let Some(properties) = walk.next_node() {
            let (Some(phandle), Some(level)) = (phandle(&properties), walk.levels().last()) else {
                continue;
            };
            let cells = DependencyKind::ALL.map(|kind| {
                let value = kind.cells_property().map(|name| cell(&properties, name));
                value.flatten().unwrap_or_default()
            });
            visit(Named {
                node: walk.path(),
                phandle,
                cells,
                is_enabled: level.is_enabled,
                is_passed: level.is_passed() && !level.is_no_device,
                has_address: properties.reg.is_some_and(|reg| !reg.is_empty()),
            });
        }
    }

    /// Calls `visit` with everything that the devices which `selection` passes through need, in the tree's order: of one
    /// device first by kind, then by index.
    ///
    /// `cells` tells how many cells follow a phandle, as [`visit_named`](Self::visit_named) reported them; `None` where
    /// no node has the number. What comes after such a phandle in the same property cannot be read and is left out. A
    /// phandle of 0 or of all ones names nothing, and is skipped alone. Walks the tree once, and the properties of each
    /// device once for each kind.
    pub fn visit_dependencies(
        &self,
        selection: &Selection<'_>,
        cells: impl Fn(u32, DependencyKind) -> Option<u32>,
        mut visit: impl FnMut(Dependency<'_>),
    ) {
        let mut walk = self.walk(*selection);
        while let Some(properties) = walk.next_node() {
            let Some(level) = walk.levels().last() else {
                continue;
            };
            if !level.is_passed() || level.is_no_device {
                continue;
            }
            let node = walk.path();
            for kind in DependencyKind::ALL {
                let list = match kind {
                    DependencyKind::InterruptParent => continue,
                    kind => properties.value_of(kind.property()).unwrap_or_default(),
                };
                let phandles = Phandles::new(list, |phandle| cells(phandle, kind));
                for (index, phandle) in phandles {
                    visit(Dependency {
                        node,
                        kind,
                        index,
                        phandle,
                    });
                }
            }
            let has_interrupts = properties.value_of("interrupts").is_some();
            if let Some(phandle) = level.interrupt_parent.filter(|_| has_interrupts) {
                visit(Dependency {
                    node,
                    kind: DependencyKind::InterruptParent,
                    index: 0,
                    phandle,
                });
            }
        }
    }
}

/// The number of a node.
fn phandle(properties: &Properties<'_>) -> Option<u32> {
    let own = cell(properties, "phandle").or_else(|| cell(properties, "linux,phandle"))?;
    is_phandle(own).then_some(own)
}

/// Devicetree Specification v0.4, 5.4.3 has no rule; dtc and Linux give neither number to a node.
pub(crate) fn is_phandle(number: u32) -> bool {
    number != 0 && number != u32::MAX
}

/// The value of a property that is one cell.
fn cell(properties: &Properties<'_>, name: &str) -> Option<u32> {
    properties.value_of(name).and_then(cells::read_u32)
}

/// The phandles of a list, each with its position among the entries.
struct Phandles<'a, F> {
    rest: &'a [u8],
    cells: F,
    index: usize,
}

impl<'a, F: Fn(u32) -> Option<u32>> Phandles<'a, F> {
    fn new(rest: &'a [u8], cells: F) -> Self {
        Self {
            rest,
            cells,
            index: 0,
        }
    }
}

impl<F: Fn(u32) -> Option<u32>> Iterator for Phandles<'_, F> {
    type Item = (usize, u32);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first_chunk::<4>()?;
            let (phandle, index) = (u32::from_be_bytes(first), self.index);
            self.index = index.saturating_add(1);
            if !is_phandle(phandle) {
                self.rest = rest;
                continue;
            }
            let arguments = (self.cells)(phandle).and_then(|cells| {
                let bytes = usize::try_from(cells).ok()?.checked_mul(4)?;
                rest.get(bytes..)
            });
            // Where its length is not known, the list ends.
            self.rest = arguments.unwrap_or_default();
            return Some((index, phandle));
        }
    }
}
