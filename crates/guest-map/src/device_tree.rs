//! The host's device tree: which regions the paths of a configuration stand for.

use std::collections::HashSet;

use device_tree_regions::{DeviceTree, Finding, Idle, IgnoredReason, NodePath, Region, Selection};
use guest_addr::HostPhysRange;

use crate::architecture::Architecture;
use crate::capabilities::Capabilities;
use crate::config::{Config, List, PathRow};
use crate::dependencies::{Needed, needed};
use crate::idle::IdleCause;
use crate::near::near_paths;
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// The tree with the name of its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostTree<'t> {
    pub(crate) file: &'t str,
    pub(crate) tree: DeviceTree<'t>,
}

/// A region of a device, with the row of the configuration that passes it through.
#[derive(Debug)]
pub(crate) struct FoundRegion {
    /// The position in [`Config::passed`] of the first path that covers the device.
    pub(crate) row: usize,
    /// The positions of the other paths that do.
    pub(crate) more_rows: Vec<usize>,
    /// The device's own path.
    pub(crate) path: String,
    pub(crate) range: HostPhysRange,
}

/// What the paths of one configuration stand for.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// By row of the configuration, then in the tree's order.
    pub(crate) regions: Vec<FoundRegion>,
    /// The regions of excluded devices, in the tree's order.
    pub(crate) excluded: Vec<(String, HostPhysRange)>,
    /// For each of [`Config::passed`]: why it contributes nothing, if it does not.
    pub(crate) causes: Vec<Option<IdleCause>>,
    /// What the devices need besides, in the tree's order.
    pub(crate) needed: Vec<Needed>,
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    /// Follows the paths of `config`. Addresses that no mode of `architecture` can map to themselves are
    /// left out. PCs have no device tree, so that a whole machine without one is a warning there.
    ///
    /// # Errors
    ///
    /// Every path that is not in the tree, or all of them without a tree.
    pub(crate) fn of(
        config: &Config<'_>,
        host: Option<HostTree<'_>>,
        architecture: Architecture,
        capabilities: Capabilities<'_>,
    ) -> Result<Self, Vec<Fault>> {
        let rows = || config.passed.iter().chain(&config.excluded);
        if rows().next().is_none() {
            return Ok(Self::default());
        }
        let Some(host) = host else {
            let is_unknown = |row: &&PathRow<'_>| {
                architecture == Architecture::X86_64 && row.place.list == List::GuestType
            };
            let faults: Vec<_> = rows()
                .filter(|row| !is_unknown(row))
                .map(without_tree)
                .collect();
            return match faults.is_empty() {
                true => Ok(Self::of_unknown_machine()),
                false => Err(faults),
            };
        };
        let missing = missing_paths(rows(), host);
        if !missing.is_empty() {
            return Err(missing);
        }
        let paths = |rows: &[PathRow<'_>]| rows.iter().map(|row| row.path.to_string()).collect();
        let (passed, excluded): (Vec<String>, Vec<String>) =
            (paths(&config.passed), paths(&config.excluded));
        let (passed, excluded): (Vec<&str>, Vec<&str>) = (
            passed.iter().map(String::as_str).collect(),
            excluded.iter().map(String::as_str).collect(),
        );
        let bits = architecture.widest_identity_bits(capabilities);
        let selection = Selection::new(&passed, &excluded).with_address_bits(bits);
        Ok(Self::of_selection(config, host.tree, &selection))
    }

    fn of_unknown_machine() -> Self {
        let message = "guest_type: all devices of the machine are passed through, and which those are is not \
                       known without a device tree (--dtb)";
        let mut findings = Self::default();
        findings.warn(Code::NothingPassedThrough, "/".into(), message.into());
        findings
    }

    fn of_selection(config: &Config<'_>, tree: DeviceTree<'_>, selection: &Selection<'_>) -> Self {
        let rows = config.passed.len();
        let mut findings = Self {
            causes: std::iter::repeat_with(|| None).take(rows).collect(),
            ..Self::default()
        };
        let whole_tree = selection.passed.contains(&"/");
        tree.visit_regions(selection, |finding| match finding {
            Finding::Region(region) => findings.add_region(&region, selection),
            Finding::Idle(idle) => findings.add_idle(&idle, selection),
            Finding::Clipped(clipped) => {
                let node = clipped.region.node.to_string();
                let code = Code::DeviceTreeEntryClipped;
                findings.warn(code, node, clipped.to_string());
            }
            // A whole tree has many numbers that are no addresses of the CPU: chip selects, channels.
            Finding::Ignored(ignored)
                if whole_tree && matches!(ignored.reason, IgnoredReason::NoWindows { .. }) => {}
            Finding::Ignored(ignored) => {
                let (node, message) = (ignored.node.to_string(), ignored.to_string());
                findings.warn(Code::DeviceTreeEntryIgnored, node, message);
            }
        });
        findings.regions.sort_by_key(|region| region.row);
        findings.needed = needed(tree, selection);
        tree.visit_excluded_regions(selection, |region| {
            let found = (region.node.to_string(), region.range);
            findings.excluded.push(found);
        });
        findings
    }

    fn warn(&mut self, code: Code, node: String, message: String) {
        self.warnings.push(Warning::new(code, node, message));
    }

    fn add_region(&mut self, region: &Region<'_>, selection: &Selection<'_>) {
        let mut rows = rows_above(region.node, selection);
        let row = rows.next().unwrap_or_default();
        let found = FoundRegion {
            row,
            more_rows: rows.collect(),
            path: region.node.to_string(),
            range: region.range,
        };
        self.regions.push(found);
    }

    fn add_idle(&mut self, idle: &Idle<'_>, selection: &Selection<'_>) {
        for row in rows_above(idle.node, selection) {
            let path = selection.passed.get(row).copied().unwrap_or_default();
            if let Some(cause) = self.causes.get_mut(row) {
                IdleCause::improve(cause, idle, idle.node == *path);
            }
        }
    }
}

/// The positions of the passed paths that cover `node`.
fn rows_above<'n>(
    node: NodePath<'n>,
    selection: &'n Selection<'_>,
) -> impl Iterator<Item = usize> + 'n {
    let rows = selection.passed.iter().enumerate();
    rows.filter(move |(_, path)| node.is_at_or_below(path))
        .map(|(row, _)| row)
}

fn without_tree(row: &PathRow<'_>) -> Fault {
    let PathRow { place, path } = row;
    Fault {
        offset: place.offset as usize,
        text: format!("{place}: {path:?} is a path in the host's device tree: give it with --dtb"),
    }
}

fn missing_paths<'r>(
    rows: impl Iterator<Item = &'r PathRow<'r>>,
    host: HostTree<'_>,
) -> Vec<Fault> {
    let mut paths = HashSet::new();
    host.tree.visit_nodes(|path| {
        paths.insert(path.to_string());
    });
    let missing = rows.filter(|row| !paths.contains(row.path.as_ref()));
    let missing = missing.map(|PathRow { place, path }| {
        let near = near_paths(path, paths.iter().map(String::as_str));
        let near = match near.is_empty() {
            true => String::new(),
            false => format!("; near it are {}", near.join(", ")),
        };
        Fault {
            offset: place.offset as usize,
            text: format!("{place}: there is no {path:?} in {}{near}", host.file),
        }
    });
    missing.collect()
}
