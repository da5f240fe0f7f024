//! What a machine has, and where.

use alloc::vec::Vec;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::Format;

use crate::config::{EmulatedRegion, IVC_DEVICE_TYPE};
use crate::error::VmError;
use crate::hal::VmHal;
use crate::region::{Backing, Occupant, Region};
use crate::vm::Vm;

/// One region of guest-physical memory: whole pages with one use and one set of flags. Neighbours that could be
/// one region are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestRegion {
    /// Where it is.
    pub guest: GuestPhysRange,
    /// What it is used for.
    pub occupant: Occupant,
    /// What the guest may do there, and the memory type. Empty for emulated devices.
    pub flags: MappingFlags,
    /// Where its first byte leads, if the region is contiguous in host memory.
    pub host: Option<HostPhysAddr>,
}

impl GuestRegion {
    fn of(region: &Region) -> Self {
        let host = match region.backing {
            Backing::Linear(host) | Backing::Channel(host) => Some(host),
            Backing::Allocated { .. } | Backing::Emulated => None,
        };
        Self {
            guest: region.guest,
            occupant: region.occupant(),
            flags: region.flags,
            host,
        }
    }

    /// How many bytes the region has from `address` on, that one included. `None` outside the region.
    #[must_use]
    pub fn bytes_from(&self, address: GuestPhysAddr) -> Option<u64> {
        if !self.guest.contains(address) {
            return None;
        }
        let behind = self.guest.last().checked_offset_from(address)?;
        behind.checked_add(1)
    }
}

/// An emulated device of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmulatedDevice {
    /// Its position in [`VmConfig::emulated_regions`](crate::VmConfig::emulated_regions).
    pub index: usize,
    /// Its addresses, as the configuration has them: not rounded to pages.
    pub guest: GuestPhysRange,
    /// Its type number.
    pub device_type: u64,
}

impl EmulatedDevice {
    /// Those of a configuration, ranges for channels excepted.
    pub(crate) fn all(regions: &[EmulatedRegion<'_>]) -> Vec<Self> {
        let devices = regions.iter().enumerate().filter_map(|(index, region)| {
            let guest = GuestPhysRange::from_start_size(region.gpa, region.size).ok()?;
            (region.device_type != IVC_DEVICE_TYPE).then_some(Self {
                index,
                guest,
                device_type: region.device_type,
            })
        });
        devices.collect()
    }
}

/// Who has a guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOwner {
    /// Memory, a passed-through device, or a channel.
    Region(GuestRegion),
    /// An emulated device.
    Device(EmulatedDevice),
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// The region with the byte at `address`. Emulated devices have whole pages here.
    #[must_use]
    pub fn region_at(&self, address: GuestPhysAddr) -> Option<GuestRegion> {
        self.space.read().regions.find(address).map(GuestRegion::of)
    }

    /// Calls `visit` for every region that has a byte in `range`, by ascending address.
    ///
    /// No lock is held while `visit` runs. If the machine is changed meanwhile, each region is one that was there at
    /// some moment during the call.
    pub fn visit_regions(&self, range: GuestPhysRange, mut visit: impl FnMut(GuestRegion)) {
        let mut next = Some(range.start());
        while let Some(start) = next {
            let region = self
                .space
                .read()
                .regions
                .from(start)
                .next()
                .map(GuestRegion::of);
            let Some(region) = region.filter(|region| region.guest.start() <= range.last()) else {
                return;
            };
            visit(region);
            next = region.guest.end();
        }
    }

    /// Every region, by ascending address, as they are at one moment.
    ///
    /// # Errors
    ///
    /// [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn regions(&self) -> Result<Vec<GuestRegion>, VmError> {
        let space = self.space.read();
        let mut regions = Vec::new();
        regions
            .try_reserve_exact(space.regions.iter().count())
            .map_err(|_| VmError::NoBookkeepingMemory)?;
        regions.extend(space.regions.iter().map(GuestRegion::of));
        Ok(regions)
    }

    /// Who has the byte at `address`: what [`FaultOutcome::NotMapped`](crate::FaultOutcome::NotMapped) leaves open.
    ///
    /// Linear in the number of emulated devices. They have the addresses of the configuration, to the byte. `None` where nobody has the byte; other
    /// bytes of the same page may be a device's.
    #[must_use]
    pub fn occupant(&self, address: GuestPhysAddr) -> Option<AddressOwner> {
        let device = self.emulated.iter();
        let mut device = device.filter(|device| device.guest.contains(address));
        if let Some(device) = device.next() {
            return Some(AddressOwner::Device(*device));
        }
        let region = self.region_at(address);
        region
            .filter(|region| region.occupant != Occupant::Emulated)
            .map(AddressOwner::Region)
    }
}
