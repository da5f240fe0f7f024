//! Which regions the selected nodes contribute.

use guest_addr::{HostPhysAddr, HostPhysRange};

use crate::cells;
use crate::path::NodePath;
use crate::properties::Properties;
use crate::region::{Finding, Ignored, IgnoredReason, Property, Region};
use crate::selection::Selection;
use crate::translate::{self, BusRange};
use crate::tree::DeviceTree;
use crate::walk::{Level, window_counts};

impl DeviceTree<'_> {
    /// Calls `visit` with every region of the nodes that `selection` passes through, and with
    /// everything that is ignored on the way there.
    ///
    /// A node contributes when it is at or below a passed path, neither it nor a node above it is
    /// excluded, and for it and all above it `status` is absent, `ok` or `okay`. Then it contributes
    ///
    /// - each entry of `reg` with a size other than 0 that translates to an address of the CPU
    ///   through the `ranges` of every node above it but the root: an empty one is the identity, an
    ///   absent one translates nothing, and the entry must lie whole inside one window;
    /// - if it is a PCI host bridge (`device_type` is `pci`, its parent's is not), the CPU's side of
    ///   each window of its `ranges`.
    ///
    /// Memory (`device_type` is `memory`, or a child of the root named so), `/cpus`,
    /// `/reserved-memory`, what is below these two, and what is below a PCI bus contribute nothing.
    /// What does not translate is left out without a word.
    ///
    /// Each node is reported once, however many paths select it, in the tree's order; its `reg`
    /// comes first, then its `ranges`, both by index. Walks the tree once; every entry takes time in
    /// proportion to the windows above it.
    pub fn visit_regions(&self, selection: &Selection<'_>, mut visit: impl FnMut(Finding<'_>)) {
        self.visit_devices(selection, |device| {
            if device.is_on_the_way() {
                device.report_malformed(&mut visit);
            }
            if device.is_passed() {
                device.visit_entries(&mut visit);
            }
        });
    }

    /// Calls `visit` with every region of the excluded nodes and of those below them: what they
    /// would contribute if they were passed through and enabled. Whether they are enabled is in
    /// [`Region::is_enabled`]; nothing is reported as ignored.
    ///
    /// Order and cost are those of [`visit_regions`](Self::visit_regions).
    pub fn visit_excluded_regions(
        &self,
        selection: &Selection<'_>,
        mut visit: impl FnMut(Region<'_>),
    ) {
        self.visit_devices(selection, |device| {
            if device.node.is_excluded {
                device.visit_entries(&mut |finding: Finding<'_>| {
                    if let Finding::Region(region) = finding {
                        visit(region);
                    }
                });
            }
        });
    }

    /// Every node below the root that is a device, whether selected or not.
    fn visit_devices(&self, selection: &Selection<'_>, mut visit: impl FnMut(Device<'_>)) {
        let mut walk = self.walk(*selection);
        while let Some(properties) = walk.next_node() {
            let levels = walk.levels();
            let Some((node, above)) = levels.split_last() else {
                continue;
            };
            if !node.is_no_device && !node.is_below_pci {
                visit(Device {
                    levels,
                    node,
                    above,
                    properties: &properties,
                    address_bits: selection.address_bits,
                });
            }
        }
    }
}

/// A node that may contribute.
struct Device<'w> {
    levels: &'w [Level<'w>],
    node: &'w Level<'w>,
    /// The buses that its addresses go through, the root first.
    above: &'w [Level<'w>],
    properties: &'w Properties<'w>,
    address_bits: u32,
}

impl<'w> Device<'w> {
    fn is_passed(&self) -> bool {
        self.node.is_selected && !self.node.is_excluded && self.node.is_enabled
    }

    /// Whether the node, or the way through it, matters to something that is passed through.
    fn is_on_the_way(&self) -> bool {
        let parent_is_enabled = self.above.last().is_none_or(|parent| parent.is_enabled);
        (self.node.is_selected || self.node.is_on_the_way)
            && !self.node.is_excluded
            && parent_is_enabled
    }

