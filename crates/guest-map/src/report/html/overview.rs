//! What a reader sees before a region is chosen: the machine, what its tables cost, and the warnings.

use std::io::{self, Write};

use crate::plan::Planned;
use crate::report::picture::text::Escaped;
use crate::report::size::size;
use crate::report::words::count;
use crate::warning::Warning;

/// So many warnings are listed; the others stand beside their regions.
const LISTED: usize = 100;

/// Writes the section.
pub(super) fn write(
    planned: &Planned<'_, '_>,
    warnings: &[Warning],
    output: &mut impl Write,
) -> io::Result<()> {
    let geometry = planned.hardware.geometry();
    let cost = &planned.cost;
    let leaves = &cost.leaves;
    writeln!(
        output,
        "<section id=\"overview\" aria-label=\"Overview\">\n<dl>\n\
         <dt>Guest</dt><dd>{} bits of address</dd>\n<dt>Host</dt><dd>{} bits of address</dd>\n\
         <dt>Mappings</dt><dd>{}</dd>\n<dt>Tables</dt><dd>{}, root {}, {} in {} of 4 KiB</dd>\n\
         <dt>Leaves</dt><dd>{} of 4 KiB, {} of 2 MiB, {} of 1 GiB</dd>\n</dl>",
        geometry.input_bits(),
        geometry.output_bits(),
        planned.plan.mapping_count(),
        count(cost.levels.into(), "level"),
        size(cost.root_bytes),
        size(cost.frames.saturating_mul(0x1000)),
        count(cost.frames, "frame"),
        leaves.size_4k,
        leaves.size_2m,
        leaves.size_1g,
    )?;
    write!(output, "{}", include_str!("legend.html"))?;
    write_elsewhere(planned, output)?;
    write_warnings(warnings, output)?;
    writeln!(output, "{}</section>", include_str!("keys.html"))
}

/// What the configuration has that is in neither address space.
fn write_elsewhere(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let ports = planned.ports.iter().map(|device| {
        let (first, last) = (device.first, device.last);
        format!("{first:#06x}-{last:#06x}: {}, emulated", device.name)
    });
    let passed = planned.config.ports.iter();
    let passed = passed.map(|(first, last)| format!("{first:#06x}-{last:#06x}: passed through"));
    write_list("I/O ports", ports.chain(passed), output)?;
    let devices = planned.config.virtual_devices.iter();
    let devices = devices.map(|device| format!("{} ({})", device.id, device.model));
    write_list("Placed by the hypervisor", devices, output)
}

fn write_list(
    heading: &str,
    items: impl Iterator<Item = String>,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(());
    }
    writeln!(output, "<h3>{heading}</h3>\n<ul>")?;
    for item in items {
        writeln!(output, "<li>{}</li>", Escaped(item))?;
    }
    writeln!(output, "</ul>")
}

fn write_warnings(warnings: &[Warning], output: &mut impl Write) -> io::Result<()> {
    if warnings.is_empty() {
        return Ok(());
    }
    let number = count(warnings.len() as u64, "warning");
    writeln!(output, "<h3>{number}</h3>\n<ul class=\"warnings\">")?;
    for warning in warnings.iter().take(LISTED) {
        let (code, message) = (warning.code.name(), Escaped(&warning.message));
        writeln!(output, "<li><strong>{code}</strong>: {message}</li>")?;
    }
    if let Some(more) = warnings.len().checked_sub(LISTED).filter(|more| *more > 0) {
        writeln!(output, "<li>and {more} more, each beside its region</li>")?;
    }
    writeln!(output, "</ul>")
}
