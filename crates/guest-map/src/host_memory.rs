//! Whether the host has the memory that a configuration takes, and for what.

use device_tree_regions::{DeviceTree, Finding, MemoryUse, Property, Selection};
use guest_addr::{HostPhysAddr, HostPhysRange};
use host_services::{HostMap, HostUse};
use region_planner::{Origin, Region, RegionKind};

use crate::config::Place;
use crate::describe::Entry;
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// What is known about the host's memory. Without a device tree, and with one that a boot loader has
/// yet to complete, RAM is not known.
#[derive(Debug, Default)]
pub(crate) struct HostMemory {
    map: HostMap,
    /// Reserved memory and devices, by their first bytes.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    range: HostPhysRange,
    host_use: HostUse,
    path: String,
}

impl HostMemory {
    pub(crate) fn of(tree: Option<DeviceTree<'_>>, hypervisor: &[HostPhysRange]) -> Self {
        let hypervisor = hypervisor.iter();
        let mut uses: Vec<_> = hypervisor
            .map(|&range| (range, HostUse::Hypervisor))
            .collect();
        let mut nodes = tree.map(nodes_of).unwrap_or_default();
        uses.extend(nodes.iter().map(|node| (node.range, node.host_use)));
        nodes.retain(|node| node.host_use != HostUse::Ram);
        nodes.sort_by_key(|node| node.range.start());
        Self {
            map: uses.into_iter().collect(),
            nodes,
        }
    }

    /// The path of a device with registers at `address`.
    pub(crate) fn device_at(&self, address: HostPhysAddr) -> Option<&str> {
        let mut nodes = self.nodes.iter();
        let found =
            nodes.find(|node| node.host_use == HostUse::Device && node.range.contains(address));
        found.map(|node| node.path.as_str())
    }

    fn ram_is_known(&self) -> bool {
        !self.map.ranges(HostUse::Ram).is_empty()
    }

    /// Judges regions that have been planned; `places` are those of the planner's input.
    pub(crate) fn judge(
        &self,
        regions: &[Region<'_>],
        places: &[Place],
    ) -> (Vec<Fault>, Vec<Warning>) {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        for region in regions {
            let host = region
                .host()
                .and_then(|host| HostPhysRange::from_start_size(host, region.length()).ok())
                .and_then(|bytes| bytes.align_outward_4k().ok());
            let (Some(pages), Some(entry)) = (host, Entry::of(region, places)) else {
                continue;
            };
            let fault = match region.kind() {
                RegionKind::Passthrough => self.fault_of_device(region, pages),
                _ => {
                    warnings.extend(self.warnings_of_ram(region, &entry, pages));
                    self.fault_of_ram(pages)
                }
            };
            faults.extend(fault.map(|text| Fault {
                offset: entry.offset(),
                text: format!("{entry}: {text}"),
            }));
        }
        (faults, warnings)
    }

    fn fault_of_ram(&self, pages: HostPhysRange) -> Option<String> {
        if let Some(common) = self.map.first_common(HostUse::Hypervisor, pages) {
            return Some(over_hypervisor(common));
        }
        let memory = [HostUse::Ram, HostUse::Reserved];
        let outside = self.map.first_outside(&memory, pages);
        let outside = outside.filter(|_| self.ram_is_known())?;
        let ranges = self.map.ranges(HostUse::Ram).iter();
        let known: Vec<_> = ranges.take(4).map(ToString::to_string).collect();
        let device = self.nodes.iter().find(|node| node.range.overlaps(&outside));
        let device = device.map(|node| format!(" ({} is there)", node.path));
        Some(format!(
            "not-host-ram: the host has no RAM at {outside}{}; its device tree has RAM at {}: move \
             the region there, or let the hypervisor choose with map_type 0",
            device.unwrap_or_default(),
            known.join(", ")
        ))
    }

    fn fault_of_device(&self, region: &Region<'_>, pages: HostPhysRange) -> Option<String> {
        if let Some(common) = self.map.first_common(HostUse::Hypervisor, pages) {
            return Some(over_hypervisor(common));
        }
        if region.origin() == Origin::DeviceTree {
            return None;
        }
        let ram = self.unreserved_ram(pages)?;
        Some(format!(
            "passthrough-over-ram: host {ram} is RAM, and no reserved memory: the host itself uses it; \
             correct the address, or reserve the memory in the device tree"
        ))
    }

    /// The first part that is RAM and not reserved.
    fn unreserved_ram(&self, pages: HostPhysRange) -> Option<HostPhysRange> {
        let mut rest = pages;
        loop {
            let ram = self.map.first_common(HostUse::Ram, rest)?;
            let free = self.map.first_outside(&[HostUse::Reserved], ram);
            if free.is_some() {
                return free;
            }
            let next = ram.end().filter(|next| *next <= pages.last())?;
            rest = HostPhysRange::from_start_last(next, pages.last()).ok()?;
        }
    }

    fn warnings_of_ram(
        &self,
        region: &Region<'_>,
        entry: &Entry<'_, '_>,
        pages: HostPhysRange,
    ) -> Vec<Warning> {
        let before = self
            .nodes
            .partition_point(|node| node.range.start() <= pages.last());
        let candidates = self.nodes.get(..before).unwrap_or_default().iter();
        let over = candidates.filter(|node| node.range.overlaps(&pages));
        let warning = |node: &Node| {
            let Node { range, path, .. } = node;
            let (code, what) = match node.host_use {
                HostUse::Device => (Code::RamOverDevice, "registers of the enabled device"),
                _ => (
                    Code::OverReservedMemory,
                    "memory that the host reserves for",
                ),
            };
            let message = format!("{entry} lies over {what} {path} ({range})");
            Warning::new(code, region.name(), message)
        };
        over.map(warning).collect()
    }
}

fn over_hypervisor(common: HostPhysRange) -> String {
    format!("over-hypervisor: host {common} is the hypervisor's own memory (--hypervisor): move it")
}

/// RAM, reserved memory and the registers of enabled devices.
fn nodes_of(tree: DeviceTree<'_>) -> Vec<Node> {
    let mut nodes = Vec::new();
    tree.visit_memory(|memory| {
        let host_use = match memory.memory_use {
            MemoryUse::Ram => HostUse::Ram,
            MemoryUse::Reserved => HostUse::Reserved,
        };
        nodes.push(Node {
            range: memory.range,
            host_use,
            path: memory.node.to_string(),
        });
    });
    tree.visit_regions(&Selection::new(&["/"], &[]), |finding| {
        // The windows of a bus are no registers.
        if let Finding::Region(region) = finding
            && region.property != Property::Ranges
        {
            nodes.push(Node {
                range: region.range,
                host_use: HostUse::Device,
                path: region.node.to_string(),
            });
        }
    });
    nodes
}
