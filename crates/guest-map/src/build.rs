//! Page tables for a plan, built on a simulated host.

use guest_addr::{GuestPhysRange, HostPhysAddr, HostPhysRange};
use guest_vm::{
    EmulatedRegion, MapType, MemoryRegion, PassthroughRegion, Population, Vm, VmConfig,
};
use mapping_flags::MappingFlags;
use nested_page_table::{LeafPolicy, Level};
use reference_mmu::MemoryKind;
use region_planner::{Mapping, Region, RegionKind};

use crate::hardware_walk::Walkable;
use crate::host::Host;
use crate::plan::{Planned, host_range};

/// Tables of more than this many frames are not built: a gigabyte of them.
const MAX_FRAMES: u64 = 1 << 18;

/// A virtual machine whose tables exist.
#[derive(Debug)]
pub(crate) struct Built<'h, F: Walkable> {
    pub(crate) vm: Vm<F, &'h Host>,
    pub(crate) mmu: F::Mmu,
    format: F,
    /// How many frames the tables took.
    pub(crate) frames: u64,
    /// The host addresses behind the mappings whose memory the hypervisor chooses, by guest address.
    promised: Vec<(GuestPhysRange, HostPhysAddr)>,
}

impl<'h, F: Walkable> Built<'h, F> {
    /// Builds the tables of `planned` in `format`, as the machine with the number `vmid`.
    ///
    /// # Errors
    ///
    /// What went wrong, which the plan should have foreseen.
    pub(crate) fn new(
        planned: &Planned<'_, '_>,
        format: F,
        vmid: u16,
        host: &'h Host,
    ) -> Result<Self, String> {
        let frames = planned.cost.frames;
        if frames > MAX_FRAMES {
            return Err(format!(
                "the tables would take {frames:#x} frames: no more than {MAX_FRAMES:#x} are built here"
            ));
        }
        let before = host.frames_out();
        let config = vm_config(planned, format, vmid);
        host.grant(
            planned
                .plan
                .mappings()
                .filter_map(|mapping| host_range(&mapping)),
        );
        let vm = Vm::new(config, host).map_err(|error| error.to_string())?;
        let mut promised = Vec::new();
        let allocated = planned
            .plan
            .mappings()
            .filter(|mapping| mapping.host().is_none());
        for mapping in allocated {
            let base = allocate(&vm, &mapping, host)?;
            promised.push((mapping.guest(), base));
        }
        let mmu = format.mmu(vm.address_space_id().root_register)?;
        Ok(Self {
            vm,
            mmu,
            format,
            frames: (host.frames_out() - before) as u64,
            promised,
        })
    }

    /// What a walker has to find for `flags`.
    pub(crate) fn memory_kind(&self, flags: MappingFlags) -> MemoryKind {
        self.format.memory_kind(flags)
    }

    /// The host memory behind `mapping` on this host.
    pub(crate) fn host_range(&self, mapping: &Mapping<'_, '_>) -> Option<HostPhysRange> {
        let guest = mapping.guest();
        host_range(mapping).or_else(|| {
            let found = self
                .promised
                .binary_search_by_key(&guest, |(guest, _)| *guest)
                .ok()?;
            let (_, base) = self.promised.get(found)?;
            HostPhysRange::from_start_size(*base, guest.size()).ok()
        })
    }
}

/// The machine that the regions of a plan describe, in the order of the input.
fn vm_config<'a, F: Walkable>(planned: &Planned<'_, 'a>, format: F, vmid: u16) -> VmConfig<'a, F> {
    let mut config = VmConfig::new(vmid, &planned.config.name, format);
    // A plan counts no leaves of 512 GiB.
    config.leaf_policy = LeafPolicy::up_to(Level::BLOCK_1G);
    let mut regions: Vec<&Region<'a>> = planned.plan.regions().iter().collect();
    regions.sort_unstable_by_key(|region| region.index());
    for region in regions {
        let (name, gpa, size) = (region.name(), region.guest(), region.length());
        match (region.kind(), region.host()) {
            (RegionKind::Identical, _) => {
                config.memory_regions.push(ram(region, MapType::Identical))
            }
            (RegionKind::Reserved, _) => config.memory_regions.push(ram(region, MapType::Reserved)),
            (RegionKind::Alloc, _) => config.memory_regions.push(ram(region, MapType::Alloc)),
            (RegionKind::Passthrough, Some(hpa)) => {
                let device = PassthroughRegion::new(name, gpa, hpa, size);
                let origin = region.origin();
                config.passthrough_regions.push(device.with_origin(origin));
            }
            (RegionKind::Passthrough, None) => {}
            (RegionKind::Emulated, _) => config
                .emulated_regions
                .push(EmulatedRegion::new(name, gpa, size, 0)),
        }
    }
    config
}

/// RAM that is never touched: the host has no memory for it.
fn ram<'a>(region: &Region<'a>, map_type: MapType) -> MemoryRegion<'a> {
    let (name, gpa, size) = (region.name(), region.guest(), region.length());
    let flags = region.flags().bits().into();
    let region = MemoryRegion::new(name, gpa, size, flags, map_type);
    match map_type {
        MapType::Alloc => region.with_population(Population::ON_FIRST_USE),
        MapType::Identical => region.with_kept_contents(),
        MapType::Reserved => region,
    }
}

/// Puts addresses behind a mapping whose memory would be allocated on first use.
fn allocate<F: Walkable>(
    vm: &Vm<F, &Host>,
    mapping: &Mapping<'_, '_>,
    host: &Host,
) -> Result<HostPhysAddr, String> {
    let guest = mapping.guest();
    let base = host
        .promise(&guest)
        .ok_or_else(|| format!("no host memory for guest {guest}"))?;
    vm.unmap_region(guest.start(), guest.size())
        .and_then(|()| vm.map_region(guest.start(), base, guest.size(), mapping.flags()))
        .map_err(|error| error.to_string())?;
    Ok(base)
}
