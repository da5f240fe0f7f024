//! Why an address leads where it does: the entries of the configuration, and the table entries.

use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use region_planner::{Mapping, Region};

use crate::architecture::with_format;
use crate::host::Host;
use crate::plan::{guest_range, host_range, sources_at_guest};
use crate::problem::{Failure, Problem, line_at};
use crate::report::wrap::Paragraph;
use crate::session::Machine;
use crate::translate::{describe_nothing, emulated_at, walk};

/// Explains what the guest finds at `address`.
pub(crate) fn explain_guest(
    machine: &Machine<'_>,
    address: GuestPhysAddr,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let planned = &machine.planned;
    let refuse = |text| Failure::from(Problem::of_file(machine.file, text));
    let Some(mapping) = planned.mapping_at(address) else {
        return explain_trap(machine, address, output);
    };
    let host = Host::new(planned.hardware.geometry().output_bits());
    let walked =
        with_format!(planned.hardware, format => walk(planned, format, &mapping, address, &host));
    let walked = walked.map_err(refuse)?;
    match mapping.host() {
        Some(_) => writeln!(output, "guest {address} leads to host {}", walked.host)?,
        None => writeln!(
            output,
            "guest {address} leads to host memory that the hypervisor chooses"
        )?,
    }
    explain_mapping(machine, &mapping, address, output)?;
    let mode = planned.mode;
    writeln!(
        output,
        "\ntable entries in mode {mode}, at made-up addresses:"
    )?;
    for step in walked.steps {
        writeln!(output, "    {step}")?;
    }
    Ok(())
}

/// Explains which guest addresses lead to `address`.
pub(crate) fn explain_host(
    machine: &Machine<'_>,
    address: HostPhysAddr,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let mut is_found = false;
    for mapping in machine.planned.plan.mappings() {
        let host = host_range(&mapping).filter(|host| host.contains(address));
        let byte = HostPhysRange::from_start_size(address, 1).ok();
        let guest = host.and(byte).and_then(|byte| guest_range(&mapping, byte));
        if let Some(guest) = guest {
            if is_found {
                writeln!(output)?;
            }
            is_found = true;
            let guest = guest.start();
            writeln!(output, "host {address} is reached by guest {guest}")?;
            explain_mapping(machine, &mapping, guest, output)?;
        }
    }
    if is_found {
        return Ok(());
    }
    let text = format!(
        "host {address} is not reached, as far as the hypervisor does not choose it for allocated RAM"
    );
    Err(Problem::of_file(machine.file, text).into())
}

/// The mapping and its entries that have the page of `address`.
fn explain_mapping(
    machine: &Machine<'_>,
    mapping: &Mapping<'_, '_>,
    address: GuestPhysAddr,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut paragraph = Paragraph::new(output, "mapping:")?;
    paragraph.add_words(&mapping.to_string())?;
    paragraph.end()?;
    let mut asks_for_byte = false;
    for source in sources_at_guest(mapping, address) {
        write_entry(machine, source, output)?;
        let bytes = source.requested();
        asks_for_byte |= bytes.is_some_and(|bytes| bytes.contains(address));
    }
    if !asks_for_byte {
        writeln!(output, "No entry asks for this byte: it shares their page.")?;
    }
    Ok(())
}

fn explain_trap(
    machine: &Machine<'_>,
    address: GuestPhysAddr,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let planned = &machine.planned;
    let mut emulated = emulated_at(planned, address).peekable();
    if emulated.peek().is_none() {
        let text = describe_nothing(planned, address);
        return Err(Problem::of_file(machine.file, text).into());
    }
    writeln!(output, "guest {address} is not mapped: every access traps")?;
    for region in emulated {
        write_entry(machine, region, output)?;
    }
    Ok(())
}

/// `entry: vm.toml:12: passthrough_devices[0] "uart" (...)`
fn write_entry(
    machine: &Machine<'_>,
    region: &Region<'_>,
    output: &mut impl Write,
) -> io::Result<()> {
    let Some(entry) = machine.planned.entry(region) else {
        return Ok(());
    };
    let line = line_at(machine.text, entry.offset());
    let mut paragraph = Paragraph::new(output, "entry:")?;
    paragraph.add("", &format!("{}:{line}:", machine.file))?;
    paragraph.add_words(&entry.to_string())?;
    paragraph.end()
}
