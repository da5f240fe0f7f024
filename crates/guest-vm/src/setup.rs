//! From a configuration to a machine with memory.

use alloc::vec::Vec;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange, align_down_4k};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::Format;
use region_planner::{Mapping, Origin, Plan, Region as PlannedRegion, RegionKind};

use crate::address_space::{AddressSpace, from_to};
use crate::config::{IVC_DEVICE_TYPE, MapType, MemoryRegion, Population, VmConfig};
use crate::error::VmError;
use crate::guest_memory;
use crate::guest_use::GuestUse;
use crate::hal::VmHal;
use crate::region::{Backing, FillWindow, Region};
use crate::setup_error::SetupError;
use crate::warning::{SetupReport, SetupWarning};

/// Makes the address space that `config` describes. On an error everything that was reserved or
/// allocated is given back, by dropping what was made.
pub(crate) fn set_up<'a, F: Format, H: VmHal>(
    config: &VmConfig<'a, F>,
    hal: H,
) -> Result<(AddressSpace<F, H>, SetupReport), SetupError<'a>> {
    let mut report = SetupReport::default();
    let inputs = Inputs::new(config, &mut report)?;
    let mut regions = inputs.regions.clone();
    let plan = region_planner::plan(&mut regions).map_err(SetupError::Plan)?;
    report.warnings.extend(
        plan.warnings()
            .filter_map(|warning| SetupWarning::of_plan(&warning)),
    );
    let mut space = AddressSpace::new(config.format, config.vmid, config.leaf_policy, hal)?;
    space.add_emulated(&plan, &inputs)?;
    for mapping in plan.mappings() {
        space
            .add_mapping(&mapping, &inputs, &mut report)
            .map_err(|reason| region_error(mapping.sources().next(), reason))?;
    }
    Ok((space, report))
}

fn region_error<'a>(region: Option<&PlannedRegion<'a>>, reason: VmError) -> SetupError<'a> {
    let nameless = PlannedRegion::emulated("", GuestPhysAddr::ZERO, 0);
    SetupError::Region {
        region: region.copied().unwrap_or(nameless),
        reason,
    }
}

/// The regions of a configuration as the planner wants them: RAM, then passthrough, then emulated.
struct Inputs<'c, 'a> {
    regions: Vec<PlannedRegion<'a>>,
    memory: Vec<&'c MemoryRegion<'a>>,
    /// Positions in `regions` of ranges for IVC channels.
    channels: Vec<usize>,
}

impl<'c, 'a> Inputs<'c, 'a> {
    fn new<F: Format>(
        config: &'c VmConfig<'a, F>,
        report: &mut SetupReport,
    ) -> Result<Self, SetupError<'a>> {
        let mut inputs = Self {
            regions: Vec::new(),
            memory: Vec::new(),
            channels: Vec::new(),
        };
        for region in &config.memory_regions {
            inputs.add_memory(region, &config.format, report)?;
        }
        for region in &config.passthrough_regions {
            let check = config.format.check_flags(region.flags);
            check.map_err(|reason| flags_error(region.name, reason))?;
            let planned = match region.origin {
                Origin::Explicit => PlannedRegion::passthrough,
                Origin::DeviceTree => PlannedRegion::device_tree,
            };
            let planned = planned(region.name, region.gpa, region.hpa, region.size);
            inputs.regions.push(planned.with_flags(region.flags));
        }
        for region in &config.emulated_regions {
            if region.device_type == IVC_DEVICE_TYPE {
                inputs.channels.push(inputs.regions.len());
            }
            let planned = PlannedRegion::emulated(region.name, region.gpa, region.size);
            inputs.regions.push(planned);
        }
        Ok(inputs)
    }

    /// Unknown bits are an error, then DEVICE leaves the region out, then the other rules hold.
    fn add_memory<F: Format>(
        &mut self,
        region: &'c MemoryRegion<'a>,
        format: &F,
        report: &mut SetupReport,
    ) -> Result<(), SetupError<'a>> {
        let error = |reason| flags_error(region.name, reason);
        let flags = MappingFlags::from_configuration(region.flags).map_err(error)?;
        if flags.contains(MappingFlags::DEVICE) {
            report
                .warnings
                .push(SetupWarning::device_flag(region, flags));
            return Ok(());
        }
        format.check_flags(flags).map_err(error)?;
        report.warnings.extend(SetupWarning::of_settings(region));
        let planned = match region.map_type {
            MapType::Alloc => PlannedRegion::alloc,
            MapType::Identical => PlannedRegion::identical,
            MapType::Reserved => PlannedRegion::reserved,
        };
        self.regions
            .push(planned(region.name, region.gpa, region.size, flags));
        self.memory.push(region);
        Ok(())
    }

    fn is_channel(&self, planned: &PlannedRegion<'a>) -> bool {
        // They were pushed in order.
        self.channels.binary_search(&planned.index()).is_ok()
    }

    fn memory_of(&self, planned: &PlannedRegion<'a>) -> Option<&'c MemoryRegion<'a>> {
        self.memory.get(planned.index()).copied()
    }

    fn keeps_contents(&self, planned: &PlannedRegion<'a>) -> bool {
        self.memory_of(planned)
            .is_some_and(|region| region.keep_contents)
    }
}

