//! What passed-through devices need besides their own regions, and whether the machine has it.

use std::collections::HashMap;

use device_tree_regions::{DependencyKind, DeviceTree, MemoryUse, Named, Selection};
use guest_addr::HostPhysRange;
use region_planner::Plan;

use crate::plan::host_range;
use crate::warning::{Code, Warning};

/// Whether a plan tells what devices need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependencies {
    Omitted,
    Explained,
}

impl Dependencies {
    /// What `--explain-dependencies` asks for.
    pub(crate) const fn of_flag(is_given: bool) -> Self {
        if is_given {
            Self::Explained
        } else {
            Self::Omitted
        }
    }
}

/// A node that a device needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) device: String,
    pub(crate) kind: DependencyKind,
    /// The path of the node, or its number where no node has that.
    pub(crate) target: String,
    supply: Supply,
}

/// How the machine may get at what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Supply {
    /// No node has the number.
    Unknown,
    /// A node that is passed through, or not.
    Device { is_passed: bool },
    /// A node without addresses: there is nothing to pass through.
    WithoutAddress,
    /// Reserved memory.
    Memory(Vec<HostPhysRange>),
}

/// Whether the machine has what a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supplied {
    Yes,
    No,
    /// It has no address, so that nothing can be passed through.
    NothingToPass,
    /// No node has the number.
    Unknown,
}

impl Supplied {
    /// For programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NothingToPass => "nothing-to-pass",
            Self::Unknown => "unknown",
        }
    }

    /// For people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Yes => "passed through",
            Self::No => "not passed through",
            Self::NothingToPass => "has no address",
            Self::Unknown => "is not in the device tree",
        }
    }
}

/// What the selected devices need, in the tree's order: of one device each node once for each property.
pub(crate) fn needed(tree: DeviceTree<'_>, selection: &Selection<'_>) -> Vec<Needed> {
    let mut nodes: HashMap<u32, Node> = HashMap::new();
    tree.visit_named(selection, |named| {
        nodes
            .entry(named.phandle)
            .or_insert_with(|| Node::of(&named));
    });
    let memory = reserved_memory(tree);
    let cells = |phandle, kind| {
        let position = DependencyKind::ALL.iter().position(|&one| one == kind)?;
        nodes.get(&phandle)?.cells.get(position).copied()
    };
    let mut all: Vec<Needed> = Vec::new();
    tree.visit_dependencies(selection, cells, |dependency| {
        let node = nodes.get(&dependency.phandle);
        let needed = Needed {
            device: dependency.node.to_string(),
            kind: dependency.kind,
            target: node.map_or_else(
                || format!("phandle {:#x}", dependency.phandle),
                |node| node.path.clone(),
            ),
            supply: node.map_or(Supply::Unknown, |node| {
                node.supply(dependency.kind, &memory)
            }),
        };
        let of_device = all.iter().rev();
        let mut of_device = of_device.take_while(|known| known.device == needed.device);
        if !of_device.any(|known| *known == needed) {
            all.push(needed);
        }
    });
    all
}

/// A node with a phandle.
struct Node {
    path: String,
    cells: [u32; DependencyKind::ALL.len()],
    is_passed: bool,
    has_address: bool,
}

impl Node {
    fn of(named: &Named<'_>) -> Self {
        Self {
            path: named.node.to_string(),
            cells: named.cells,
            is_passed: named.is_passed,
            has_address: named.has_address,
        }
    }

    fn supply(&self, kind: DependencyKind, memory: &Memory) -> Supply {
        match kind {
            DependencyKind::MemoryRegion => match memory.get(&self.path) {
                Some(ranges) => Supply::Memory(ranges.clone()),
                None => Supply::WithoutAddress,
            },
            _ if self.has_address || self.is_passed => Supply::Device {
                is_passed: self.is_passed,
            },
            _ => Supply::WithoutAddress,
        }
    }
}

/// The addresses of each node below `/reserved-memory`.
type Memory = HashMap<String, Vec<HostPhysRange>>;

fn reserved_memory(tree: DeviceTree<'_>) -> Memory {
    let mut memory = Memory::new();
    tree.visit_memory(|found| {
        if found.memory_use == MemoryUse::Reserved {
            let path = found.node.to_string();
            memory.entry(path).or_default().push(found.range);
        }
    });
    memory
}

/// The host memory that a machine reaches: ascending ranges that do not touch.
pub(crate) struct HostReach(Vec<HostPhysRange>);

impl HostReach {
    pub(crate) fn of(plan: &Plan<'_, '_>) -> Self {
        let mut ranges: Vec<_> = plan
            .mappings()
            .filter_map(|mapping| host_range(&mapping))
            .collect();
        ranges.sort_by_key(HostPhysRange::start);
        let mut merged: Vec<HostPhysRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if last.overlaps(&range) || last.is_followed_by(&range) => {
                    *last = last.hull(&range).unwrap_or(*last);
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// Whether all of `bytes` is reached.
    fn has(&self, bytes: &HostPhysRange) -> bool {
        let after = self
            .0
            .partition_point(|range| range.start() <= bytes.start());
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        before.is_some_and(|range| range.contains_range(bytes))
    }
}

impl Needed {
    pub(crate) fn supplied(&self, reach: &HostReach) -> Supplied {
        match &self.supply {
            Supply::Unknown => Supplied::Unknown,
            Supply::WithoutAddress => Supplied::NothingToPass,
            Supply::Device { is_passed: true } => Supplied::Yes,
            Supply::Device { is_passed: false } => Supplied::No,
            Supply::Memory(ranges) if ranges.iter().all(|range| reach.has(range)) => Supplied::Yes,
            Supply::Memory(_) => Supplied::No,
        }
    }

    fn warning(&self, reach: &HostReach) -> Option<Warning> {
        if self.kind != DependencyKind::MemoryRegion {
            return None;
        }
        let Self { device, target, .. } = self;
        let text = match (&self.supply, self.supplied(reach)) {
            (_, Supplied::Yes) => return None,
            (Supply::Memory(ranges), _) => {
                let missing = ranges.iter().find(|range| !reach.has(range))?;
                format!(
                    "the VM does not reach all of it (host {missing}): give the VM this memory \
                     with map_type 2, or exclude the device"
                )
            }
            (Supply::Unknown, _) => "no node of the device tree has that number".into(),
            _ => "it has no address of its own: the host chooses one when it boots".into(),
        };
        let message = format!("{device} needs {target} (memory-region), and {text}");
        Some(Warning::new(
            Code::DependencyNotPassed,
            device.as_str(),
            message,
        ))
    }
}

/// Everything that is needed, and whether a machine with this plan has it.
pub(crate) fn supplied(needed: &[Needed], plan: &Plan<'_, '_>) -> Vec<(Needed, Supplied)> {
    let reach = HostReach::of(plan);
    let needed = needed.iter();
    needed
        .map(|needed| (needed.clone(), needed.supplied(&reach)))
        .collect()
}

/// One warning for each device and each piece of reserved memory that the machine does not have.
pub(crate) fn missing_memory(needed: &[Needed], plan: &Plan<'_, '_>) -> Vec<Warning> {
    if needed.is_empty() {
        return Vec::new();
    }
    let reach = HostReach::of(plan);
    needed
        .iter()
        .filter_map(|needed| needed.warning(&reach))
        .collect()
}
