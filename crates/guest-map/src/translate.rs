//! Where one guest-physical address leads.

use std::fmt;
use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use reference_mmu::{Access, GuestMode, NestedMmu};
use region_planner::{Mapping, Region};
use serde::Serialize;

use crate::architecture::with_format;
use crate::build::Built;
use crate::hardware_walk::{Walkable, WalkerMemory};
use crate::host::Host;
use crate::plan::{Planned, unique_sources};
use crate::problem::{Failure, Problem};
use crate::report::Answer;
use crate::report::json::{self, Hexadecimal, Vm, hexadecimal};
use crate::report::size::size;
use crate::report::words::memory;
use crate::report::wrap::Paragraph;
use crate::session::Machine;

/// Where an address leads.
#[derive(Debug, Serialize)]
pub(crate) struct Translation<'p, 'a> {
    vm: Vm<'p>,
    gpa: Hexadecimal,
    /// `None` where the hypervisor chooses.
    hpa: Option<Hexadecimal>,
    region: json::Region<'p, 'a>,
    leaf: Leaf,
    mode: String,
    walk: Vec<Step>,
    /// The host address in the walk, where the hypervisor chooses another.
    #[serde(skip)]
    walked: HostPhysAddr,
}

impl<'p, 'a> Translation<'p, 'a> {
    /// The mapping of `address`, and the entries that a page walker reads on the way.
    ///
    /// # Errors
    ///
    /// Nothing is mapped there, or the tables cannot be built.
    pub(crate) fn new(machine: &'p Machine<'a>, address: GuestPhysAddr) -> Result<Self, Failure> {
        let planned = &machine.planned;
        let refuse = |text| Failure::from(Problem::of_file(machine.file, text));
        let mapping = planned
            .mapping_at(address)
            .ok_or_else(|| refuse(describe_nothing(machine, address)))?;
        let host = Host::new(planned.hardware.geometry().output_bits());
        let walked = with_format!(planned.hardware, format => walk(planned, format, &mapping, address, &host));
        let walked = walked.map_err(refuse)?;
        Ok(Self {
            vm: Vm::of(planned),
            gpa: hexadecimal(address),
            hpa: mapping.host().map(|_| hexadecimal(walked.host)),
            region: json::Region(mapping),
            leaf: walked.leaf,
            mode: planned.mode.to_string(),
            walk: walked.steps,
            walked: walked.host,
        })
    }
}

impl Answer for Translation<'_, '_> {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        let address = GuestPhysAddr::new(self.gpa.0);
        let heading = format!("guest {address} of VM {} {:?}", self.vm.id, self.vm.name);
        Paragraph::write(&heading, output)?;
        let walked = self.walked;
        match self.hpa {
            Some(_) => writeln!(output, "  host     {walked}")?,
            None => writeln!(
                output,
                "  host     the hypervisor chooses; {walked} in this walk"
            )?,
        }
        let mapping = &self.region.0;
        let (guest, kind) = (mapping.guest(), mapping.kind());
        let bytes = size(guest.size());
        writeln!(output, "  region   {kind}, guest {guest}, {bytes}")?;
        let mut sources = Paragraph::hanging(output, "  sources ")?;
        let mut between = "";
        for source in unique_sources(mapping) {
            sources.add(between, source)?;
            between = ",";
        }
        sources.end()?;
        writeln!(output, "  flags    {}", mapping.flags())?;
        let Leaf {
            size: bytes,
            memory,
            attributes,
        } = &self.leaf;
        let bytes = size(bytes.0);
        writeln!(output, "  leaf     {bytes}, {memory} ({attributes})")?;
        writeln!(
            output,
            "  walk     {}, tables at made-up addresses",
            self.mode
        )?;
        for step in &self.walk {
            writeln!(output, "    {step}")?;
        }
        Ok(())
    }
}

/// The last entry of a walk.
#[derive(Debug, Serialize)]
pub(crate) struct Leaf {
    size: Hexadecimal,
    memory: &'static str,
    /// In the architecture's own terms.
    attributes: String,
}

/// An entry that a walker read.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    level: u8,
    /// Where the entry is.
    address: Hexadecimal,
    value: Hexadecimal,
    kind: &'static str,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            level, value, kind, ..
        } = self;
        let address = HostPhysAddr::new(self.address.0);
        write!(
            f,
            "level {level}  entry at {address}: {:#018x}, {kind}",
            value.0
        )
    }
}

/// Why nothing is mapped at `address`.
pub(crate) fn describe_nothing(machine: &Machine<'_>, address: GuestPhysAddr) -> String {
    let planned = &machine.planned;
    if let Some(region) = emulated_at(planned, address).next() {
        let name = region.name();
        return format!(
            "guest {address} is not mapped: an access traps, for {name} is emulated there"
        );
    }
    let below = planned
        .plan
        .mappings()
        .take_while(|mapping| mapping.guest().last() < address)
        .last();
    let above = planned
        .plan
        .mappings()
        .find(|mapping| mapping.guest().start() > address);
    let mut text = format!("guest {address} is not mapped");
    let neighbours = [("before", below), ("after", above)];
    for (side, mapping) in neighbours {
        if let Some(mapping) = mapping {
            text += &format!("; the mapping {side} it is {}", mapping.guest());
        }
    }
    let host = HostPhysAddr::new(address.as_u64());
    if let Some(path) = machine.memory.device_at(host) {
        text += &format!("; on the host {path} is there, and it is not passed through");
    }
    text
}

/// The emulated devices that have the page of `address`.
pub(crate) fn emulated_at<'e, 'a>(
    planned: &'e Planned<'_, 'a>,
    address: GuestPhysAddr,
) -> impl Iterator<Item = &'e Region<'a>> {
    planned.emulated().filter(move |region| {
        let pages = region
            .requested()
            .and_then(|bytes| bytes.align_outward_4k().ok());
        pages.is_some_and(|pages| pages.contains(address))
    })
}

/// What a walker found.
pub(crate) struct Walked {
    pub(crate) host: HostPhysAddr,
    leaf: Leaf,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn walk<F: Walkable>(
    planned: &Planned<'_, '_>,
    format: F,
    mapping: &Mapping<'_, '_>,
    address: GuestPhysAddr,
    host: &Host,
) -> Result<Walked, String> {
    let built = Built::new(planned, format, 1, host)?;
    let access = match mapping.flags().contains(MappingFlags::READ) {
        true => Access::Read,
        false => Access::Execute(GuestMode::Supervisor),
    };
    let walk = built
        .mmu
        .walk(&WalkerMemory(host.memory()), address, access);
    let leaf = walk
        .outcome
        .map_err(|fault| format!("a walk for guest {address} faults: {fault}"))?;
    let last = walk.steps.len().saturating_sub(1);
    let steps = walk.steps.iter().enumerate().map(|(index, step)| Step {
        level: step.level,
        address: hexadecimal(step.entry),
        value: Hexadecimal(step.value),
        kind: if index == last { "leaf" } else { "table" },
    });
    Ok(Walked {
        host: leaf.address,
        leaf: Leaf {
            size: Hexadecimal(leaf.page_size),
            memory: memory(leaf.kind),
            attributes: leaf.attributes.to_string(),
        },
        steps: steps.collect(),
    })
}
