//! A configuration with its plan: mappings, mode, cost and warnings.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange, PAGE_SIZE_4K};
use nested_page_table::{Geometry, Level};
use region_planner::{LeafCounts, Mapping, Plan, Region, RegionKind};

use crate::architecture::{Architecture, Hardware, Mode};
use crate::capabilities::Capabilities;
use crate::config::{Config, Place};
use crate::dependencies::{Needed, Supplied, missing_memory, supplied};
use crate::describe::{Entry, describe};
use crate::device_tree::Findings;
use crate::excluded::reachable_excluded;
use crate::host_memory::HostMemory;
use crate::idle::idle_paths;
use crate::problem::Fault;
use crate::request::{PortDevice, Request};
use crate::warning::{Code, Warning};

/// What the page tables of a plan cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableCost {
    pub(crate) levels: u8,
    /// The size of the root, in bytes.
    pub(crate) root_bytes: u64,
    /// The frames of 4 KiB of all tables, the root included.
    pub(crate) frames: u64,
    pub(crate) leaves: LeafCounts,
}

impl TableCost {
    fn of(plan: &Plan<'_, '_>, geometry: &Geometry) -> Self {
        let levels = geometry.root_level().up_to();
        let shifts: Vec<u32> = levels.map(|level| geometry.shift(level)).collect();
        let root_bytes = geometry.root_frames() * PAGE_SIZE_4K;
        let mut leaves = plan.leaf_counts();
        if geometry.largest_leaf() < Level::BLOCK_1G {
            let pieces = leaves.size_1g.saturating_mul(512);
            leaves.size_2m = leaves.size_2m.saturating_add(pieces);
            leaves.size_1g = 0;
        }
        Self {
            levels: geometry.levels(),
            root_bytes,
            frames: plan.table_frames(&shifts, root_bytes),
            leaves,
        }
    }
}

/// What a plan is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'t> {
    pub(crate) architecture: Architecture,
    /// `None` for the first mode of the architecture that holds all mappings.
    pub(crate) mode: Option<Mode>,
    pub(crate) capabilities: Capabilities<'t>,
    pub(crate) memory: &'t HostMemory,
}

impl Target<'_> {
    /// The modes of the processors that the plan is for, smallest first.
    pub(crate) fn modes(&self) -> Vec<Mode> {
        match self.mode {
            Some(mode) => mode.kin(self.capabilities),
            None => self.architecture.auto_modes(self.capabilities),
        }
    }
}

/// A configuration that was accepted.
#[derive(Debug)]
pub(crate) struct Planned<'r, 'a> {
    pub(crate) config: &'a Config<'a>,
    pub(crate) mode: Mode,
    pub(crate) hardware: Hardware,
    pub(crate) plan: Plan<'r, 'a>,
    pub(crate) cost: TableCost,
    /// Where each region was asked for.
    places: &'r [Place],
    /// The emulated devices that are I/O ports.
    pub(crate) ports: &'r [PortDevice<'a>],
    /// What the devices need besides their regions, in the device tree's order.
    pub(crate) dependencies: Vec<(Needed, Supplied)>,
    /// The warnings that are not the planner's.
    notes: Vec<Warning>,
}

impl<'r, 'a> Planned<'r, 'a> {
    /// Plans `request`, which was made from `config` and `findings`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the request.
    pub(crate) fn new(
        config: &'a Config<'a>,
        findings: &Findings,
        request: &'r mut Request<'a>,
        target: Target<'_>,
    ) -> Result<Self, Vec<Fault>> {
        let memory = target.memory;
        let wide = request.too_wide(target)?;
        let overlaps = request.overlaps_of_kindless();
        let Request {
            regions,
            places,
            ports,
            warnings,
            faults,
            ..
        } = request;
        let mut faults = std::mem::take(faults);
        faults.extend(overlaps);
        let plan = match region_planner::plan(regions) {
            Ok(plan) => plan,
            Err(errors) => {
                faults.extend(wide);
                faults.extend(errors.iter().map(|error| describe(error, places)));
                return Err(faults);
            }
        };
        let last = plan
            .mappings()
            .next_back()
            .map(|mapping| mapping.guest().last());
        let (mode, hardware) = choose(target, last)?;
        for mapping in plan.mappings() {
            let entries = mapping
                .sources()
                .filter_map(|source| Entry::of(source, places));
            let width = Width::of(target, mode, &hardware);
            if !width.fits(mapping.guest(), host_range(&mapping)) {
                faults.extend(entries.flat_map(|entry| width.faults(&entry)));
            }
        }
        let (misplaced, over) = memory.judge(plan.regions(), places);
        faults.extend(misplaced);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut notes = warnings.clone();
        notes.extend(over);
        notes.extend(findings.warnings.iter().cloned());
        notes.extend(idle_paths(config, findings, &plan));
        notes.extend(missing_memory(&findings.needed, &plan));
        notes.extend(reachable_excluded(findings, &plan));
        notes.extend(config.warnings.iter().cloned());
        Ok(Self {
            config,
            mode,
            hardware,
            cost: TableCost::of(&plan, hardware.geometry()),
            dependencies: supplied(&findings.needed, &plan),
            plan,
            places,
            ports,
            notes,
        })
    }

