//! A plan for people, within 80 columns where names allow.

use std::fmt::{self, Display};
use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::{MappingFlags, MemoryType};
use region_planner::Mapping;

use super::size::size;
use super::words::count;
use super::wrap::{INDENT, Paragraph};
use crate::cli::{Listing, Options};
use crate::dependencies::{Dependencies, Needed, Supplied};
use crate::plan::{Planned, unique_sources};
use crate::printable::printable;
use crate::warning::{Code, Warning};

/// Writes the regions, the cost and the warnings.
pub(crate) fn write(
    planned: &Planned<'_, '_>,
    options: &Options,
    dependencies: Dependencies,
    output: &mut impl Write,
) -> io::Result<()> {
    write_head(planned, output)?;
    let digits = digits_for(planned);
    if planned.plan.mapping_count() > 0 {
        let range = 2 * digits + 5;
        let size = if shows_size(digits) {
            "      size  "
        } else {
            ""
        };
        let kind = if shows_kind(digits) {
            "          kind"
        } else {
            ""
        };
        writeln!(
            output,
            "\n{:range$}  {size}{:host$}  flags{kind}",
            "guest",
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
    if dependencies == Dependencies::Explained {
        write_dependencies(&planned.dependencies, output)?;
    }
    write_cost(planned, output)?;
    write_warnings(planned.warnings(), options, output)
}

/// Whether kinds fit beside addresses of so many digits, or else go before the sources.
const fn shows_kind(digits: usize) -> bool {
    digits <= 10
}

/// The same of sizes.
const fn shows_size(digits: usize) -> bool {
    digits <= 14
}

fn write_head(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let config = planned.config;
    let geometry = planned.hardware.geometry();
    let mut paragraph = Paragraph::new(output, &format!("VM {}", config.id))?;
    paragraph.add_words(&format!("{:?}", config.name))?;
    paragraph.add_words(&format!(
        "on {} in mode {}: guest {} bits, host {} bits",
        planned.mode.architecture(),
        planned.mode,
        geometry.input_bits(),
        geometry.output_bits(),
    ))?;
    paragraph.end()
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
    let columns = digits + 2;
    let size = match shows_size(digits) {
        true => format!("{:>10}  ", size(guest.size())),
        false => String::new(),
    };
    let host = host(guest.start(), mapping.host(), digits);
    let line = format!(
        "{}  {size}{host:columns$}  {}",
        range(guest, digits),
        flags(mapping.flags()),
    );
    match shows_kind(digits) {
        true => writeln!(output, "{line}  {}", mapping.kind())?,
        false => writeln!(output, "{}", line.trim_end())?,
    }
    write_sources(mapping, digits, output)
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
            let mut paragraph = Paragraph::new(output, &format!("{range}  {size:>10} "))?;
            paragraph.add("", region.name())?;
            paragraph.end()?;
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
        "\ntables: {}, root {}, {} in {} of 4 KiB\nleaves: {} of 4K, {} of 2M, {} of 1G",
        count(cost.levels.into(), "level"),
        size(cost.root_bytes),
        size(cost.frames.saturating_mul(0x1000)),
        count(cost.frames, "frame"),
        leaves.size_4k,
        leaves.size_2m,
        leaves.size_1g,
    )
}

/// How many warnings of one kind are printed before they are summed up.
const LISTED: usize = 3;

/// Writes warnings, if there are any, after an empty line. Of a kind that occurs often only the first, as
/// long as nobody asks for all.
pub(crate) fn write_warnings(
    warnings: impl Iterator<Item = Warning>,
    options: &Options,
    output: &mut impl Write,
) -> io::Result<()> {
    let warnings: Vec<_> = warnings
        .filter(|warning| !options.allows(warning))
        .collect();
    let of_kind = |code| {
        warnings
            .iter()
            .filter(move |other| other.code == code)
            .count()
    };
    let mut summed_up: Vec<Code> = Vec::new();
    let mut separator = "\nwarning:";
    for warning in &warnings {
        let code = warning.code;
        if summed_up.contains(&code) {
            continue;
        }
        write_warning(separator, code, &warning.message, output)?;
        separator = "warning:";
        let number = of_kind(code);
        if options.warnings == Listing::Some && number > LISTED {
            let more = format!(
                "{} more of this kind; --warnings all lists them",
                number - 1
            );
            write_warning(separator, code, &more, output)?;
            summed_up.push(code);
        }
    }
    Ok(())
}

/// Device by device.
fn write_dependencies(
    dependencies: &[(Needed, Supplied)],
    output: &mut impl Write,
) -> io::Result<()> {
    writeln!(output, "\nwhat passed-through devices need besides")?;
    if dependencies.is_empty() {
        writeln!(output, "{INDENT}nothing")?;
    }
    let of_one_device =
        |(one, _): &(Needed, _), (other, _): &(Needed, _)| one.device == other.device;
    for needed in dependencies.chunk_by(of_one_device) {
        if let Some((first, _)) = needed.first() {
            let mut paragraph = Paragraph::new(output, " ")?;
            paragraph.add("", &first.device)?;
            paragraph.end()?;
        }
        for (needed, supplied) in needed {
            let property = needed.kind.property();
            let mut paragraph = Paragraph::new(output, &format!("{INDENT}{property:16}"))?;
            paragraph.add("", &needed.target)?;
            paragraph.add(":", supplied.words())?;
            paragraph.end()?;
        }
    }
    Ok(())
}

fn write_warning(
    separator: &str,
    code: Code,
    message: &str,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut paragraph = Paragraph::new(output, separator)?;
    paragraph.add("", &format!("{}:", code.name()))?;
    paragraph.add_words(message)?;
    paragraph.end()
}

fn write_sources(
    mapping: &Mapping<'_, '_>,
    digits: usize,
    output: &mut impl Write,
) -> io::Result<()> {
    // A space follows before the first source.
    let mut before = INDENT.get(1..).unwrap_or_default().to_owned();
    if !shows_size(digits) {
        before += &format!(" {},", size(mapping.guest().size()));
    }
    if !shows_kind(digits) {
        before += &format!(" {}:", mapping.kind());
    }
    let mut paragraph = Paragraph::new(output, &before)?;
    let mut between = "";
    for source in unique_sources(mapping) {
        paragraph.add(between, source)?;
        between = ",";
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
pub(crate) fn host(guest: GuestPhysAddr, host: Option<HostPhysAddr>, digits: usize) -> String {
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
