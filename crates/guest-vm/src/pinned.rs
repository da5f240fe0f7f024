//! Host memory behind a guest range, for devices that copy nothing.

use core::fmt;
use core::iter;

use guest_addr::{GuestPhysRange, HostPhysRange};
use nested_page_table::Format;

use crate::address_space::{AddressSpace, host_part, rest_after};
use crate::error::VmError;
use crate::hal::VmHal;
use crate::lock::ReadGuard;
use crate::vm::Vm;

/// Guest memory that stays where it is as long as this is borrowed.
///
/// Changes of the address space wait until this is dropped, and what comes behind them waits too. So keep it for the time of one
/// transfer, call nothing that changes the machine meanwhile on the same CPU, and have the device stop using the memory first.
pub struct PinnedMemory<'v, F: Format, H: VmHal> {
    space: ReadGuard<'v, AddressSpace<F, H>>,
    range: GuestPhysRange,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Pins the memory of `range`, and populates what is absent.
    ///
    /// # Errors
    ///
    /// - [`VmError::NotMapped`]: a byte of the range has no memory.
    /// - [`VmError::DeviceMemory`]: a byte of the range is device memory.
    /// - [`VmError::NoFrames`], [`VmError::Map`], [`VmError::NoBookkeepingMemory`]: a page could
    ///   not be populated.
    pub fn pin(&self, range: GuestPhysRange) -> Result<PinnedMemory<'_, F, H>, VmError> {
        let space = self.accessible(&range)?;
        Ok(PinnedMemory { space, range })
    }
}

impl<F: Format, H: VmHal> PinnedMemory<'_, F, H> {
    /// What was pinned.
    #[must_use]
    pub const fn range(&self) -> GuestPhysRange {
        self.range
    }

    /// The pieces of host memory behind the range, in guest order. Pieces that continue each other in host memory are one.
    ///
    /// A device that reads them needs their cache lines written back, and the host's CPU has to drop its lines after a device wrote
    /// them, where the device is not coherent.
    pub fn pieces(&self) -> impl Iterator<Item = HostPhysRange> {
        let mut rest = Some(self.range);
        iter::from_fn(move || {
            let mut piece = self.take_leaf(&mut rest)?;
            let mut before = rest;
            while let Some(next) = self.take_leaf(&mut rest) {
                if !piece.is_followed_by(&next) {
                    rest = before;
                    break;
                }
                piece = piece.hull(&next)?;
                before = rest;
            }
            Some(piece)
        })
    }

    /// The host memory of the first leaf in `rest`, which loses it.
    fn take_leaf(&self, rest: &mut Option<GuestPhysRange>) -> Option<HostPhysRange> {
        let range = (*rest)?;
        let leaf = self.space.table.translate(range.start())?;
        let (host, guest) = host_part(&leaf, &range)?;
        *rest = rest_after(&range, &guest);
        Some(host)
    }
}

impl<F: Format, H: VmHal> fmt::Debug for PinnedMemory<'_, F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedMemory")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