    /// All warnings: the planner's, then those of the configuration and of the device tree.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let planned = self
            .plan
            .warnings()
            .filter_map(|warning| of_planner(&warning));
        planned.chain(self.notes.iter().cloned())
    }

    /// The regions of emulated devices, by guest address.
    pub(crate) fn emulated(&self) -> impl Iterator<Item = &Region<'a>> {
        let regions = self.plan.regions().iter();
        regions.filter(|region| region.kind() == RegionKind::Emulated)
    }

    /// A region of the plan with its place in the file.
    pub(crate) fn entry<'e>(&self, region: &'e Region<'a>) -> Option<Entry<'e, 'a>> {
        Entry::of(region, self.places)
    }

    /// The mapping that translates `address`.
    pub(crate) fn mapping_at(&self, address: GuestPhysAddr) -> Option<Mapping<'_, 'a>> {
        self.plan
            .mappings()
            .find(|mapping| mapping.guest().contains(address))
    }
}

/// The host memory of a mapping; `None` where the hypervisor chooses it.
pub(crate) fn host_range(mapping: &Mapping<'_, '_>) -> Option<HostPhysRange> {
    HostPhysRange::from_start_size(mapping.host()?, mapping.guest().size()).ok()
}

fn choose(target: Target<'_>, last: Option<GuestPhysAddr>) -> Result<(Mode, Hardware), Vec<Fault>> {
    let fault = |text: String| vec![Fault { offset: 0, text }];
    let Target {
        architecture,
        capabilities,
        ..
    } = target;
    let mode = target
        .mode
        .or_else(|| architecture.mode_for(last.unwrap_or_default(), capabilities))
        .ok_or_else(|| fault(format!("{architecture} has no mode")))?;
    let hardware = mode.hardware(capabilities);
    let hardware = hardware.map_err(|error| fault(format!("{mode} cannot be used: {error}")))?;
    Ok((mode, hardware))
}

impl Request<'_> {
    /// The regions that no table translates, for messages about a request without a plan. Whether
    /// RAM would take the pages of a device-tree region cannot be told then.
    fn too_wide(&self, target: Target<'_>) -> Result<Vec<Fault>, Vec<Fault>> {
        let regions = self.regions.iter().zip(&self.places);
        let mapped = regions.filter(|(region, _)| region.kind() != RegionKind::Emulated);
        let ranges = mapped.clone().filter_map(|(region, _)| region.requested());
        let (mode, hardware) = choose(target, ranges.map(|range| range.last()).max())?;
        let width = Width::of(target, mode, &hardware);
        let entries = mapped.map(|(region, &place)| Entry::new(region, place));
        Ok(entries.flat_map(|entry| width.faults(&entry)).collect())
    }
}

/// How wide addresses may be.
#[derive(Clone, Copy)]
struct Width<'t> {
    target: Target<'t>,
    mode: Mode,
    input_bits: u32,
    output_bits: u32,
}

impl<'t> Width<'t> {
    fn of(target: Target<'t>, mode: Mode, hardware: &Hardware) -> Self {
        Self {
            target,
            mode,
            input_bits: hardware.geometry().input_bits(),
            output_bits: hardware.output_bits(target.capabilities),
        }
    }

    fn fits(&self, guest: GuestPhysRange, host: Option<HostPhysRange>) -> bool {
        let fits_host = |host: HostPhysRange| host.last().fits_in(self.output_bits);
        guest.last().fits_in(self.input_bits) && host.is_none_or(fits_host)
    }

    /// What is wrong with the width of an entry's addresses: nothing, one of them or both.
    fn faults(&self, entry: &Entry<'_, '_>) -> Vec<Fault> {
        let fault = |text: String| Fault {
            offset: entry.offset(),
            text: format!("{entry}: {text}"),
        };
        let mode = self.mode;
        let mut faults = Vec::new();
        if let Some(guest) = entry.guest().filter(|guest| !self.fits(*guest, None)) {
            let bits = self.input_bits;
            let wide_enough = self.wide_enough(guest.last());
            let advice = match wide_enough {
                Some(mode) => format!("use --mode {mode}"),
                None => format!("no mode of {} is wide enough", mode.architecture()),
            };
            faults.push(fault(format!(
                "its guest addresses exceed the {bits} bits of {mode}: {advice}"
            )));
        }
        let host = entry.host();
        if host.is_some_and(|host| !host.last().fits_in(self.output_bits)) {
            let bits = self.output_bits;
            let of = match self.target.capabilities.pa_bits() {
                Some(_) => "the machine (--capabilities)".into(),
                None => mode.to_string(),
            };
            faults.push(fault(format!(
                "its host addresses exceed the {bits} bits of {of}: correct them"
            )));
        }
        faults
    }

