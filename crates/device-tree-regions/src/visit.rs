//! Which regions the selected nodes contribute.

use guest_addr::{HostPhysAddr, HostPhysRange};

use crate::cells;
use crate::path::NodePath;
use crate::properties::Properties;
use crate::region::{
    Clipped, Finding, Idle, IdleReason, Ignored, IgnoredReason, Memory, MemoryUse, Property, Region,
};
use crate::selection::Selection;
use crate::translate::{self, BusRange, Untranslated};
use crate::tree::DeviceTree;
use crate::walk::{Level, window_counts};

impl DeviceTree<'_> {
    /// Calls `visit` with every region of the nodes that `selection` passes through, and with
    /// everything that is ignored on the way there.
    ///
    /// A node contributes when it is at or below a passed path, neither it nor a node above it is
    /// excluded, and for it and all above it `status` is absent, `ok` or `okay`. Then it contributes
    ///
    /// - each entry of `reg` with a size other than 0, unless its parent is a PCI bus (`device_type` is
    ///   `pci`): `reg` is configuration space there, and the memory among the entries of
    ///   `assigned-addresses` counts;
    /// - the far side of each window of its `ranges` if it is a PCI host bridge (it is a PCI bus, its
    ///   parent is not) or its addresses have three cells. I/O counts where the parent is no PCI bus.
    ///
    /// An entry is translated bus by bus up to the CPU, through the `ranges` of every node above it but the
    /// root. An empty one is the identity, and an absent one translates nothing. The first window that
    /// holds the first byte takes the entry to the window's end. Where the entry goes on, a window that
    /// begins exactly there, and whose target continues the target so far, takes the next part, and so
    /// on; the search goes on behind the last window and then from the first. What no window continues
    /// is cut off ([`Finding::Clipped`]); an entry whose first byte is in no window is left out
    /// ([`IgnoredReason::OutsideWindows`]).
    ///
    /// Three cells are a first cell and a 64-bit number. On a PCI bus memory matches memory, and nothing
    /// else matches; on other buses the first cells must be equal. More than three cells match nothing.
    ///
    /// Memory (`device_type` is `memory`, or a child of the root named so), `/cpus`,
    /// `/reserved-memory`, and what is below these two contribute nothing. Every selected node that
    /// contributes nothing is reported with the reason ([`Finding::Idle`]).
    ///
    /// Each node is reported once, however many paths select it, in the tree's order; its `reg` or
    /// `assigned-addresses` come first, then its `ranges`, both by index. Walks the tree once; every
    /// entry takes time in proportion to the windows above it, and again for each window that begins
    /// below the one before it.
    pub fn visit_regions(&self, selection: &Selection<'_>, mut visit: impl FnMut(Finding<'_>)) {
        self.visit_devices(selection, |device| {
            if device.is_on_the_way() && !device.node.is_no_device {
                device.report_malformed(&mut visit);
            }
            if device.node.is_selected {
                device.visit_selected(&mut visit);
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

    /// Calls `visit` with the host's memory: `reg` of every memory node (`device_type` is `memory`, or
    /// a child of the root named so), and of every node below `/reserved-memory`.
    ///
    /// Nodes that are disabled, themselves or above, do not count, and neither does what does not
    /// translate. Reserved memory may lie inside RAM or outside. A tree that a boot loader completes
    /// may have no memory. Order and cost are those of [`visit_regions`](Self::visit_regions).
    pub fn visit_memory(&self, mut visit: impl FnMut(Memory<'_>)) {
        let selection = Selection::default().with_address_bits(u64::BITS);
        self.visit_devices(&selection, |device| {
            let is_reserved = device.is_below(b"reserved-memory");
            let memory_use = match is_reserved {
                true => MemoryUse::Reserved,
                false => MemoryUse::Ram,
            };
            let Some(bus) = device.above.last().filter(|_| device.node.is_enabled) else {
                return;
            };
            if is_reserved || device.is_memory() {
                let reg = device.properties.reg;
                device.visit_addresses(Property::Reg, reg, bus, &mut |finding: Finding<'_>| {
                    if let Finding::Region(Region { node, range, .. }) = finding {
                        visit(Memory {
                            node,
                            range,
                            memory_use,
                        });
                    }
                });
            }
        });
    }

    /// Every node, whether selected or not.
    fn visit_devices(&self, selection: &Selection<'_>, mut visit: impl FnMut(Device<'_>)) {
        let mut walk = self.walk(*selection);
        while let Some(properties) = walk.next_node() {
            let levels = walk.levels();
            let Some((node, above)) = levels.split_last() else {
                continue;
            };
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
    /// Whether the node, or the way through it, matters to something that is passed through.
    fn is_on_the_way(&self) -> bool {
        let parent_is_enabled = self.above.last().is_none_or(|parent| parent.is_enabled);
        (self.node.is_selected || self.node.is_on_the_way)
            && !self.node.is_excluded
            && parent_is_enabled
    }

    /// Why the node contributes nothing, whatever its addresses are.
    fn idle_reason(&self) -> Option<IdleReason<'w>> {
        let first = |is_cause: fn(&Level<'_>) -> bool| {
            let depth = self.levels.iter().position(is_cause)?;
            self.levels.get(..=depth).map(NodePath::new)
        };
        if self.is_no_device() {
            return Some(IdleReason::NotADevice);
        }
        let excluded = first(|level| level.is_excluded).map(|by| IdleReason::Excluded { by });
        excluded.or_else(|| first(|level| !level.is_enabled).map(|by| IdleReason::Disabled { by }))
    }

    /// The regions of a selected node, or why it has none.
    fn visit_selected(&self, visit: &mut impl FnMut(Finding<'_>)) {
        let mut idle = self.idle_reason();
        if idle.is_none() {
            idle = Some(IdleReason::NoAddress);
            self.visit_entries(&mut |finding: Finding<'_>| {
                idle = match (&finding, idle) {
                    (Finding::Region(_), _) | (_, None) => None,
                    (Finding::Ignored(ignored), _) if ignored.index.is_some() => {
                        Some(IdleReason::NotTranslated)
                    }
                    (_, idle) => idle,
                };
                visit(finding);
            });
        }
        if let Some(reason) = idle {
            let node = NodePath::new(self.levels);
            visit(Finding::Idle(Idle { node, reason }));
        }
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

    /// A window whose far side is a region by itself is reported as such.
    fn report_wrapping_windows(&self, visit: &mut impl FnMut(Finding<'_>)) {
        let (Some(parent), Some(ranges)) = (self.above.last(), self.node.ranges) else {
            return;
        };
        if !self.node.cells.hold_bus_address() || !parent.cells.hold_bus_address() {
            return;
        }
        let contributes = self.node.is_passed() && self.node.contributes_windows(parent);
        let windows = translate::windows(ranges, self.node.cells, parent.cells);
        for (index, window) in windows.enumerate() {
            let far_side = window.parent_side();
            if contributes && window.is_entry(parent) && far_side.is_err() {
                continue;
            }
            if let Err(reason) = window.child_side().and(far_side) {
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
        let Some(bus) = self.above.last().filter(|_| !self.is_no_device()) else {
            return;
        };
        match bus.is_pci {
            true => self.visit_assigned_addresses(bus, visit),
            false => {
                let reg = self.properties.reg;
                self.visit_addresses(Property::Reg, reg, bus, visit);
            }
        }
        if self.node.contributes_windows(bus) {
            self.visit_windows(bus, visit);
        }
    }

    fn is_no_device(&self) -> bool {
        self.node.is_no_device || self.is_memory()
    }

    /// Whether the child of the root with this name is above the node.
    fn is_below(&self, name: &[u8]) -> bool {
        let child = self.above.get(1);
        child.is_some_and(|child| child.name == name)
    }

    fn is_memory(&self) -> bool {
        let mut parts = self.node.name.split(|&byte| byte == b'@');
        let is_named_memory = self.above.len() == 1 && parts.next() == Some(b"memory");
        is_named_memory || self.properties.device_type() == b"memory"
    }

    /// Only three cells tell memory from I/O.
    fn visit_assigned_addresses(&self, bus: &Level<'_>, visit: &mut impl FnMut(Finding<'_>)) {
        let value = self.properties.assigned_addresses;
        let value = value.filter(|_| bus.cells.address == 3);
        self.visit_addresses(Property::AssignedAddresses, value, bus, visit);
    }

    fn visit_addresses(
        &self,
        property: Property,
        value: Option<&[u8]>,
        bus: &Level<'_>,
        visit: &mut impl FnMut(Finding<'_>),
    ) {
        let Some(value) = value else { return };
        let fields = [bus.cells.address, bus.cells.size];
        self.report_partial_entries(property, value, fields, visit);
        let entries = cells::entries(value, fields).into_iter().flatten();
        for (index, mut entry) in entries.enumerate() {
            let start = cells::take_field(&mut entry, bus.cells.address);
            let size = cells::number(cells::take_field(&mut entry, bus.cells.size));
            if translate::is_entry(bus, start) {
                let range = translate::on_bus(start, size);
                self.visit_range(property, index, range, visit);
            }
        }
    }

    fn visit_windows(&self, bus: &Level<'_>, visit: &mut impl FnMut(Finding<'_>)) {
        let ranges = self.node.ranges.unwrap_or_default();
        let windows = translate::windows(ranges, self.node.cells, bus.cells);
        for (index, window) in windows.enumerate() {
            if window.is_entry(bus) {
                self.visit_range(Property::Ranges, index, window.entry(), visit);
            }
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
        let asked = match range {
            Ok(Some(range)) => range,
            Ok(None) => return,
            Err(reason) => return visit(self.ignored(property, Some(index), reason)),
        };
        let range = match translate::to_cpu(self.above, asked) {
            Ok(range) => self.narrow_enough(range),
            Err(Untranslated { depth, reason }) => {
                let bus = self.levels.get(..depth).map(NodePath::new);
                let ignored = self.ignored_entry(property, Some(index), reason, bus);
                return visit(Finding::Ignored(ignored));
            }
        };
        match range {
            Ok(range) => self.report_region(property, index, range, asked, visit),
            Err(reason) => visit(self.ignored(property, Some(index), reason)),
        }
    }

    fn report_region(
        &self,
        property: Property,
        index: usize,
        range: HostPhysRange,
        asked: BusRange,
        visit: &mut impl FnMut(Finding<'_>),
    ) {
        let region = Region {
            node: NodePath::new(self.levels),
            range,
            property,
            index,
            is_enabled: self.node.is_enabled,
        };
        visit(Finding::Region(region));
        let asked = asked.size();
        if range.size() < asked {
            visit(Finding::Clipped(Clipped { region, asked }));
        }
    }

    fn narrow_enough(&self, range: BusRange) -> Result<HostPhysRange, IgnoredReason> {
        let address_bits = self.address_bits;
        let (start, last) = (range.start.value, range.last);
        let range =
            HostPhysRange::from_start_last(HostPhysAddr::new(start), HostPhysAddr::new(last));
        match range {
            Ok(range) if range.last().fits_in(address_bits) => Ok(range),
            Ok(range) => Err(IgnoredReason::TooWide {
                range,
                address_bits,
            }),
            Err(_) => Err(IgnoredReason::Wraps {
                start,
                size: u64::MAX,
            }),
        }
    }

    fn ignored(
        &self,
        property: Property,
        index: Option<usize>,
        reason: IgnoredReason,
    ) -> Finding<'w> {
        Finding::Ignored(self.ignored_entry(property, index, reason, None))
    }

    fn ignored_entry(
        &self,
        property: Property,
        index: Option<usize>,
        reason: IgnoredReason,
        bus: Option<NodePath<'w>>,
    ) -> Ignored<'w> {
        Ignored {
            node: NodePath::new(self.levels),
            property,
            index,
            reason,
            bus,
        }
    }
}
