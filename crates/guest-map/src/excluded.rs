//! Excluded devices that the machine reaches all the same.

use guest_addr::HostPhysRange;
use region_planner::{Mapping, Plan};

use crate::device_tree::Findings;
use crate::plan::{host_range, sources_at};
use crate::warning::{Code, Warning};

/// One warning for each excluded device that has bytes in a host page that the machine reaches, whether
/// the page is passed through or RAM.
pub(crate) fn reachable_excluded(findings: &Findings, plan: &Plan<'_, '_>) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    if findings.excluded.is_empty() {
        return warnings;
    }
    let reached = Reached::of(plan);
    for (path, bytes) in &findings.excluded {
        let is_known = warnings
            .last()
            .is_some_and(|last| last.sources.first() == Some(path));
        if let Some((host, mapping)) = reached.first(bytes).filter(|_| !is_known) {
            let source = sources_at(&mapping, host).next();
            let source = source.map(|source| source.name()).unwrap_or_default();
            let (kind, guest) = (mapping.kind(), mapping.guest());
            let message = format!(
                "{path} is excluded, but the machine reaches its bytes {bytes}: {source} maps their \
                 pages ({kind}, guest {guest})"
            );
            let code = Code::ExcludedDeviceReachable;
            warnings.push(Warning::new(code, path.as_str(), message));
        }
    }
    warnings
}

/// The host pages of all mappings, by address.
struct Reached<'p, 'a> {
    by_host: Vec<(HostPhysRange, Mapping<'p, 'a>)>,
    /// The last byte of each one and of all before it.
    furthest: Vec<u64>,
}

impl<'p, 'a> Reached<'p, 'a> {
    fn of(plan: &'p Plan<'p, 'a>) -> Self {
        let reached = plan
            .mappings()
            .filter_map(|mapping| Some((host_range(&mapping)?, mapping)));
        let mut by_host: Vec<_> = reached.collect();
        by_host.sort_by_key(|(host, _)| host.start());
        let furthest = by_host.iter().scan(0, |furthest, (host, _)| {
            *furthest = host.last().as_u64().max(*furthest);
            Some(*furthest)
        });
        Self {
            furthest: furthest.collect(),
            by_host,
        }
    }

    /// The first mapping that has any of `bytes`.
    fn first(&self, bytes: &HostPhysRange) -> Option<(HostPhysRange, Mapping<'p, 'a>)> {
        let start = bytes.start().as_u64();
        let from = self.furthest.partition_point(|&last| last < start);
        let candidates = self.by_host.get(from..).unwrap_or_default().iter();
        let mut candidates = candidates.take_while(|(host, _)| host.start() <= bytes.last());
        let (host, mapping) = candidates.find(|(host, _)| host.overlaps(bytes))?;
        Some((host.intersection(bytes)?, *mapping))
    }
}
