//! A plan for people, within 80 columns where names allow.

use std::fmt::{self, Display};
use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::{MappingFlags, MemoryType};
use region_planner::Mapping;

use super::size::size;
use super::wrap::{INDENT, Paragraph};
use crate::plan::{Planned, unique_sources};
use crate::printable::printable;
use crate::warning::Warning;

/// Writes the regions, the cost and the warnings.
pub(crate) fn write(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    write_head(planned, output)?;
    let digits = digits_for(planned);
    if planned.plan.mapping_count() > 0 {
        let range = 2 * digits + 5;
        writeln!(
            output,
            "\n{:range$}  {:>10}  {:host$}  flags          kind",
            "guest",
            "size",
            "host",
            host = digits + 2,
        )?;
    }
    for mapping in planned.plan.mappings() {
        write_mapping(&mapping, digits, output)?;
    }
    write_emulated(planned, digits, output)?;
    write_ports(planned, output)?;
    write_virtual(planned, output)?;
    write_cost(planned, output)?;
    write_warnings(planned.warnings(), output)
}

fn write_head(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let config = planned.config;
    let geometry = planned.hardware.geometry();
    writeln!(
        output,
        "VM {} {:?} on {} in mode {}: guest {} bits, host {} bits",
        config.id,
        config.name,
        planned.mode.architecture(),
        planned.mode,
        geometry.input_bits(),
        geometry.output_bits(),
    )
}

/// The width of all addresses: that of the widest.
fn digits_for(planned: &Planned<'_, '_>) -> usize {
    let last_mapped = planned
        .plan
        .mappings()
        .next_back()
        .map(|mapping| mapping.guest().last().as_u64());
    let emulated = planned
        .emulated()
        .filter_map(|region| Some(region.requested()?.last().as_u64()));
    let hosts = planned
        .plan
        .mappings()
        .filter_map(|mapping| Some(mapping.host()?.as_u64()));
    let widest = emulated
        .chain(last_mapped)
        .chain(hosts)
        .max()
        .unwrap_or_default();
    (widest.checked_ilog2().unwrap_or_default() as usize / 4 + 1).max(8)
}

fn write_mapping(
    mapping: &Mapping<'_, '_>,
    digits: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let guest = mapping.guest();
    writeln!(
        output,
        "{}  {:>10}  {:host$}  {}  {}",
        range(guest, digits),
        size(guest.size()),
        host(guest.start(), mapping.host(), digits),
        flags(mapping.flags()),
        mapping.kind(),
        host = digits + 2,
    )?;
    write_sources(mapping, output)
}

fn write_emulated(
    planned: &Planned<'_, '_>,
    digits: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut heading = Some("\nemulated: never mapped, every access traps");
    for region in planned.emulated() {
        if let Some(heading) = heading.take() {
            writeln!(output, "{heading}")?;
        }
        if let Some(bytes) = region.requested() {
            let (range, size) = (range(bytes, digits), size(bytes.size()));
            writeln!(output, "{range}  {size:>10}  {}", printable(region.name()))?;
        }
    }
    Ok(())
}

fn write_ports(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let passed = &planned.config.ports;
    if planned.ports.is_empty() && passed.is_empty() {
        return Ok(());
    }
    writeln!(output, "\nI/O ports: no guest memory")?;
    for device in planned.ports {
        let (first, last, name) = (device.first, device.last, printable(device.name));
        writeln!(output, "{first:#06x}-{last:#06x}  {name}, emulated")?;
    }
    for (first, last) in passed {
        writeln!(output, "{first:#06x}-{last:#06x}  passed through")?;
    }
    Ok(())
}

fn write_virtual(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let mut heading = Some("\nvirtual: the hypervisor's machine profile places them");
    for device in &planned.config.virtual_devices {
        if let Some(heading) = heading.take() {
            writeln!(output, "{heading}")?;
        }
        let (id, model) = (printable(&device.id), printable(&device.model));
        writeln!(output, "{INDENT}{id} ({model})")?;
    }
    Ok(())
}

fn write_cost(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let cost = &planned.cost;
    let leaves = &cost.leaves;
    writeln!(
        output,
        "\ntables: {} levels, root {}, {} in {} frames of 4 KiB\nleaves: {} of 4K, {} of 2M, {} of 1G",
        cost.levels,
        size(cost.root_bytes),
        size(cost.frames.saturating_mul(0x1000)),
        cost.frames,
        leaves.size_4k,
        leaves.size_2m,
        leaves.size_1g,
    )
}

/// Writes warnings, if there are any, after an empty line.
pub(crate) fn write_warnings(
    warnings: impl Iterator<Item = Warning>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut separator = "\nwarning:";
    for warning in warnings {
        let mut paragraph = Paragraph::new(output, separator)?;
        paragraph.add("", warning.code.name())?;
        let mut between = ":";
        for word in warning.message.split(' ') {
            paragraph.add(between, word)?;
            between = "";
        }
        paragraph.end()?;
        separator = "warning:";
    }
    Ok(())
}

fn write_sources(mapping: &Mapping<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let mut sources = unique_sources(mapping);
    let first = format!("{INDENT}{}", printable(sources.next().unwrap_or_default()));
    let mut paragraph = Paragraph::new(output, &first)?;
    for source in sources {
        paragraph.add(",", source)?;
    }
    paragraph.end()
}

/// Both ends with `digits` digits: `0x80000000-0x8fffffff`.
fn range(range: GuestPhysRange, digits: usize) -> impl Display {
    struct Ends(u64, u64, usize);
    impl Display for Ends {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self(start, last, width) = self;
            write!(f, "{start:#0width$x}-{last:#0width$x}")
        }
    }
    Ends(range.start().as_u64(), range.last().as_u64(), digits + 2)
}

/// Where a guest address leads, in a few words.
fn host(guest: GuestPhysAddr, host: Option<HostPhysAddr>, digits: usize) -> String {
    let width = digits + 2;
    match host {
        None => "allocated".into(),
        Some(host) if host.as_u64() == guest.as_u64() => "= guest".into(),
        Some(host) => format!("{:#0width$x}", host.as_u64()),
    }
}

/// `rwxu normal`, 13 columns wide.
pub(crate) fn flags(flags: MappingFlags) -> String {
    let letter = |flag, letter| if flags.contains(flag) { letter } else { '-' };
    let memory_type = match flags.memory_type() {
        MemoryType::WriteBack => "",
        MemoryType::Uncached => "uncached",
        MemoryType::Device => "device",
    };
    format!(
        "{}{}{}{} {memory_type:8}",
        letter(MappingFlags::READ, 'r'),
        letter(MappingFlags::WRITE, 'w'),
        letter(MappingFlags::EXECUTE, 'x'),
        letter(MappingFlags::USER, 'u'),
    )
}
