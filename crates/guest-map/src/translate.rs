//! Where one guest-physical address leads.

use std::io::Write;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use reference_mmu::{Access, GuestMode, NestedMmu};
use region_planner::{Mapping, Region};

use crate::architecture::with_format;
use crate::build::Built;
use crate::hardware_walk::{Walkable, WalkerMemory};
use crate::host::Host;
use crate::plan::{Planned, unique_sources};
use crate::printable::printable;
use crate::problem::{Failure, Problem};
use crate::report::size::size;
use crate::report::words::memory;
use crate::session::Machine;

/// Prints the mapping of `address`, and the entries that a page walker reads on the way.
pub(crate) fn translate(
    machine: &Machine<'_>,
    address: GuestPhysAddr,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let planned = &machine.planned;
    let refuse = |text| Failure::from(Problem::of_file(machine.file, text));
    let mapping = planned
        .mapping_at(address)
        .ok_or_else(|| refuse(describe_nothing(planned, address)))?;
    let host = Host::new(planned.hardware.geometry().output_bits());
    let walked =
        with_format!(planned.hardware, format => walk(planned, format, &mapping, address, &host));
    let walked = walked.map_err(refuse)?;

    let config = planned.config;
    writeln!(
        output,
        "guest {address} of VM {} {:?}",
        config.id, config.name
    )?;
    match mapping.host() {
        Some(_) => writeln!(output, "  host     {}", walked.host)?,
        None => writeln!(
            output,
            "  host     the hypervisor chooses; {} in this walk",
            walked.host
        )?,
    }
    let (guest, kind) = (mapping.guest(), mapping.kind());
    writeln!(
        output,
        "  region   {kind}, guest {guest}, {}",
        size(guest.size())
    )?;
    let sources: Vec<_> = unique_sources(&mapping).collect();
    writeln!(output, "  sources  {}", printable(&sources.join(", ")))?;
    writeln!(output, "  flags    {}", mapping.flags())?;
    writeln!(
        output,
        "  leaf     {}, {}",
        size(walked.leaf_size),
        walked.attributes
    )?;
    writeln!(
        output,
        "  walk     {}, tables at made-up addresses",
        planned.mode
    )?;
    for step in walked.steps {
        writeln!(output, "    {step}")?;
    }
    Ok(())
}

/// Why nothing is mapped at `address`.
pub(crate) fn describe_nothing(planned: &Planned<'_, '_>, address: GuestPhysAddr) -> String {
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
    leaf_size: u64,
    attributes: String,
    pub(crate) steps: Vec<String>,
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
    let steps = walk.steps.iter().enumerate().map(|(index, step)| {
        let what = if index == last { "leaf" } else { "table" };
        let (level, entry, value) = (step.level, step.entry, step.value);
        format!("level {level}  entry at {entry}: {value:#018x}, {what}")
    });
    Ok(Walked {
        host: leaf.address,
        leaf_size: leaf.page_size,
        attributes: format!("{} ({})", memory(leaf.kind), leaf.attributes),
        steps: steps.collect(),
    })
}
