//! Inter-VM communication channels: memory that several machines share.

use alloc::sync::Arc;
use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange, RangeError, align_up_4k};
use mapping_flags::MappingFlags;
use nested_page_table::Format;

use crate::address_space::{AddressSpace, publish_contents};
use crate::error::VmError;
use crate::frames::ChannelFrames;
use crate::guest_use::GuestUse;
use crate::hal::VmHal;
use crate::region::{Backing, Region};
use crate::region_map::Vacancy;
use crate::vm::Vm;

/// Memory that machines share, for communication between their guests.
///
/// [`Vm::alloc_ivc_channel`](crate::Vm::alloc_ivc_channel) makes a channel and maps it in one machine;
/// [`Vm::map_ivc_channel`](crate::Vm::map_ivc_channel) maps it in others. Every mapping and every clone of
/// this value counts. The frames go back to where they came from when the last mapping is gone on all CPUs
/// and the last clone is dropped, in whatever order the machines let go.
///
/// Machines share channels if their hardware abstraction has the type `H`, such as references to one host.
/// The channel keeps the abstraction of the machine that made it, since its frames go back there.
pub struct IvcChannel<H: VmHal> {
    frames: Arc<ChannelFrames<H>>,
}

impl<H: VmHal> IvcChannel<H> {
    /// Where the channel lies in host memory: consecutive frames.
    #[must_use]
    pub fn host(&self) -> HostPhysRange {
        self.frames.range()
    }

    /// The size in bytes, a multiple of 4 KiB.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.host().size()
    }
}

impl<H: VmHal> Clone for IvcChannel<H> {
    fn clone(&self) -> Self {
        let frames = Arc::clone(&self.frames);
        Self { frames }
    }
}

/// Two values are equal if they are clones of one channel.
impl<H: VmHal> PartialEq for IvcChannel<H> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.frames, &other.frames)
    }
}

impl<H: VmHal> Eq for IvcChannel<H> {}

impl<H: VmHal> fmt::Debug for IvcChannel<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IvcChannel")
            .field("host", &self.host())
            .finish_non_exhaustive()
    }
}

/// A channel that a machine maps.
#[derive(Debug)]
pub(crate) struct MappedChannel<H: VmHal> {
    start: GuestPhysAddr,
    /// Keeps the frames: never read.
    _channel: IvcChannel<H>,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    pub(crate) fn alloc_channel(
        &self,
        size: u64,
    ) -> Result<(GuestPhysRange, IvcChannel<H>), VmError> {
        let guest = self.space.read().free_channel_range(size)?;
        // Without the lock: they have to be cleared.
        let frames = ChannelFrames::zeroed(&self.hal, guest.size());
        let frames = Arc::new(frames.ok_or(VmError::NoFrames { guest })?);
        self.space.write().place_new_channel(IvcChannel { frames })
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Maps `channel` at the first place that is free now.
    fn place_new_channel(
        &mut self,
        channel: IvcChannel<H>,
    ) -> Result<(GuestPhysRange, IvcChannel<H>), VmError> {
        let guest = self.free_channel_range(channel.size())?;
        let vacancy = self.check_free(&guest)?;
        match self.place_channel(guest, &channel, MappingFlags::READ_WRITE, vacancy) {
            // The channel is mapped. A CPU may believe that nothing is there, and fault once more.
            Err(VmError::NotInvalidated(error)) => {
                crate::log::error(format_args!("a channel at {guest}: {error}"));
            }
            placed => placed?,
        }
        Ok((guest, channel))
    }

    /// Maps a channel that another machine made, or this one.
    pub(crate) fn map_channel(
        &mut self,
        address: GuestPhysAddr,
        channel: &IvcChannel<H>,
        flags: MappingFlags,
    ) -> Result<(), VmError> {
        let host = channel.host();
        let guest = GuestPhysRange::from_start_size(address, host.size())?;
        let (_, vacancy) = self.check_linear(guest, host.start(), flags)?;
        self.require_grant(host, GuestUse::IvcChannel)?;
        self.place_channel(guest, channel, flags, vacancy)
    }

    /// Maps `channel` at `guest`, which is free and as large.
    fn place_channel(
        &mut self,
        guest: GuestPhysRange,
        channel: &IvcChannel<H>,
        flags: MappingFlags,
        vacancy: Vacancy,
    ) -> Result<(), VmError> {
        self.regions.reserve()?;
        self.channels
            .try_reserve(1)
            .map_err(|_| VmError::NoBookkeepingMemory)?;
        let host = channel.host();
        publish_contents(&*self.hal, host, flags);
        // The mapping counts before it is made: should the host unwind meanwhile, the frames stay out.
        self.channels.push(MappedChannel {
            start: guest.start(),
            _channel: channel.clone(),
        });
        let mut edit = self.table.edit();
        if let Err(error) = edit.map(guest, host.start(), flags) {
            self.channels.pop();
            return Err(error.into());
        }
        let region = Region {
            guest,
            backing: Backing::Channel(host.start()),
            flags,
        };
        self.regions.insert(region, vacancy);
        edit.finish().map_err(VmError::NotInvalidated)
    }

    pub(crate) fn release_channel(&mut self, address: GuestPhysAddr) -> Result<(), VmError> {
        let region = self.regions.find(address).copied();
        let is_channel = |region: &Region| {
            region.guest.start() == address && matches!(region.backing, Backing::Channel(_))
        };
        let region = region
            .filter(is_channel)
            .ok_or(VmError::NoIvcChannel { address })?;
        self.regions.reserve()?;
        self.table.unmap(region.guest)?;
        self.regions.remove(&region.guest);
        // No CPU reaches the channel any more, so this mapping need not keep its frames.
        self.channels.retain(|mapped| mapped.start != address);
        Ok(())
    }

    pub(crate) fn release_all_channels(&mut self) -> Result<(), VmError> {
        while let Some(channel) = self.channels.first() {
            self.release_channel(channel.start)?;
        }
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
