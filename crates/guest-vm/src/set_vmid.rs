//! Another VMID for a machine that exists.
#![expect(unsafe_code, reason = "the caller vouches for what CPUs run")]

use core::sync::atomic::Ordering;

use nested_page_table::{Format, Invalidation, Scope};

use crate::error::VmError;
use crate::hal::VmHal;
use crate::vm::Vm;

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Gives the machine another VMID, between two entries of its guest: for hosts that hand out VMIDs by generations. Asks
    /// [`VmHal::claim_vmid`], has all CPUs forget the translations of the old VMID, and then gives that back by
    /// [`VmHal::release_vmid`]. From then on [`address_space_id`](Self::address_space_id) has another register value.
    ///
    /// # Safety
    ///
    /// - No CPU is inside the guest, or enters it again with the old register value.
    /// - No CPU has translations of the new VMID.
    ///
    /// # Errors
    ///
    /// The VMID is what it was.
    ///
    /// - [`VmError::VmidInUse`]: the host knows of a live machine with this VMID.
    /// - [`VmError::Vmid`]: the hardware's VMID field is narrower, or a change from before could not be invalidated.
    /// - [`VmError::NotInvalidated`]: the translations of the old VMID could not be invalidated.
    pub unsafe fn set_vmid(&self, vmid: u16) -> Result<(), VmError> {
        let mut space = self.space.write();
        let before = space.table.space();
        if before.vmid == vmid {
            return Ok(());
        }
        if !self.hal.claim_vmid(vmid) {
            return Err(VmError::VmidInUse { vmid });
        }
        let everything = Invalidation::everything(before, Scope::AllCpus);
        let changed = match self.hal.invalidate(&everything) {
            Err(failed) => Err(VmError::NotInvalidated(failed)),
            // SAFETY: the conditions are the caller's.
            Ok(()) => unsafe { space.table.set_vmid(vmid) }.map_err(VmError::Vmid),
        };
        match changed {
            Ok(()) => {
                self.vmid.store(vmid, Ordering::Relaxed);
                self.hal.release_vmid(space.table.host().vmid.replace(vmid));
            }
            Err(_) => self.hal.release_vmid(vmid),
        }
        changed
    }
}
