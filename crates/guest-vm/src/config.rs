//! What a machine is made of.

use alloc::vec::Vec;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, LeafPolicy};
use region_planner::Origin;

/// The type number of an emulated device that is a range for inter-VM communication channels.
pub const IVC_DEVICE_TYPE: u64 = 0xa;

/// Everything that [`Vm::new`](crate::Vm::new) needs to know.
///
/// Regions may be unaligned: they are grown to whole 4 KiB pages and merged by the rules of
/// [`region_planner::plan()`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VmConfig<'a, F> {
    /// The VMID, without meaning on x86.
    pub vmid: u16,
    /// The name that log messages carry.
    pub name: &'a str,
    /// The format of the page table: architecture, mode and capabilities.
    pub format: F,
    /// A cap on the size of leaves.
    pub leaf_policy: LeafPolicy,
    /// The guest's RAM.
    pub memory_regions: Vec<MemoryRegion<'a>>,
    /// Devices that the guest drives itself.
    pub passthrough_regions: Vec<PassthroughRegion<'a>>,
    /// Emulated devices: never mapped.
    pub emulated_regions: Vec<EmulatedRegion<'a>>,
}

impl<'a, F> VmConfig<'a, F> {
    /// A machine without memory and devices, with leaves as large as the hardware allows.
    #[must_use]
    pub const fn new(vmid: u16, name: &'a str, format: F) -> Self {
        Self {
            vmid,
            name,
            format,
            leaf_policy: LeafPolicy::HARDWARE,
            memory_regions: Vec::new(),
            passthrough_regions: Vec::new(),
            emulated_regions: Vec::new(),
        }
    }
}

impl<F> VmConfig<'_, F> {
    /// The first of `formats` that has addresses for every region of the configuration, guest and host, and accepts its flags:
    /// so list modes from the smallest. Emulated devices need no mapping and do not count.
    #[must_use]
    pub fn choose_format<G: Format>(&self, formats: impl IntoIterator<Item = G>) -> Option<G> {
        formats.into_iter().find(|format| self.fits(format))
    }

    fn fits(&self, format: &impl Format) -> bool {
        let geometry = format.geometry();
        let holds = |gpa, hpa: Option<HostPhysAddr>, size, flags| {
            let guest =
                GuestPhysRange::from_start_size(gpa, size).and_then(|r| r.align_outward_4k());
            let holds_host = hpa.is_none_or(|hpa| {
                let host = HostPhysRange::from_start_size(hpa, size);
                let pages = host.and_then(|range| range.align_outward_4k());
                pages.is_ok_and(|host| geometry.holds_host(&host))
            });
            let holds_guest = guest.is_ok_and(|guest| geometry.holds_guest(&guest));
            holds_guest && holds_host && format.check_flags(flags).is_ok()
        };
        let mut memory = self.memory_regions.iter().filter_map(|region| {
            let flags = MappingFlags::from_configuration(region.flags).ok()?;
            // Not mapped.
            let counts = !flags.contains(MappingFlags::DEVICE);
            counts.then_some((region, flags))
        });
        let mut devices = self.passthrough_regions.iter();
        memory.all(|(region, flags)| {
            let identical = HostPhysAddr::new(region.gpa.as_u64());
            let host = (region.map_type != MapType::Alloc).then_some(identical);
            holds(region.gpa, host, region.size, flags)
        }) && devices.all(|region| holds(region.gpa, Some(region.hpa), region.size, region.flags))
    }
}

/// Where the host memory behind a region of RAM comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapType {
    /// Zeroed frames of the host's allocator, not necessarily contiguous.
    Alloc,
    /// The host addresses that equal the guest addresses, taken from the host's allocator. If they
    /// are not free, [`VmHal::grants`](crate::VmHal::grants) is asked once more: the guest gets them with
    /// a warning, or the machine is refused.
    Identical,
    /// The host addresses that equal the guest addresses, which nobody allocates or clears.
    Reserved,
}

impl MapType {
    /// The type that configuration files call `number`: 0, 1 and 2 in the order above.
    #[must_use]
    pub const fn from_configuration(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Alloc),
            1 => Some(Self::Identical),
            2 => Some(Self::Reserved),
            _ => None,
        }
    }
}

