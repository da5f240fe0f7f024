//! Why an address leads where it does: the entries of the configuration, and the table entries.

use std::io::{self, Write};

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use region_planner::{Mapping, Region};
use serde::Serialize;

use crate::architecture::with_format;
use crate::host::Host;
use crate::plan::{guest_range, host_range, sources_at_guest};
use crate::problem::{Failure, Problem, line_at};
use crate::report::Answer;
use crate::report::json::{self, Hexadecimal, hexadecimal};
use crate::report::wrap::Paragraph;
use crate::session::Machine;
use crate::translate::{Step, describe_nothing, emulated_at, walk};

/// What the guest finds at an address, and who asked for it.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation<'p, 'a> {
    gpa: Hexadecimal,
    /// `None` where nothing is mapped, and where the hypervisor chooses.
    hpa: Option<Hexadecimal>,
    mapping: Option<json::Region<'p, 'a>>,
    entries: Vec<AskedBy>,
    walk: Vec<Step>,
    /// Why nothing is mapped and nothing emulated.
    nothing: Option<String>,
    #[serde(skip)]
    mode: String,
}

/// An entry of the configuration that has the page of an address.
#[derive(Debug, Serialize)]
struct AskedBy {
    file: String,
    line: usize,
    /// Such as `passthrough_devices[0]`.
    row: String,
    name: String,
    kind: &'static str,
    gpa: Hexadecimal,
    hpa: Option<Hexadecimal>,
    size: Hexadecimal,
    /// Or else only its page is asked for.
    asks_for_byte: bool,
    #[serde(skip)]
    text: String,
}

/// The guest addresses that lead to a host address.
#[derive(Debug, Serialize)]
pub(crate) struct Reached<'p, 'a> {
    hpa: Hexadecimal,
    guests: Vec<Explanation<'p, 'a>>,
}

impl<'p, 'a> Explanation<'p, 'a> {
    /// Explains what the guest finds at `address`.
    ///
    /// # Errors
    ///
    /// The tables cannot be built.
    pub(crate) fn of_guest(
        machine: &'p Machine<'a>,
        address: GuestPhysAddr,
    ) -> Result<Self, Failure> {
        let planned = &machine.planned;
        let mut explanation = Self::empty(machine, address);
        if let Some(mapping) = planned.mapping_at(address) {
            let host = Host::new(planned.hardware.geometry().output_bits());
            let walked = with_format!(planned.hardware, format => walk(planned, format, &mapping, address, &host));
            let walked = walked.map_err(|text| Problem::of_file(machine.file, text))?;
            explanation.hpa = mapping.host().map(|_| hexadecimal(walked.host));
            explanation.walk = walked.steps;
            explanation.set_mapping(machine, mapping, address);
            return Ok(explanation);
        }
        let emulated = emulated_at(planned, address);
        let entries = emulated.filter_map(|region| AskedBy::new(machine, region, address));
        explanation.entries = entries.collect();
        if explanation.entries.is_empty() {
            explanation.nothing = Some(describe_nothing(machine, address));
        }
        Ok(explanation)
    }

    fn empty(machine: &Machine<'_>, address: GuestPhysAddr) -> Self {
        Self {
            gpa: hexadecimal(address),
            hpa: None,
            mapping: None,
            entries: Vec::new(),
            walk: Vec::new(),
            nothing: None,
            mode: machine.planned.mode.to_string(),
        }
    }

    fn set_mapping(
        &mut self,
        machine: &Machine<'_>,
        mapping: Mapping<'p, 'a>,
        address: GuestPhysAddr,
    ) {
        let sources = sources_at_guest(&mapping, address);
        let entries = sources.filter_map(|source| AskedBy::new(machine, source, address));
        self.entries = entries.collect();
        self.mapping = Some(json::Region(mapping));
    }

    /// The same, or a failure where there is neither memory nor a device.
    pub(crate) fn found(self, machine: &Machine<'_>) -> Result<Self, Failure> {
        match self.nothing {
            Some(text) => Err(Problem::of_file(machine.file, text).into()),
            None => Ok(self),
        }
    }

