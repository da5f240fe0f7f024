//! The VMID of a live machine.

use alloc::sync::Arc;

use crate::hal::VmHal;

/// A VMID that the host has let a machine have. Dropping it gives it back, unless it is kept.
pub(crate) struct VmidClaim<H: VmHal> {
    hal: Arc<H>,
    vmid: u16,
    /// Whether CPUs may still have translations of the machine, so that no other may have the VMID.
    pub(crate) is_kept: bool,
}

impl<H: VmHal> VmidClaim<H> {
    pub(crate) fn new(hal: &Arc<H>, vmid: u16) -> Option<Self> {
        hal.claim_vmid(vmid).then(|| Self {
            hal: Arc::clone(hal),
            vmid,
            is_kept: false,
        })
    }
}

impl<H: VmHal> Drop for VmidClaim<H> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.hal.release_vmid(self.vmid);
        }
    }
}
