//! Host pages that two machines can reach.

use guest_addr::HostPhysRange;
use region_planner::{Mapping, RegionKind};

use crate::plan::{host_range, sources_at};
use crate::problem::{Problem, line_at};
use crate::session::Machine;
use crate::warning::{Code, Warning};

/// What machines share.
#[derive(Debug, Default)]
pub(crate) struct Shared<'s> {
    /// Pages that are RAM of one machine at least.
    pub(crate) ram: Vec<Problem>,
    /// Pages that are passed through to both, with the file of the first machine.
    pub(crate) devices: Vec<(&'s str, Warning)>,
}

/// One mapping of one machine, with the host memory that it leads to.
#[derive(Clone, Copy)]
struct Reach<'m, 's> {
    host: HostPhysRange,
    /// The position among the machines.
    owner: usize,
    machine: &'m Machine<'s>,
    mapping: Mapping<'m, 's>,
}

/// Compares every pair of mappings that overlap on the host and belong to two machines. Memory that
/// the hypervisor allocates is never shared.
pub(crate) fn find_shared<'s>(machines: &[Machine<'s>]) -> Shared<'s> {
    let mut reaches: Vec<_> = machines
        .iter()
        .enumerate()
        .flat_map(|(owner, machine)| {
            machine.planned.plan.mappings().filter_map(move |mapping| {
                let host = host_range(&mapping)?;
                Some(Reach {
                    host,
                    owner,
                    machine,
                    mapping,
                })
            })
        })
        .collect();
    reaches.sort_by_key(|reach| reach.host.start());
    let mut shared = Shared::default();
    let mut open: Vec<Reach<'_, '_>> = Vec::new();
    for reach in reaches {
        open.retain(|earlier| earlier.host.last() >= reach.host.start());
        for earlier in open.iter().filter(|earlier| earlier.owner != reach.owner) {
            let mut pair = [*earlier, reach];
            pair.sort_by_key(|reach| reach.owner);
            shared.add(pair);
        }
        open.push(reach);
    }
    shared
}

impl<'s> Shared<'s> {
    fn add(&mut self, pair: [Reach<'_, 's>; 2]) {
        let [first, second] = pair;
        let Some(host) = first.host.intersection(&second.host) else {
            return;
        };
        let is_device = |reach: &Reach<'_, '_>| reach.mapping.kind() == RegionKind::Passthrough;
        if !pair.iter().all(is_device) {
            let text = format!(
                "{} and {} both reach host RAM {host}: give each machine its own",
                first.describe(host),
                second.describe_with_file(host),
            );
            let offset = first.offset(host);
            return self.ram.push(first.machine.problem_at(offset, text));
        }
        let sources = pair
            .iter()
            .flat_map(|reach| sources_at(&reach.mapping, host));
        let mut names: Vec<String> = sources.map(|source| source.name().into()).collect();
        names.dedup();
        let warning = Warning {
            code: Code::SharedDevice,
            message: format!(
                "{} and {} both reach host {host}",
                first.describe_with_file(host),
                second.describe_with_file(host)
            ),
            sources: names,
            bytes: None,
        };
        self.devices.push((first.machine.file, warning));
    }
}

impl Reach<'_, '_> {
    /// Where the first entry that has a page of `host` stands in its file.
    fn offset(&self, host: HostPhysRange) -> usize {
        let source = sources_at(&self.mapping, host).next();
        let entry = source.and_then(|source| self.machine.planned.entry(source));
        entry.map_or(0, |entry| entry.offset())
    }

    /// `VM 1 "linux" by memory_regions[0] (identical, guest 0x8000-0x8fff, ...)`: the entries that have a
    /// page of `host`.
    fn describe(&self, host: HostPhysRange) -> String {
        let planned = &self.machine.planned;
        let mut sources = sources_at(&self.mapping, host);
        let first = sources.next().and_then(|source| planned.entry(source));
        let first = first.map(|entry| entry.to_string()).unwrap_or_default();
        let more = match sources.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let config = planned.config;
        format!("VM {} {:?} by {first}{more}", config.id, config.name)
    }

    /// The same, with file and line.
    fn describe_with_file(&self, host: HostPhysRange) -> String {
        let line = line_at(self.machine.text, self.offset(host));
        format!("{} ({}:{line})", self.describe(host), self.machine.file)
    }
}
