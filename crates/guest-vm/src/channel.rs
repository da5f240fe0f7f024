//! Inter-VM communication channels: shared memory at a place that the machine chooses.

use guest_addr::{
    GuestPhysAddr, GuestPhysRange, HostPhysRange, PAGE_SIZE_4K, RangeError, align_up_4k,
};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, MapError};

use crate::address_space::{AddressSpace, publish_contents};
use crate::error::VmError;
use crate::frames::FrameRun;
use crate::hal::VmHal;
use crate::region::{Backing, Region};

/// A channel of one machine. Another machine takes part by mapping `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IvcChannel {
    /// Where the guest sees the channel.
    pub guest: GuestPhysRange,
    /// Where it lies in host memory: consecutive frames.
    pub host: HostPhysRange,
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    pub(crate) fn alloc_channel(&mut self, size: u64) -> Result<IvcChannel, VmError> {
        let guest = self.free_channel_range(size)?;
        self.regions.reserve()?;
        let run = FrameRun::zeroed(self.hal.frames(), guest.size(), PAGE_SIZE_4K)
            .ok_or(VmError::NoFrames { guest })?;
        let (host, flags) = (run.range()?, MappingFlags::READ_WRITE);
        publish_contents(&*self.hal, host, flags);
        let mapped = self.table.map(guest, host.start(), flags);
        if let Err(error @ MapError::NotInvalidated(_)) = mapped {
            // The guest may use the frames already: they stay out with the region.
            crate::log::error(format_args!("a channel at {guest}: {error}"));
        } else {
            mapped?;
        }
        run.hand_over();
        self.regions.insert(Region {
            guest,
            backing: Backing::Channel(host.start()),
            flags,
        });
        Ok(IvcChannel { guest, host })
    }

    pub(crate) fn release_channel(&mut self, address: GuestPhysAddr) -> Result<(), VmError> {
        let region = self.regions.find(address).copied();
        let Some(Region {
            guest,
            backing: Backing::Channel(host),
            ..
        }) = region.filter(|region| region.guest.start() == address)
        else {
            return Err(VmError::NoIvcChannel { address });
        };
        self.regions.reserve()?;
        self.unmap_channel(guest, host)?;
        self.regions.remove(&guest);
        Ok(())
    }

    fn free_channel_range(&self, size: u64) -> Result<GuestPhysRange, VmError> {
        let start = 0;
        let rounded = match size {
            0 => return Err(RangeError::Empty { start }.into()),
            _ => align_up_4k(size).ok_or(RangeError::PastEnd { start, size })?,
        };
        self.channel_ranges
            .iter()
            .find_map(|range| self.regions.free_range(range, rounded))
            .ok_or(VmError::NoIvcSpace { size: rounded })
    }
}
