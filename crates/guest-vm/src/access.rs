//! Reading and writing guest memory on the hypervisor's behalf.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysRange};
use mapping_flags::MappingFlags;
use nested_page_table::Format;

use crate::address_space::{AddressSpace, host_part, publish_contents, rest_after};
use crate::error::VmError;
use crate::guest_memory;
use crate::hal::VmHal;
use crate::lock::ReadGuard;
use crate::region::Backing;
use crate::vm::Vm;

impl<F: Format, H: VmHal> Vm<F, H> {
    /// The address space, with every byte of `range` mapped to normal memory.
    pub(crate) fn accessible(
        &self,
        range: &GuestPhysRange,
    ) -> Result<ReadGuard<'_, AddressSpace<F, H>>, VmError> {
        let pages = range.align_outward_4k()?;
        loop {
            let space = self.space.read();
            space.check_accessible(range)?;
            let holes = space.holes(&pages)?;
            if holes.is_empty() {
                return Ok(space);
            }
            let changes = space.changes();
            drop(space);
            self.populate(&holes, changes)?;
        }
    }
}

impl<F: Format, H: VmHal> Vm<F, H> {
    pub(crate) fn read_bytes(
        &self,
        address: GuestPhysAddr,
        target: &mut [u8],
    ) -> Result<(), VmError> {
        let Some(range) = byte_range(address, target.len())? else {
            return Ok(());
        };
        let space = self.space.read();
        if let Some((memory, _)) = space.part_of_present_page(&range) {
            self.hal.drop_stale_lines(memory);
            guest_memory::read_part_of_page(&*self.hal, memory, target);
            return Ok(());
        }
        drop(space);
        self.accessible(&range)?.read(&range, target)
    }

    pub(crate) fn write_bytes(&self, address: GuestPhysAddr, source: &[u8]) -> Result<(), VmError> {
        let Some(range) = byte_range(address, source.len())? else {
            return Ok(());
        };
        let space = self.space.read();
        if let Some((memory, flags)) = space.part_of_present_page(&range) {
            self.hal.drop_stale_lines(memory);
            guest_memory::write_part_of_page(&*self.hal, memory, source);
            publish_contents(&*self.hal, memory, flags);
            return Ok(());
        }
        drop(space);
        self.accessible(&range)?.write(&range, source)
    }
}

impl<F: Format, H: VmHal> AddressSpace<F, H> {
    /// Copies `range`, which is mapped to normal memory, into `target`, which is as large.
    fn read(&self, range: &GuestPhysRange, target: &mut [u8]) -> Result<(), VmError> {
        let mut rest = target;
        self.for_each_host_part(range, |hal, memory, _| {
            let bytes = (memory.size() as usize).min(rest.len());
            let (now, later) = core::mem::take(&mut rest).split_at_mut(bytes);
            rest = later;
            hal.drop_stale_lines(memory);
            guest_memory::read(hal, memory, now);
        })
    }

    /// Copies `source` to `range`, which is mapped to normal memory, and as large.
    fn write(&self, range: &GuestPhysRange, source: &[u8]) -> Result<(), VmError> {
        let mut rest = source;
        self.for_each_host_part(range, |hal, memory, flags| {
            let (now, later) = rest.split_at((memory.size() as usize).min(rest.len()));
            rest = later;
            hal.drop_stale_lines(memory);
            guest_memory::write(hal, memory, now);
            publish_contents(hal, memory, flags);
        })
    }

    /// The host memory behind `range`, if that lies in one 4 KiB page, which is present and no device. What is
    /// mapped has a region: one walk of the table says it all.
    #[inline]
    pub(crate) fn part_of_present_page(
        &self,
        range: &GuestPhysRange,
    ) -> Option<(HostPhysRange, MappingFlags)> {
        if range.start().align_down_4k() != range.last().align_down_4k() {
            return None;
        }
        let leaf = self.table.translate(range.start())?;
        if leaf.flags.contains(MappingFlags::DEVICE) {
            return None;
        }
        let host = leaf.host_of(range.start())?;
        let memory = HostPhysRange::from_start_size(host, range.size()).ok()?;
        Some((memory, leaf.flags))
    }

    /// Fails unless every byte of `range` is normal memory, mapped or not.
    fn check_accessible(&self, range: &GuestPhysRange) -> Result<(), VmError> {
        let mut next = range.start();
        for region in self.regions.overlapping(range) {
            let absent = region.backing == Backing::Emulated || region.guest.start() > next;
            if absent {
                break;
            }
            if region.flags.contains(MappingFlags::DEVICE) {
                return Err(VmError::DeviceMemory { address: next });
            }
            match region.guest.end() {
                Some(end) if end <= range.last() => next = end,
                _ => return Ok(()),
            }
        }
        Err(VmError::NotMapped { address: next })
    }

    /// Calls `visit` with the host memory behind `range`, leaf by leaf, in guest order, up to the first page
    /// that is not mapped. There is such a page only where an earlier operation failed half-way, because the
    /// host could not invalidate.
    fn for_each_host_part(
        &self,
        range: &GuestPhysRange,
        mut visit: impl FnMut(&H, HostPhysRange, MappingFlags),
    ) -> Result<(), VmError> {
        let mut rest = Some(*range);
        self.table.visit(*range, |leaf| {
            let (Some(expected), Some((memory, guest))) = (rest, host_part(&leaf, range)) else {
                return;
            };
            if guest.start() == expected.start() {
                visit(&self.hal, memory, leaf.flags);
                rest = rest_after(&expected, &guest);
            }
        });
        match rest {
            None => Ok(()),
            Some(missing) => Err(VmError::NotMapped {
                address: missing.start(),
            }),
        }
    }
}

fn byte_range(address: GuestPhysAddr, bytes: usize) -> Result<Option<GuestPhysRange>, VmError> {
    if bytes == 0 {
        return Ok(None);
    }
    // A usize has 64 bits.
    Ok(Some(GuestPhysRange::from_start_size(
        address,
        bytes as u64,
    )?))
}
