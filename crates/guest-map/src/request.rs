//! From rows and device-tree findings to the planner's regions.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use guest_vm::MapType;
use mapping_flags::{FlagsError, MappingFlags};
use region_planner::{PlanError, Region};

use crate::architecture::Architecture;
use crate::config::{Config, List, Place, Row, RowKind, no_ports, ports};
use crate::describe::{Entry, describe};
use crate::device_tree::Findings;
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// The regions that a configuration asks for, in the order of the input.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) regions: Vec<Region<'a>>,
    /// Where each region was asked for.
    pub(crate) places: Vec<Place>,
    /// Emulated devices that are I/O ports and touch no memory.
    pub(crate) ports: Vec<PortDevice<'a>>,
    /// RAM with the flag `DEVICE`, which is left out.
    pub(crate) warnings: Vec<Warning>,
    /// Flags that make no sense.
    pub(crate) faults: Vec<Fault>,
    /// RAM whose kind is not known, since its `map_type` is none.
    kindless: Vec<(Region<'a>, Place)>,
}

/// An emulated device with its I/O ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortDevice<'a> {
    pub(crate) name: &'a str,
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// The types of emulated devices that are I/O ports on x86: a console (a 16550, such as COM1) and the
/// 8254 timer. axvm's device types are the same on all architectures, its addresses are not.
const PORT_DEVICES: [u64; 2] = [0x2, 0x24];

impl<'a> Request<'a> {
    /// `check_flags` says what the hardware can express.
    pub(crate) fn new(
        config: &'a Config<'_>,
        findings: &'a Findings,
        architecture: Architecture,
        check_flags: impl Fn(MappingFlags) -> Result<(), FlagsError>,
    ) -> Self {
        let mut request = Self::default();
        request
            .regions
            .reserve_exact(config.rows.len() + findings.regions.len());
        request
            .places
            .reserve_exact(config.rows.len() + findings.regions.len());
        let mut found = findings.regions.iter().peekable();
        let place_of = |row: usize| config.passed.get(row).map(|row| row.place);
        let mut add_found = |request: &mut Self, before: Option<Place>| {
            while let Some(found) = found.next_if(|found| {
                let place = place_of(found.row);
                let key = |place: Place| (place.list, place.index);
                before.is_none_or(|before| place.map(key) < Some(key(before)))
            }) {
                let guest = GuestPhysAddr::new(found.range.start().as_u64());
                let (host, size) = (found.range.start(), found.range.size());
                let region = Region::device_tree(&found.path, guest, host, size);
                if let Some(place) = place_of(found.row) {
                    request.add(place, region);
                }
            }
        };
        for row in &config.rows {
            add_found(&mut request, Some(row.place));
            match row.kind {
                RowKind::Emulated { device_type }
                    if architecture == Architecture::X86_64
                        && PORT_DEVICES.contains(&device_type) =>
                {
                    request.add_ports(row);
                }
                _ => request.add_row(row, &check_flags),
            }
        }
        add_found(&mut request, None);
        request
    }

    fn add(&mut self, place: Place, region: Region<'a>) {
        self.regions.push(region);
        self.places.push(place);
    }

    fn add_ports(&mut self, row: &'a Row<'_>) {
        let Row {
            name, gpa, size, ..
        } = row;
        match ports(*gpa, *size) {
            Some((first, last)) => self.ports.push(PortDevice { name, first, last }),
            None => self.faults.push(Fault {
                offset: row.place.offset as usize,
                text: format!(
                    "{} {name:?}: devices of types 0x2 and 0x24 are I/O ports on x86_64: {}",
                    row.place,
                    no_ports(*gpa, *size)
                ),
            }),
        }
    }

    fn add_row(
        &mut self,
        row: &'a Row<'_>,
        check_flags: &impl Fn(MappingFlags) -> Result<(), FlagsError>,
    ) {
        let (name, size) = (row.name.as_ref(), row.size);
        let guest = GuestPhysAddr::new(row.gpa);
        let host = HostPhysAddr::new(row.hpa);
        match row.kind {
            RowKind::Passthrough => {
                self.add(row.place, Region::passthrough(name, guest, host, size));
            }
            RowKind::Emulated { .. } => self.add(row.place, Region::emulated(name, guest, size)),
            RowKind::Ram { flags, map_type } => {
                let region = match map_type {
                    Some(MapType::Alloc) => Region::alloc,
                    Some(MapType::Identical) => Region::identical,
                    Some(MapType::Reserved) | None => Region::reserved,
                };
                let known = MappingFlags::from_bits_truncate(flags as u32);
                let region = region(name, guest, size, known);
                if !self.is_left_out(row.place, &region, flags) {
                    self.check_ram(row.place, &region, flags, check_flags);
                    match map_type {
                        Some(_) => self.add(row.place, region),
                        None => self.check_alone(row.place, region),
                    }
                }
            }
        }
    }

