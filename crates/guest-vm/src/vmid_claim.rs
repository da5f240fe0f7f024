//! The VMID of a live machine.

use alloc::sync::Arc;

use crate::hal::VmHal;

/// A VMID that the host has let a machine have. Dropping it gives it back.
pub(crate) struct VmidClaim<H: VmHal> {
    hal: Arc<H>,
    vmid: u16,
}

impl<H: VmHal> VmidClaim<H> {
    pub(crate) fn new(hal: &Arc<H>, vmid: u16) -> Option<Self> {
        hal.claim_vmid(vmid).then(|| Self {
            hal: Arc::clone(hal),
            vmid,
        })
    }
}

impl<H: VmHal> Drop for VmidClaim<H> {
    fn drop(&mut self) {
        self.hal.release_vmid(self.vmid);
    }
}
