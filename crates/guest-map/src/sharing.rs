//! Host pages that two machines can reach.

use guest_addr::HostPhysRange;
use region_planner::{Mapping, RegionKind};

use crate::plan::{host_range, unique_sources};
use crate::problem::Problem;
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
        let (one, other) = (first.describe(), second.describe());
        let file = first.machine.file;
        if !pair.iter().all(is_device) {
            let text =
                format!("{one} and {other} both reach host RAM {host}: give each machine its own");
            return self.ram.push(Problem::of_file(file, text));
        }
        let sources = pair.iter().flat_map(|reach| unique_sources(&reach.mapping));
        let warning = Warning {
            code: Code::SharedDevice,
            message: format!("{one} and {other} both reach host {host}"),
            sources: sources.map(String::from).collect(),
            bytes: None,
        };
        self.devices.push((file, warning));
    }
}

impl Reach<'_, '_> {
    /// `VM 1 "linux" of linux.toml (memory_regions[0]: identical, guest 0x8000-0x8fff)`
    fn describe(&self) -> String {
        let config = self.machine.planned.config;
        let (mapping, file) = (&self.mapping, self.machine.file);
        let mut sources = unique_sources(mapping);
        let first = sources.next().unwrap_or_default();
        let more = match sources.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "VM {} {:?} of {file} ({first}{more}: {}, guest {})",
            config.id,
            config.name,
            mapping.kind(),
            mapping.guest(),
        )
    }
}
