//! The host's device tree: which regions the paths of a configuration stand for.

use std::collections::HashSet;

use device_tree_regions::{DeviceTree, Finding, Selection};
use guest_addr::HostPhysRange;

use crate::config::{Config, PathRow};
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
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    /// Follows the paths of `config`. Addresses of more than `address_bits` bits are left out.
    ///
    /// # Errors
    ///
    /// Every path that is not in the tree, or all of them without a tree.
    pub(crate) fn of(
        config: &Config<'_>,
        host: Option<HostTree<'_>>,
        address_bits: u32,
    ) -> Result<Self, Vec<Fault>> {
        let rows = || config.passed.iter().chain(&config.excluded);
        if rows().next().is_none() {
            return Ok(Self::default());
        }
        let Some(host) = host else {
            return Err(rows().map(without_tree).collect());
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
        let selection = Selection::new(&passed, &excluded).with_address_bits(address_bits);
        Ok(Self::of_selection(config, host.tree, &selection))
    }

    fn of_selection(config: &Config<'_>, tree: DeviceTree<'_>, selection: &Selection<'_>) -> Self {
        let mut findings = Self::default();
        let mut contributes = vec![false; selection.passed.len()];
        tree.visit_regions(selection, |finding| match finding {
            Finding::Region(region) => {
                let mut first = None;
                let rows = contributes.iter_mut().zip(selection.passed).enumerate();
                for (row, (contributes, path)) in rows {
                    if region.node.is_at_or_below(path) {
                        *contributes = true;
                        first = first.or(Some(row));
                    }
                }
                findings.regions.push(FoundRegion {
                    row: first.unwrap_or_default(),
                    path: region.node.to_string(),
                    range: region.range,
                });
            }
            Finding::Ignored(ignored) => {
                let node = ignored.node.to_string();
                let message = ignored.to_string();
                let warning = Warning::new(Code::DeviceTreeEntryIgnored, node, message);
                findings.warnings.push(warning);
            }
        });
        findings.regions.sort_by_key(|region| region.row);
        let idle = config.passed.iter().zip(contributes);
        let idle = idle.filter(|(_, contributes)| !contributes);
        findings
            .warnings
            .extend(idle.map(|(row, _)| nothing_passed_through(row)));
        tree.visit_excluded_regions(selection, |region| {
            findings
                .excluded
                .push((region.node.to_string(), region.range));
        });
        findings
    }
}

fn without_tree(row: &PathRow<'_>) -> Fault {
    let PathRow { place, path } = row;
    Fault {
        offset: place.offset as usize,
        text: format!("{place}: {path:?} is a path in the host's device tree: give it with --dtb"),
    }
}

fn nothing_passed_through(row: &PathRow<'_>) -> Warning {
    let PathRow { place, path } = row;
    let message = format!(
        "{place}: {path} passes nothing through: neither it nor anything below it is an enabled \
         device with addresses"
    );
    Warning::new(Code::NothingPassedThrough, path.as_ref(), message)
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