    /// Whether the region has the flag `DEVICE` and no unknown bits: that is a warning, and all that
    /// becomes of it.
    fn is_left_out(&mut self, place: Place, region: &Region<'a>, flags: u64) -> bool {
        let known = MappingFlags::from_configuration(flags);
        let left_out = known.is_ok_and(|flags| flags.contains(MappingFlags::DEVICE));
        if left_out {
            let entry = Entry::new(region, place);
            let message = format!(
                "{entry} has the flag DEVICE, which is not for RAM: it is left out; pass devices \
                 through with {}",
                List::PassthroughDevices.key()
            );
            let warning = Warning::new(Code::DeviceFlagInMemoryRegion, region.name(), message);
            self.warnings.push(warning);
        }
        left_out
    }

    /// Unknown bits, then the other rules for flags.
    fn check_ram(
        &mut self,
        place: Place,
        region: &Region<'a>,
        flags: u64,
        check_flags: &impl Fn(MappingFlags) -> Result<(), FlagsError>,
    ) {
        let entry = Entry::new(region, place);
        if let Err(reason) = MappingFlags::from_configuration(flags).and_then(check_flags) {
            self.faults.push(Fault {
                offset: place.offset as usize,
                text: format!("{entry}: {reason}"),
            });
        }
    }

    /// Notes what is wrong with a region whose kind is not known, as far as it alone tells.
    fn check_alone(&mut self, place: Place, region: Region<'a>) {
        self.kindless.push((region, place));
        if let Err(errors) = region_planner::plan(&mut [region]) {
            let faults = errors.iter().map(|error| describe(error, &[place]));
            self.faults.extend(faults);
        }
    }

    /// The overlaps of regions whose kind is not known that are wrong whatever the kind is: those with
    /// what is no RAM, and those with RAM in bytes that both ask for.
    pub(crate) fn overlaps_of_kindless(&self) -> Vec<Fault> {
        if self.kindless.is_empty() {
            return Vec::new();
        }
        let known = self.regions.len();
        let kindless = self.kindless.iter().copied();
        let (more, more_places): (Vec<_>, Vec<_>) = kindless.unzip();
        let mut regions = [&self.regions[..], &more].concat();
        let places = [&self.places[..], &more_places].concat();
        let Err(errors) = region_planner::plan(&mut regions) else {
            return Vec::new();
        };
        let overlaps = errors.iter().filter_map(|error| match error {
            PlanError::Overlap { first, second, .. } => Some([first, second]),
            _ => None,
        });
        let overlaps = overlaps.filter_map(|[first, second]| {
            let [kindless, other] = match second.index() >= known {
                true => [second, first],
                false => [first, second],
            };
            let is_certain = kindless.index() >= known
                && (!other.kind().is_ram() || overlap_in_bytes(kindless, other));
            is_certain.then(|| describe_kindless(kindless, other, known, &places))?
        });
        overlaps.collect()
    }
}

fn overlap_in_bytes(one: &Region<'_>, other: &Region<'_>) -> bool {
    let bytes = one.requested().zip(other.requested());
    bytes.is_some_and(|(one, other)| one.overlaps(&other))
}

/// An overlap, without the kinds of regions from `known` on.
fn describe_kindless(
    kindless: &Region<'_>,
    other: &Region<'_>,
    known: usize,
    places: &[Place],
) -> Option<Fault> {
    let name = |region: &Region<'_>| {
        let entry = Entry::of(region, places)?;
        match region.index() < known {
            true => Some(entry.to_string()),
            false => Some(format!("{} (guest {})", entry.place(), entry.guest()?)),
        }
    };
    let offset = Entry::of(kindless, places)?.offset();
    let (kindless, other) = (name(kindless)?, name(other)?);
    let text = format!("{kindless} and {other} overlap in a 4 KiB page: move or shorten one");
    Some(Fault { offset, text })
}