const fn flags_error(name: &str, reason: FlagsError) -> SetupError<'_> {
    SetupError::Flags { name, reason }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Emulated devices may share pages with each other: each takes what the ones before left.
    fn add_emulated<'a>(
        &mut self,
        plan: &Plan<'_, 'a>,
        inputs: &Inputs<'_, 'a>,
    ) -> Result<(), SetupError<'a>> {
        let mut free = Some(GuestPhysAddr::ZERO);
        for planned in plan.regions() {
            let Some(bytes) = planned.requested() else {
                continue;
            };
            if inputs.is_channel(planned) {
                self.channel_ranges.extend(whole_pages(&bytes));
                continue;
            }
            if planned.kind() != RegionKind::Emulated {
                continue;
            }
            let part = take_pages(&bytes, &mut free);
            self.add_emulated_pages(part)
                .map_err(|reason| region_error(Some(planned), reason))?;
        }
        Ok(())
    }

    fn add_emulated_pages(&mut self, pages: Option<GuestPhysRange>) -> Result<(), VmError> {
        let Some(guest) = pages else {
            return Ok(());
        };
        let vacancy = self.prepare_insert(&guest)?;
        let region = Region {
            guest,
            backing: Backing::Emulated,
            flags: MappingFlags::empty(),
        };
        self.regions.insert(region, vacancy);
        Ok(())
    }

    fn add_mapping<'a>(
        &mut self,
        mapping: &Mapping<'_, 'a>,
        inputs: &Inputs<'_, 'a>,
        report: &mut SetupReport,
    ) -> Result<(), VmError> {
        let Some(host) = mapping.host() else {
            return match mapping.kind() {
                RegionKind::Alloc => self.add_allocated(mapping, inputs),
                _ => Ok(()),
            };
        };
        let (guest, flags) = (mapping.guest(), mapping.flags());
        let (memory, vacancy) = self.check_linear(guest, host, flags)?;
        self.require_grants(mapping, host)?;
        if mapping.kind() == RegionKind::Identical {
            self.reserve(mapping, inputs, report)?;
        }
        self.map_linear(guest, memory, flags, vacancy)
    }

    fn add_allocated<'a>(
        &mut self,
        mapping: &Mapping<'_, 'a>,
        inputs: &Inputs<'_, 'a>,
    ) -> Result<(), VmError> {
        self.check_guest_width(&mapping.guest())?;
        let mut free = Some(GuestPhysAddr::ZERO);
        for source in mapping.sources() {
            let Some(bytes) = source.requested() else {
                continue;
            };
            let region = inputs.memory_of(source);
            let population = region.map(|region| region.population).unwrap_or_default();
            if let Some(guest) = take_pages(&bytes, &mut free) {
                self.add_allocated_pages(guest, mapping.flags(), population)?;
            }
            if population == Population::AtOnce {
                self.populate_at_set_up(&bytes.align_outward_4k()?)?;
            }
        }
        Ok(())
    }

    /// Adds a region of allocated memory, with no page yet.
    pub(crate) fn add_allocated_pages(
        &mut self,
        guest: GuestPhysRange,
        flags: MappingFlags,
        population: Population,
    ) -> Result<(), VmError> {
        let vacancy = self.prepare_insert(&guest)?;
        let around = match population {
            Population::AtOnce => FillWindow::PAGE,
            Population::OnFirstUse { around } => FillWindow::new(around),
        };
        let region = Region {
            guest,
            backing: Backing::Allocated { around },
            flags,
        };
        self.regions.insert(region, vacancy);
        Ok(())
    }

    /// Reserves the host memory of an identical mapping region by region, and zeroes it.
    fn reserve<'a>(
        &mut self,
        mapping: &Mapping<'_, 'a>,
        inputs: &Inputs<'_, 'a>,
        report: &mut SetupReport,
    ) -> Result<(), VmError> {
        let mut free = Some(GuestPhysAddr::ZERO);
        for source in mapping.sources() {
            let pages = source
                .requested()
                .and_then(|bytes| take_pages(&bytes, &mut free));
            let Some(pages) = pages else {
                continue;
            };
            self.reservations
                .try_reserve(1)
                .map_err(|_| VmError::NoBookkeepingMemory)?;
            self.cleared
                .try_reserve(1)
                .map_err(|_| VmError::NoBookkeepingMemory)?;
            let host = identical(&pages)?;
            if !self.hal.alloc_memory_region_at(host.start(), host.size()) {
                self.require_grant(host, GuestUse::UnreservedIdenticalRam)?;
                let name = source.name().into();
                report
                    .warnings
                    .push(SetupWarning::IdenticalNotReserved { name, host });
                continue;
            }
            self.reservations.push(host);
            if let Some(pages) = pages_to_zero(&pages, source, mapping, inputs) {
                let memory = identical(&pages)?;
                guest_memory::zero_reserved(&*self.hal, memory);
                self.cleared.push((memory, mapping.flags()));
            }
        }
        Ok(())
    }
}