    /// The mapping and its entries that have the page of the address.
    fn write_entries(&self, output: &mut impl Write) -> io::Result<()> {
        if let Some(mapping) = &self.mapping {
            Paragraph::write(&format!("mapping: {}", mapping.0), output)?;
        }
        for entry in &self.entries {
            entry.write(output)?;
        }
        let is_asked_for = self.entries.iter().any(|entry| entry.asks_for_byte);
        if self.mapping.is_some() && !is_asked_for {
            writeln!(output, "No entry asks for this byte: it shares their page.")?;
        }
        Ok(())
    }
}

impl Answer for Explanation<'_, '_> {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        let address = GuestPhysAddr::new(self.gpa.0);
        if let Some(text) = &self.nothing {
            return Paragraph::write(text, output);
        }
        match (&self.mapping, self.hpa) {
            (None, _) => writeln!(output, "guest {address} is not mapped: every access traps")?,
            (_, Some(host)) => {
                let host = HostPhysAddr::new(host.0);
                writeln!(output, "guest {address} leads to host {host}")?;
            }
            (_, None) => writeln!(
                output,
                "guest {address} leads to host memory that the hypervisor chooses"
            )?,
        }
        self.write_entries(output)?;
        if !self.walk.is_empty() {
            let mode = &self.mode;
            writeln!(
                output,
                "\ntable entries in mode {mode}, at made-up addresses:"
            )?;
        }
        for step in &self.walk {
            writeln!(output, "    {step}")?;
        }
        Ok(())
    }
}

impl<'p, 'a> Reached<'p, 'a> {
    /// Explains which guest addresses lead to `address`.
    ///
    /// # Errors
    ///
    /// None does.
    pub(crate) fn of_host(
        machine: &'p Machine<'a>,
        address: HostPhysAddr,
    ) -> Result<Self, Failure> {
        let byte = HostPhysRange::from_start_size(address, 1).ok();
        let mappings = machine.planned.plan.mappings();
        let guests = mappings.filter_map(|mapping| {
            host_range(&mapping).filter(|host| host.contains(address))?;
            let guest = guest_range(&mapping, byte?)?.start();
            let mut explanation = Explanation::empty(machine, guest);
            explanation.hpa = Some(hexadecimal(address));
            explanation.set_mapping(machine, mapping, guest);
            Some(explanation)
        });
        let guests: Vec<_> = guests.collect();
        if guests.is_empty() {
            let text = format!(
                "host {address} is not reached, as far as the hypervisor does not choose it for \
                 allocated RAM"
            );
            return Err(Problem::of_file(machine.file, text).into());
        }
        let hpa = hexadecimal(address);
        Ok(Self { hpa, guests })
    }
}

impl Answer for Reached<'_, '_> {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        let address = HostPhysAddr::new(self.hpa.0);
        for (position, guest) in self.guests.iter().enumerate() {
            if position > 0 {
                writeln!(output)?;
            }
            let by = GuestPhysAddr::new(guest.gpa.0);
            writeln!(output, "host {address} is reached by guest {by}")?;
            guest.write_entries(output)?;
        }
        Ok(())
    }
}

impl AskedBy {
    fn new(machine: &Machine<'_>, region: &Region<'_>, address: GuestPhysAddr) -> Option<Self> {
        let entry = machine.planned.entry(region)?;
        let bytes = region.requested();
        Some(Self {
            file: machine.file.into(),
            line: line_at(machine.text, entry.offset()),
            row: entry.place().to_string(),
            name: region.name().into(),
            kind: region.kind().name(),
            gpa: hexadecimal(region.guest()),
            hpa: region.host().map(hexadecimal),
            size: Hexadecimal(region.length()),
            asks_for_byte: bytes.is_some_and(|bytes| bytes.contains(address)),
            text: entry.to_string(),
        })
    }

    /// `entry: vm.toml:12: passthrough_devices[0] "uart" (...)`
    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let mut paragraph = Paragraph::new(output, "entry:")?;
        paragraph.add("", &format!("{}:{}:", self.file, self.line))?;
        paragraph.add_words(&self.text)?;
        paragraph.end()
    }
}
