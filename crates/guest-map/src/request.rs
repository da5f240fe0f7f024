//! From rows and device-tree findings to the planner's regions.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use guest_vm::MapType;
use mapping_flags::{FlagsError, MappingFlags};
use region_planner::Region;

use crate::config::{Config, List, Place, Row, RowKind};
use crate::describe::Entry;
use crate::device_tree::Findings;
use crate::problem::Fault;
use crate::warning::{Code, Warning};

/// The regions that a configuration asks for, in the order of the input.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) regions: Vec<Region<'a>>,
    /// Where each region was asked for.
    pub(crate) places: Vec<Place>,
    /// RAM with the flag `DEVICE`, which is left out.
    pub(crate) warnings: Vec<Warning>,
    /// Flags that make no sense.
    pub(crate) faults: Vec<Fault>,
}

impl<'a> Request<'a> {
    /// `check_flags` says what the hardware can express.
    pub(crate) fn new(
        config: &'a Config<'_>,
        findings: &'a Findings,
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
            request.add_row(row, &check_flags);
        }
        add_found(&mut request, None);
        request
    }

    fn add(&mut self, place: Place, region: Region<'a>) {
        self.regions.push(region);
        self.places.push(place);
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
                    MapType::Alloc => Region::alloc,
                    MapType::Identical => Region::identical,
                    MapType::Reserved => Region::reserved,
                };
                let known = MappingFlags::from_bits_truncate(flags as u32);
                let region = region(name, guest, size, known);
                self.add_ram(row.place, region, flags, check_flags);
            }
        }
    }

    /// Unknown bits are an error, then `DEVICE` leaves the region out, then the other rules hold.
    fn add_ram(
        &mut self,
        place: Place,
        region: Region<'a>,
        flags: u64,
        check_flags: &impl Fn(MappingFlags) -> Result<(), FlagsError>,
    ) {
        let known = MappingFlags::from_configuration(flags);
        let entry = Entry::new(&region, place);
        if let Ok(flags) = known
            && flags.contains(MappingFlags::DEVICE)
        {
            let message = format!(
                "{entry} has the flag DEVICE, which is not for RAM: it is left out; pass devices \
                 through with {}",
                List::PassthroughDevices.key()
            );
            let warning = Warning::new(Code::DeviceFlagInMemoryRegion, region.name(), message);
            return self.warnings.push(warning);
        }
        if let Err(reason) = known.and_then(check_flags) {
            self.faults.push(Fault {
                offset: place.offset as usize,
                text: format!("{entry}: {reason}"),
            });
        }
        self.add(place, region);
    }
}