    fn wide_enough(&self, last: GuestPhysAddr) -> Option<Mode> {
        let mut modes = self.target.modes().into_iter();
        modes.find(|mode| last.fits_in(mode.input_bits()))
    }
}

fn of_planner(warning: &region_planner::Warning<'_, '_>) -> Option<Warning> {
    match warning {
        region_planner::Warning::PageExposure { mapping, bytes } => Some(Warning {
            code: Code::PageExposure,
            message: page_exposure(mapping, *bytes),
            sources: unique_sources(mapping).map(String::from).collect(),
            bytes: Some(*bytes),
        }),
        region_planner::Warning::HostAlias {
            first,
            second,
            host,
        } => Some(host_alias([first, second], *host)),
        region_planner::Warning::RegionRounded { region, pages } => {
            let (name, guest) = (region.name(), region.requested()?);
            let message =
                format!("{name} (guest {guest}) is grown to whole 4 KiB pages, guest {pages}");
            let message = message + &decimal_hint(region);
            Some(Warning::new(Code::RegionRounded, name, message))
        }
        _ => None,
    }
}

fn host_alias(mappings: [&Mapping<'_, '_>; 2], host: HostPhysRange) -> Warning {
    let entries = mappings.map(|mapping| {
        let source = sources_at(mapping, host).next();
        let name = source.map(Region::name).unwrap_or_default();
        let guest = guest_range(mapping, host).unwrap_or(mapping.guest());
        (name, guest)
    });
    let [(one, guest), (other, other_guest)] = entries;
    let message = format!(
        "host {host} is passed through twice: by {one} at guest {guest} and by {other} at guest \
         {other_guest}"
    );
    Warning {
        code: Code::HostAlias,
        message,
        sources: vec![one.into(), other.into()],
        bytes: None,
    }
}

fn page_exposure(mapping: &Mapping<'_, '_>, bytes: u64) -> String {
    let mut sources = unique_sources(mapping);
    let first = sources.next().unwrap_or_default();
    let guest = mapping.guest();
    let text = format!("guest {guest} has {bytes:#x} bytes that nobody asked for, next to {first}");
    let text = match sources.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    };
    let mut hints = mapping.sources().map(decimal_hint);
    text + &hints.find(|hint| !hint.is_empty()).unwrap_or_default()
}

/// A question where the decimal digits of an address that is no multiple of a page would, as hexadecimal
/// ones, be a round number: `0x` was forgotten.
fn decimal_hint(region: &Region<'_>) -> String {
    let address = region.guest().as_u64();
    let as_hexadecimal = u64::from_str_radix(&address.to_string(), 16);
    match as_hexadecimal {
        Ok(meant) if address % 0x1000 != 0 && meant % 0x1_0000 == 0 => {
            format!("; {address} is decimal: was {meant:#x} meant?")
        }
        _ => String::new(),
    }
}

/// The sources of `mapping` that have any page of `host`, which lies in its host memory.
pub(crate) fn sources_at<'p, 'a>(
    mapping: &Mapping<'p, 'a>,
    host: HostPhysRange,
) -> impl Iterator<Item = &'p Region<'a>> + use<'p, 'a> {
    let guest = guest_range(mapping, host);
    mapping.sources().filter(move |source| {
        let pages = source
            .requested()
            .and_then(|bytes| bytes.align_outward_4k().ok());
        guest
            .zip(pages)
            .is_some_and(|(guest, pages)| guest.overlaps(&pages))
    })
}

/// The sources of `mapping` that have the page of `address`.
pub(crate) fn sources_at_guest<'p, 'a>(
    mapping: &Mapping<'p, 'a>,
    address: GuestPhysAddr,
) -> impl Iterator<Item = &'p Region<'a>> + use<'p, 'a> {
    mapping.sources().filter(move |source| {
        let bytes = source.requested();
        let pages = bytes.and_then(|bytes| bytes.align_outward_4k().ok());
        pages.is_some_and(|pages| pages.contains(address))
    })
}

/// The guest memory of `mapping` that leads to `host`.
pub(crate) fn guest_range(
    mapping: &Mapping<'_, '_>,
    host: HostPhysRange,
) -> Option<GuestPhysRange> {
    let offset = host
        .start()
        .as_u64()
        .checked_sub(mapping.host()?.as_u64())?;
    let start = mapping.guest().start().checked_add(offset)?;
    GuestPhysRange::from_start_size(start, host.size()).ok()
}

/// The names of a mapping's sources, by guest address and then by input order, each once.
pub(crate) fn unique_sources<'p, 'a>(
    mapping: &Mapping<'p, 'a>,
) -> impl Iterator<Item = &'a str> + use<'p, 'a> {
    let mut seen = std::collections::HashSet::new();
    let mut first = None;
    mapping.sources().map(Region::name).filter(move |name| {
        // Most mappings have one source: they need no set.
        match first {
            None => {
                first = Some(*name);
                true
            }
            Some(first) => *name != first && seen.insert(*name),
        }
    })
}
