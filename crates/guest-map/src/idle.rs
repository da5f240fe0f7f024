//! Why a path passes nothing through.

use std::collections::HashSet;

use device_tree_regions::{Idle, IdleReason};
use region_planner::{Origin, Plan, Region, RegionKind};

use crate::config::{Config, PathRow};
use crate::device_tree::{Findings, FoundRegion};
use crate::warning::{Code, Warning};

/// Why the nodes at and below a path have no regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdleCause {
    rank: Rank,
    /// The node that is disabled or excluded, or whose addresses do not translate.
    node: String,
}

/// What explains most, last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    NoAddress,
    NotADevice,
    /// Something below the path is excluded.
    ExcludedBelow,
    DisabledBelow,
    NotTranslated,
    /// The node itself, so that nothing below it counts.
    IsNoDevice,
    IsExcluded,
    IsDisabled,
}

impl IdleCause {
    /// Takes in one node without regions; `is_named` where it is the node of the path itself.
    pub(crate) fn improve(cause: &mut Option<Self>, idle: &Idle<'_>, is_named: bool) {
        let (rank, node) = match (&idle.reason, is_named) {
            (IdleReason::NotADevice, true) => (Rank::IsNoDevice, idle.node),
            (IdleReason::NotADevice, false) => (Rank::NotADevice, idle.node),
            (IdleReason::Excluded { by }, true) => (Rank::IsExcluded, *by),
            (IdleReason::Excluded { by }, false) => (Rank::ExcludedBelow, *by),
            (IdleReason::Disabled { by }, true) => (Rank::IsDisabled, *by),
            (IdleReason::Disabled { by }, false) => (Rank::DisabledBelow, *by),
            (IdleReason::NotTranslated, _) => (Rank::NotTranslated, idle.node),
            _ => (Rank::NoAddress, idle.node),
        };
        if cause.as_ref().is_none_or(|known| known.rank < rank) {
            let node = node.to_string();
            *cause = Some(Self { rank, node });
        }
    }

    /// The reason, as the end of a sentence about `path`.
    fn describe(&self, path: &str) -> String {
        let node = match self.node == path {
            true => "it",
            false => self.node.as_str(),
        };
        match self.rank {
            Rank::IsDisabled | Rank::DisabledBelow => {
                format!("{node} is disabled (its status is not \"okay\")")
            }
            Rank::IsExcluded | Rank::ExcludedBelow => format!("{node} is excluded"),
            Rank::IsNoDevice | Rank::NotADevice => {
                format!("{node} is memory or a CPU, and no device")
            }
            Rank::NotTranslated if self.node == path => {
                "its address does not translate to an address of the CPU".into()
            }
            Rank::NotTranslated => {
                format!("the address of {node} does not translate to an address of the CPU")
            }
            Rank::NoAddress => "neither it nor anything below it has an address".into(),
        }
    }
}

/// One warning for each path of `config` that puts no byte into the map.
pub(crate) fn idle_paths(
    config: &Config<'_>,
    findings: &Findings,
    plan: &Plan<'_, '_>,
) -> Vec<Warning> {
    // A machine without a device tree has a warning of its own.
    if findings.causes.is_empty() {
        return Vec::new();
    }
    let mapped = mapped_devices(plan);
    let mut contributes = vec![false; config.passed.len()];
    let mut hidden: Vec<Option<&FoundRegion>> = vec![None; config.passed.len()];
    for found in &findings.regions {
        let is_mapped = mapped.contains(found.path.as_str());
        for &row in [found.row].iter().chain(&found.more_rows) {
            if let (Some(contributes), Some(hidden)) =
                (contributes.get_mut(row), hidden.get_mut(row))
            {
                *contributes |= is_mapped;
                *hidden = hidden.or(Some(found));
            }
        }
    }
    let owners = Owners::of(plan);
    let rows = config.passed.iter().zip(&findings.causes);
    let rows = rows.zip(contributes).zip(hidden);
    let idle = rows.filter(|((_, contributes), _)| !contributes);
    idle.map(|(((row, cause), _), hidden)| {
        let reason = match (hidden, cause) {
            (Some(found), _) => owners.describe(found),
            (None, Some(cause)) => cause.describe(&row.path),
            (None, None) => "it has no address".into(),
        };
        let PathRow { place, path } = row;
        let message = format!("{place}: {path} passes nothing through: {reason}");
        Warning::new(Code::NothingPassedThrough, path.as_ref(), message)
    })
    .collect()
}

/// The paths of the devices that the map has a page of.
fn mapped_devices<'p>(plan: &'p Plan<'_, '_>) -> HashSet<&'p str> {
    let passed = plan
        .mappings()
        .filter(|mapping| mapping.kind() == RegionKind::Passthrough);
    let sources = passed.flat_map(|mapping| mapping.sources());
    let devices = sources.filter(|source| source.origin() == Origin::DeviceTree);
    devices.map(Region::name).collect()
}

/// What device-tree regions give way to, by guest address.
struct Owners<'p, 'a>(Vec<&'p Region<'a>>);

impl<'p, 'a> Owners<'p, 'a> {
    fn of(plan: &'p Plan<'_, 'a>) -> Self {
        let regions = plan.regions().iter();
        Self(
            regions
                .filter(|region| region.kind() != RegionKind::Passthrough)
                .collect(),
        )
    }

    fn describe(&self, found: &FoundRegion) -> String {
        let FoundRegion { path, range, .. } = found;
        let (start, last) = (range.start().as_u64(), range.last().as_u64());
        let before = self
            .0
            .partition_point(|owner| owner.guest().as_u64() <= last | 0xfff);
        let mut owners = self.0.get(..before).unwrap_or_default().iter().rev();
        let owner = owners.find(|owner| {
            let end = owner.requested().map(|bytes| bytes.last().as_u64() | 0xfff);
            end.is_some_and(|end| end >= start)
        });
        match owner {
            Some(owner) => format!(
                "{} ({}, guest {}) takes the pages of {path} ({range})",
                owner.name(),
                owner.kind(),
                owner
                    .requested()
                    .map(|bytes| bytes.to_string())
                    .unwrap_or_default(),
            ),
            None => format!("RAM and emulated devices take the pages of {path} ({range})"),
        }
    }
}