/// The part of `pages` that no region which keeps its contents has a byte in.
fn pages_to_zero<'a>(
    pages: &GuestPhysRange,
    source: &PlannedRegion<'a>,
    mapping: &Mapping<'_, 'a>,
    inputs: &Inputs<'_, 'a>,
) -> Option<GuestPhysRange> {
    if inputs.keeps_contents(source) {
        return None;
    }
    // Requested bytes never overlap, so a neighbour can share the last page alone, and only where
    // this region ends within it. What a neighbour before has was taken from `pages` already.
    let last_page =
        GuestPhysRange::from_start_last(pages.last().align_down_4k(), pages.last()).ok()?;
    let ends_within_page = source.requested()?.last() != pages.last();
    let kept = |other: &&PlannedRegion<'a>| {
        inputs.keeps_contents(other)
            && other
                .requested()
                .is_some_and(|bytes| bytes.overlaps(&last_page))
    };
    if ends_within_page && mapping.sources().find(kept).is_some() {
        return from_to(pages.start(), last_page.start().checked_sub(1)?);
    }
    Some(*pages)
}

/// The pages around `bytes` that begin at `free` or later; the next call gets what is behind them.
fn take_pages(bytes: &GuestPhysRange, free: &mut Option<GuestPhysAddr>) -> Option<GuestPhysRange> {
    let pages = bytes.align_outward_4k().ok()?;
    let part = from_to(pages.start().max((*free)?), pages.last());
    if part.is_some() {
        *free = pages.end();
    }
    part
}

/// The whole pages inside `bytes`.
fn whole_pages(bytes: &GuestPhysRange) -> Option<GuestPhysRange> {
    let start = bytes.start().align_up_4k()?;
    let past_last = bytes
        .size()
        .checked_sub(start.checked_offset_from(bytes.start())?)?;
    GuestPhysRange::from_start_size(start, align_down_4k(past_last)).ok()
}

/// The host addresses that equal the guest addresses.
fn identical(pages: &GuestPhysRange) -> Result<HostPhysRange, VmError> {
    let start = HostPhysAddr::new(pages.start().as_u64());
    Ok(HostPhysRange::from_start_size(start, pages.size())?)
}
