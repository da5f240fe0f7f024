//! Memory that comes, goes or is emptied while a machine runs.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, MapError};

use crate::address_space::{AddressSpace, publish_contents};
use crate::config::Population;
use crate::error::VmError;
use crate::guest_memory;
use crate::hal::VmHal;
use crate::region::{Backing, Region};
use crate::vm::Vm;

/// What [`Vm::clear`] does with the contents of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contents {
    /// They stay, as in a warm reset.
    Kept,
    /// The guest finds zeroes where it found them at first: in allocated memory, whose frames are given back until pages are
    /// used again, and in what was reserved and cleared when the machine was set up.
    Cleared,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Adds `size` bytes of allocated memory at `gpa`, as a configuration does with
    /// [`MapType::Alloc`](crate::MapType::Alloc) and [`Population::OnFirstUse`]. No frame is taken yet: call
    /// [`populate_range`](Self::populate_range) for that. Take the memory away by [`unmap_region`](Self::unmap_region).
    ///
    /// `around` is that of [`Population::OnFirstUse`].
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: `size` is zero, or the range runs past the last address.
    /// - [`VmError::Map`]: the range is not aligned to 4 KiB or exceeds the input width, or the flags make no sense for the format.
    /// - [`VmError::DeviceMemory`]: `DEVICE` is among the flags.
    /// - [`VmError::Occupied`]: a page is in use.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn add_memory(
        &self,
        gpa: GuestPhysAddr,
        size: u64,
        flags: MappingFlags,
        around: u64,
    ) -> Result<(), VmError> {
        let guest = GuestPhysRange::from_start_size(gpa, size)?;
        if !guest.is_aligned_4k() {
            let host = HostPhysAddr::ZERO;
            return Err(MapError::Unaligned { guest, host }.into());
        }
        let check = self.format().check_flags(flags);
        check.map_err(MapError::Flags)?;
        if flags.contains(MappingFlags::DEVICE) {
            return Err(VmError::DeviceMemory { address: gpa });
        }
        let mut space = self.space.write();
        space.check_guest_width(&guest)?;
        space.add_allocated_pages(guest, flags, Population::OnFirstUse { around })
    }

    /// Gives a frame to every absent page that allocated memory has in `range`. Other memory and holes are skipped.
    ///
    /// # Errors
    ///
    /// What was populated before stays. Call again for the rest.
    ///
    /// - [`VmError::NoFrames`]: there are no frames for the pages. None was populated.
    /// - [`VmError::Map`]: there are no frames for tables.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn populate_range(&self, range: GuestPhysRange) -> Result<(), VmError> {
        let pages = range.align_outward_4k()?;
        loop {
            let space = self.space.read();
            let (holes, changes) = (space.holes(&pages)?, space.changes());
            drop(space);
            if holes.is_empty() {
                return Ok(());
            }
            self.populate(&holes, changes)?;
        }
    }

    /// Prepares the memory for a reboot of the guest: releases every channel that the machine maps, and clears the memory if
    /// `contents` says so. All else stays: regions, their permissions, devices, and memory that the host gave.
    ///
    /// No virtual CPU should run: it would find its memory gone page by page. Linear in the memory that is cleared.
    ///
    /// # Errors
    ///
    /// What was done before the part that failed stays so. Call again for the rest.
    ///
    /// - [`VmError::Unmap`]: the host could not invalidate what CPUs remember, or there are no frames to split a leaf.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn clear(&self, contents: Contents) -> Result<(), VmError> {
        let mut space = self.space.write();
        space.release_all_channels()?;
        match contents {
            Contents::Kept => Ok(()),
            Contents::Cleared => {
                space.clear_allocated()?;
                space.clear_reserved();
                Ok(())
            }
        }
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Clears again what was cleared when the machine was set up.
    fn clear_reserved(&self) {
        for (memory, flags) in &self.cleared {
            guest_memory::fill_with_zeroes(&*self.hal, *memory);
            publish_contents(&*self.hal, *memory, *flags);
        }
    }

    /// Unmaps all allocated memory, and gives back its frames. The regions stay.
    fn clear_allocated(&mut self) -> Result<(), VmError> {
        let mut next = self.allocated_from(GuestPhysAddr::ZERO);
        while let Some(region) = next {
            self.unmap_and_free(region.guest)?;
            next = region.guest.end().and_then(|end| self.allocated_from(end));
        }
        Ok(())
    }

    /// The first allocated region that begins at `address` or above.
    fn allocated_from(&self, address: GuestPhysAddr) -> Option<Region> {
        let is_allocated = |region: &&Region| matches!(region.backing, Backing::Allocated { .. });
        self.regions.from(address).find(is_allocated).copied()
    }
}
