//! The guest-physical address space of a machine: its table, and what stands behind each region.

use alloc::sync::Arc;
use alloc::vec::Vec;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, LeafPolicy, MapError, NestedPageTable, ProtectError, UnmapError};

use crate::channel::MappedChannel;
use crate::error::VmError;
use crate::guest_use::{GuestUse, HostMemoryKind};
use crate::hal::{HalTableHost, VmHal};
use crate::region::{Backing, Region};
use crate::region_map::{RegionMap, Vacancy};
use crate::setup_error::SetupError;
use crate::table_frames::TableFrames;
use crate::vmid_claim::VmidClaim;

/// What the machine's lock protects.
///
/// The table and the regions agree at all times:
///
/// - a linear region and a channel are mapped whole, to the host addresses that they name;
/// - a present page of an allocated region leads to a frame of `hal.frames()` that belongs to this
///   page alone;
/// - nothing else is mapped, and every leaf has the flags of its region;
/// - every region but emulated devices lies within the input width.
pub(crate) struct AddressSpace<F: Format, H: VmHal> {
    pub(crate) hal: Arc<H>,
    pub(crate) table: NestedPageTable<F, HalTableHost<H>>,
    pub(crate) regions: RegionMap,
    /// What `alloc_memory_region_at` gave.
    pub(crate) reservations: Vec<HostPhysRange>,
    /// What of that was cleared, and the flags that it was mapped with.
    pub(crate) cleared: Vec<(HostPhysRange, MappingFlags)>,
    /// The channels that are mapped, so that their frames stay out. An entry goes only after its mapping
    /// was removed and invalidated on all CPUs.
    pub(crate) channels: Vec<MappedChannel<H>>,
    /// Where IVC channels may be placed.
    pub(crate) channel_ranges: Vec<GuestPhysRange>,
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    pub(crate) fn new(
        format: F,
        vmid: u16,
        policy: LeafPolicy,
        hal: H,
    ) -> Result<Self, SetupError<'static>> {
        let hal = Arc::new(hal);
        let host = HalTableHost {
            hal: Arc::clone(&hal),
            vmid: VmidClaim::new(&hal, vmid).ok_or(SetupError::VmidInUse { vmid })?,
            frames: TableFrames::new(&hal),
        };
        let table = NestedPageTable::new(format, vmid, host).map_err(SetupError::Table)?;
        Ok(Self {
            hal,
            table: table.with_leaf_policy(policy),
            regions: RegionMap::default(),
            reservations: Vec::new(),
            cleared: Vec::new(),
            channels: Vec::new(),
            channel_ranges: Vec::new(),
        })
    }

    /// Maps `guest` to the host addresses from `host` on, if the host lets the guest have them.
    pub(crate) fn map_region(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), VmError> {
        let (memory, vacancy) = self.check_linear(guest, host, flags)?;
        let r#use = GuestUse::MapRegion(HostMemoryKind::of(flags));
        self.require_grant(memory, r#use)?;
        self.map_linear(guest, memory, flags, vacancy)
    }

    /// Everything that can be said against a linear region without asking the host: returns where it leads, and
    /// its place among the regions.
    #[inline]
    pub(crate) fn check_linear(
        &self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(HostPhysRange, Vacancy), VmError> {
        let format = self.table.format();
        format.check_flags(flags).map_err(MapError::Flags)?;
        if !guest.is_aligned_4k() || !host.is_aligned_4k() {
            return Err(MapError::Unaligned { guest, host }.into());
        }
        let memory = HostPhysRange::from_start_size(host, guest.size())?;
        self.check_guest_width(&guest)?;
        self.check_host_width(&memory)?;
        Ok((memory, self.check_free(&guest)?))
    }

    /// Maps `guest` to `memory`, which [`check_linear`](Self::check_linear) returned with `vacancy`, and the host
    /// has granted.
    #[inline]
    pub(crate) fn map_linear(
        &mut self,
        guest: GuestPhysRange,
        memory: HostPhysRange,
        flags: MappingFlags,
        vacancy: Vacancy,
    ) -> Result<(), VmError> {
        self.regions.reserve()?;
        publish_contents(&*self.hal, memory, flags);
        let mut edit = self.table.edit();
        edit.map(guest, memory.start(), flags)?;
        // Before the invalidation, which may fail or unwind: what is mapped has a region.
        let region = Region {
            guest,
            backing: Backing::Linear(memory.start()),
            flags,
        };
        self.regions.insert(region, vacancy);
        edit.finish().map_err(VmError::NotInvalidated)
    }

    /// Refuses what the table could never map, before anything is done for it.
    pub(crate) fn check_guest_width(&self, guest: &GuestPhysRange) -> Result<(), MapError> {
        let geometry = self.table.geometry();
        match geometry.holds_guest(guest) {
            true => Ok(()),
            false => Err(MapError::GuestTooWide {
                guest: *guest,
                bits: geometry.input_bits(),
            }),
        }
    }

    fn check_host_width(&self, memory: &HostPhysRange) -> Result<(), MapError> {
        let geometry = self.table.geometry();
        match geometry.holds_host(memory) {
            true => Ok(()),
            false => Err(MapError::HostTooWide {
                host: memory.start(),
                size: memory.size(),
                bits: geometry.output_bits(),
            }),
        }
    }

    /// Makes sure that a region for `guest` can be inserted.
    pub(crate) fn prepare_insert(&mut self, guest: &GuestPhysRange) -> Result<Vacancy, VmError> {
        let vacancy = self.check_free(guest)?;
        self.regions.reserve()?;
        Ok(vacancy)
    }

    /// Fails if a region has a byte of `guest`.
    #[inline]
    pub(crate) fn check_free(&self, guest: &GuestPhysRange) -> Result<Vacancy, VmError> {
        let occupied = |region: Region| VmError::Occupied {
            requested: *guest,
            existing: region.guest,
            occupant: region.occupant(),
        };
        self.regions.vacancy(guest).map_err(occupied)
    }

    /// Unmaps `guest` and gives back the frames of allocated regions in it. Holes and emulated
    /// devices are skipped.
    pub(crate) fn unmap(&mut self, guest: GuestPhysRange) -> Result<(), VmError> {
        if !guest.is_aligned_4k() {
            return Err(UnmapError::Unaligned { guest }.into());
        }
        if let Some((place, region)) = self.regions.whole(&guest)
            && let Backing::Linear(_) = region.backing
        {
            self.unmap_and_keep(guest)?;
            self.regions.remove_whole(place);
            return Ok(());
        }
        let frames = self.frames_in(&guest)?;
        self.regions.reserve()?;
        match frames {
            Frames::OfHost => self.unmap_and_keep(guest)?,
            Frames::Allocated => self.unmap_and_free(guest)?,
        }
        self.regions.remove(&guest);
        Ok(())
    }

    /// Gives `guest` other permissions; absent pages get them when they are filled.
    pub(crate) fn protect(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), VmError> {
        if !guest.is_aligned_4k() {
            return Err(ProtectError::Unaligned { guest }.into());
        }
        self.frames_in(&guest)?;
        self.regions.reserve()?;
        self.sync_newly_executable(&guest, permissions);
        let protected = self.table.protect(guest, permissions);
        if let Ok(()) | Err(ProtectError::NotInvalidated(_)) = protected {
            self.regions.protect(&guest, permissions);
        }
        Ok(protected?)
    }

    /// Whose frames the regions in `guest` have. Fails if one is a channel.
    fn frames_in(&self, guest: &GuestPhysRange) -> Result<Frames, VmError> {
        let mut frames = Frames::OfHost;
        for region in self.regions.overlapping(guest) {
            match region.backing {
                Backing::Linear(_) | Backing::Emulated => {}
                Backing::Allocated { .. } => frames = Frames::Allocated,
                Backing::Channel(_) => {
                    return Err(VmError::IvcChannelInRange {
                        requested: *guest,
                        channel: region.guest,
                    });
                }
            }
        }
        Ok(frames)
    }

    fn sync_newly_executable(&self, guest: &GuestPhysRange, permissions: MappingFlags) {
        if !permissions.contains(MappingFlags::EXECUTE) {
            return;
        }
        self.table.visit(*guest, |leaf| {
            if leaf.flags.contains(MappingFlags::EXECUTE) {
                return;
            }
            if let Some((host, _)) = host_part(&leaf, guest) {
                self.hal.sync_instructions(host);
            }
        });
    }
}

/// Whose frames a range has.
enum Frames {
    /// Nobody's but the host's: nothing is given back.
    OfHost,
    /// Some are the machine's, which gives them back when they are unmapped.
    Allocated,
}

/// The host memory that `leaf` has in `range`, and the guest range that leads there.
pub(crate) fn host_part(
    leaf: &nested_page_table::Mapping,
    range: &GuestPhysRange,
) -> Option<(HostPhysRange, GuestPhysRange)> {
    let guest = leaf.guest.intersection(range)?;
    let host = HostPhysRange::from_start_size(leaf.host_of(guest.start())?, guest.size()).ok()?;
    Some((host, guest))
}

/// What comes after `part` in `whole`, whose first bytes it is.
pub(crate) fn rest_after(whole: &GuestPhysRange, part: &GuestPhysRange) -> Option<GuestPhysRange> {
    part.end().and_then(|end| from_to(end, whole.last()))
}

pub(crate) fn from_to(start: GuestPhysAddr, last: GuestPhysAddr) -> Option<GuestPhysRange> {
    GuestPhysRange::from_start_last(start, last).ok()
}

/// Makes what the host stored in `memory` visible to a guest that is about to get it.
pub(crate) fn publish_contents<H: VmHal + ?Sized>(
    hal: &H,
    memory: HostPhysRange,
    flags: MappingFlags,
) {
    if flags.contains(MappingFlags::DEVICE) {
        return;
    }
    hal.clean_data_cache(memory);
    if flags.contains(MappingFlags::EXECUTE) {
        hal.sync_instructions(memory);
    }
}