    fn report_malformed(&self, visit: &mut impl FnMut(Finding<'_>)) {
        for (property, reason) in self.properties.malformed() {
            visit(self.ignored(property, None, reason));
        }
        if !self.node.is_enabled {
            return;
        }
        if let (Some(parent), Some(ranges)) = (self.above.last(), self.properties.ranges) {
            let counts = window_counts(self.node.cells, parent.cells);
            self.report_partial_entries(Property::Ranges, ranges, counts, visit);
        }
        self.report_wrapping_windows(visit);
    }

    /// A PCI host bridge's windows are regions of their own, and reported as such.
    fn report_wrapping_windows(&self, visit: &mut impl FnMut(Finding<'_>)) {
        let (Some(parent), Some(ranges)) = (self.above.last(), self.node.ranges) else {
            return;
        };
        let cells_hold = self.node.cells.hold_cpu_address() && parent.cells.hold_cpu_address();
        if self.node.is_pci || !cells_hold {
            return;
        }
        let windows = translate::windows(ranges, self.node.cells, parent.cells);
        for (index, window) in windows.enumerate() {
            let sides = window.child_side().and(window.parent_side());
            if let Err(reason) = sides {
                visit(self.ignored(Property::Ranges, Some(index), reason));
            }
        }
    }

    fn report_partial_entries<const N: usize>(
        &self,
        property: Property,
        value: &[u8],
        counts: [u16; N],
        visit: &mut impl FnMut(Finding<'_>),
    ) {
        if cells::entries(value, counts).is_none() {
            let reason = IgnoredReason::NotWholeEntries {
                bytes: value.len(),
                entry_bytes: cells::entry_bytes(counts),
            };
            visit(self.ignored(property, None, reason));
        }
    }

    fn visit_entries(&self, visit: &mut impl FnMut(Finding<'_>)) {
        if self.is_memory() {
            return;
        }
        self.visit_reg(visit);
        if self.node.is_pci {
            self.visit_windows(visit);
        }
    }

    fn is_memory(&self) -> bool {
        let mut parts = self.node.name.split(|&byte| byte == b'@');
        let is_named_memory = self.above.len() == 1 && parts.next() == Some(b"memory");
        is_named_memory || self.properties.device_type() == b"memory"
    }

    fn visit_reg(&self, visit: &mut impl FnMut(Finding<'_>)) {
        let (Some(bus), Some(reg)) = (self.above.last(), self.properties.reg) else {
            return;
        };
        let counts = [bus.cells.address, bus.cells.size];
        self.report_partial_entries(Property::Reg, reg, counts, visit);
        let entries = cells::entries(reg, counts).into_iter().flatten();
        for (index, mut entry) in entries.enumerate() {
            let start = cells::number(cells::take_field(&mut entry, bus.cells.address));
            let size = cells::number(cells::take_field(&mut entry, bus.cells.size));
            let range = match bus.cells.address {
                0 if size != Some(0) => Err(IgnoredReason::NoAddress),
                0..=2 => BusRange::new(start, size),
                _ => Ok(None),
            };
            self.visit_range(Property::Reg, index, range, visit);
        }
    }

    fn visit_windows(&self, visit: &mut impl FnMut(Finding<'_>)) {
        let (Some(bus), Some(ranges)) = (self.above.last(), self.node.ranges) else {
            return;
        };
        if !bus.cells.hold_cpu_address() {
            return;
        }
        let windows = translate::windows(ranges, self.node.cells, bus.cells);
        for (index, window) in windows.enumerate() {
            self.visit_range(Property::Ranges, index, window.parent_side(), visit);
        }
    }

    /// Reports a range on the parent's bus, if it is one and translates.
    fn visit_range(
        &self,
        property: Property,
        index: usize,
        range: Result<Option<BusRange>, IgnoredReason>,
        visit: &mut impl FnMut(Finding<'_>),
    ) {
        let range = match range {
            Ok(Some(range)) => self.cpu_range(range),
            Ok(None) => return,
            Err(reason) => Err(reason),
        };
        match range {
            Ok(Some(range)) => visit(Finding::Region(Region {
                node: NodePath::new(self.levels),
                range,
                property,
                index,
                is_enabled: self.node.is_enabled,
            })),
            Ok(None) => {}
            Err(reason) => visit(self.ignored(property, Some(index), reason)),
        }
    }

    fn cpu_range(&self, range: BusRange) -> Result<Option<HostPhysRange>, IgnoredReason> {
        let address_bits = self.address_bits;
        let range = translate::to_cpu(self.above, range).and_then(|range| {
            let (start, last) = (
                HostPhysAddr::new(range.start),
                HostPhysAddr::new(range.last),
            );
            HostPhysRange::from_start_last(start, last).ok()
        });
        match range {
            Some(range) if !range.last().fits_in(address_bits) => Err(IgnoredReason::TooWide {
                range,
                address_bits,
            }),
            range => Ok(range),
        }
    }

    fn ignored(
        &self,
        property: Property,
        index: Option<usize>,
        reason: IgnoredReason,
    ) -> Finding<'w> {
        Finding::Ignored(Ignored {
            node: NodePath::new(self.levels),
            property,
            index,
            reason,
        })
    }
}
