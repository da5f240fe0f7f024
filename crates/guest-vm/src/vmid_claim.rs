//! The VMID of a live machine.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::hal::VmHal;

/// A VMID that the host has let a machine have. Dropping it gives it back, unless the last invalidation failed or
/// unwound. That of a table which is dropped asks for everything.
pub(crate) struct VmidClaim<H: VmHal> {
    hal: Arc<H>,
    vmid: AtomicU16,
    /// Whether CPUs may still have translations of the machine, so that no other may have the VMID.
    is_kept: AtomicBool,
}

impl<H: VmHal> VmidClaim<H> {
    pub(crate) fn new(hal: &Arc<H>, vmid: u16) -> Option<Self> {
        hal.claim_vmid(vmid).then(|| Self {
            hal: Arc::clone(hal),
            vmid: AtomicU16::new(vmid),
            is_kept: AtomicBool::new(false),
        })
    }

    /// The claim is one to `vmid` from now on, which the host has let the machine have. Returns the one before, which
    /// is still to be given back.
    pub(crate) fn replace(&self, vmid: u16) -> u16 {
        // Whoever changes it has the machine alone.
        self.vmid.swap(vmid, Ordering::Relaxed)
    }

    /// Notes whether CPUs may still have translations that they were asked to forget.
    pub(crate) fn set_kept(&self, is_kept: bool) {
        // Whoever drops the claim owns it: the order is no matter.
        self.is_kept.store(is_kept, Ordering::Relaxed);
    }
}

impl<H: VmHal> Drop for VmidClaim<H> {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            self.hal.release_vmid(*self.vmid.get_mut());
        }
    }
}