/// When [`MapType::Alloc`] memory gets its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Population {
    /// All of them when the machine is set up.
    #[default]
    AtOnce,
    /// When the guest or the hypervisor first uses a page.
    OnFirstUse {
        /// How many bytes a fault of the guest fills: the block of this size around the page, as far as the region has it. It
        /// is rounded down to a power of two, and is at least 4 KiB (the page alone) and at most 2 MiB.
        ///
        /// With 2 MiB the block becomes one leaf where that lies within the region, the leaf policy allows it, the
        /// [frames may come back in parts](nested_page_table::HostFrames::PARTIAL_FREE) and the allocator has such a run. Otherwise
        /// the fault fills the page alone. With less, the other pages are filled as far as there are frames.
        around: u64,
    },
}

impl Population {
    /// Page by page, when the guest or the hypervisor first uses one.
    pub const ON_FIRST_USE: Self = Self::OnFirstUse {
        around: PAGE_SIZE_4K,
    };
}

/// A region of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MemoryRegion<'a> {
    /// The name that messages use, such as `memory_regions[0]`.
    pub name: &'a str,
    /// The first guest byte.
    pub gpa: GuestPhysAddr,
    /// The number of bytes.
    pub size: u64,
    /// The bits of [`MappingFlags`], as a configuration spells them. A region with `DEVICE` is not
    /// mapped and counts for nothing else, with a warning.
    pub flags: u64,
    /// Where its host memory comes from.
    pub map_type: MapType,
    /// When [`MapType::Alloc`] memory gets its frames.
    pub population: Population,
    /// Whether a [`MapType::Identical`] region keeps what the host's memory contains, such as an
    /// image that was loaded there, instead of being zeroed. A page with a byte of a region that
    /// keeps its contents is not zeroed.
    pub keep_contents: bool,
}

impl<'a> MemoryRegion<'a> {
    /// A region that is populated at once, and zeroed unless it is [`MapType::Reserved`].
    #[must_use]
    pub const fn new(
        name: &'a str,
        gpa: GuestPhysAddr,
        size: u64,
        flags: u64,
        map_type: MapType,
    ) -> Self {
        Self {
            name,
            gpa,
            size,
            flags,
            map_type,
            population: Population::AtOnce,
            keep_contents: false,
        }
    }

    /// The same region, which gets its frames as `population` says.
    #[must_use]
    pub const fn with_population(self, population: Population) -> Self {
        Self { population, ..self }
    }

    /// The same region, which keeps what the host's memory contains.
    #[must_use]
    pub const fn with_kept_contents(self) -> Self {
        Self {
            keep_contents: true,
            ..self
        }
    }
}

/// A device that the guest drives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PassthroughRegion<'a> {
    /// The name that messages use.
    pub name: &'a str,
    /// The first guest byte.
    pub gpa: GuestPhysAddr,
    /// The host byte behind it, at the same byte of its 4 KiB page.
    pub hpa: HostPhysAddr,
    /// The number of bytes.
    pub size: u64,
    /// What the guest may do, and the memory type.
    pub flags: MappingFlags,
    /// Whether the region was configured explicitly, or comes from a device tree. RAM and emulated devices
    /// take precedence over a region from a device tree.
    pub origin: Origin,
}

impl<'a> PassthroughRegion<'a> {
    /// An explicit region with [`MappingFlags::PASSTHROUGH`].
    #[must_use]
    pub const fn new(name: &'a str, gpa: GuestPhysAddr, hpa: HostPhysAddr, size: u64) -> Self {
        Self {
            name,
            gpa,
            hpa,
            size,
            flags: MappingFlags::PASSTHROUGH,
            origin: Origin::Explicit,
        }
    }

    /// The same region, mapped with `flags`.
    #[must_use]
    pub const fn with_flags(self, flags: MappingFlags) -> Self {
        Self { flags, ..self }
    }

    /// The same region, from `origin`.
    #[must_use]
    pub const fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// An emulated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EmulatedRegion<'a> {
    /// The name that messages use.
    pub name: &'a str,
    /// The first guest byte.
    pub gpa: GuestPhysAddr,
    /// The number of bytes.
    pub size: u64,
    /// The type number of the configuration. [`IVC_DEVICE_TYPE`] makes the whole pages of the
    /// region a range for IVC channels.
    pub device_type: u64,
}

impl<'a> EmulatedRegion<'a> {
    /// A device of the type `device_type`.
    #[must_use]
    pub const fn new(name: &'a str, gpa: GuestPhysAddr, size: u64, device_type: u64) -> Self {
        Self {
            name,
            gpa,
            size,
            device_type,
        }
    }
}
