//! The register that selects the table. (Privileged Architecture 20250508, "Hypervisor Guest Address
//! Translation and Protection (hgatp) Register".)

use guest_addr::HostPhysAddr;

use crate::format::GStage;

/// MODE: bits 63:60.
pub(crate) const MODE_SHIFT: u32 = 60;
/// VMID: bits 57:44, of which the low VMIDLEN exist.
pub(crate) const VMID_SHIFT: u32 = 44;
/// PPN: bits 43:0. Bits 1:0 read as zero, since the root is aligned to 16 KiB.
const PPN: u64 = (1 << VMID_SHIFT) - 1;

impl GStage {
    /// The value of hgatp that makes `root` the table of the virtual machine `vmid`.
    ///
    /// Only the bits of `vmid` that the machine has are used, as in the register itself; of `root`,
    /// which is aligned to 16 KiB, bits 55:12. A VMID that had another mode or another table before
    /// needs an HFENCE.GVMA of that VMID after this value is loaded.
    #[inline]
    #[must_use]
    pub const fn hgatp(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        self.mode().hgatp_mode() << MODE_SHIFT
            | self.vmid_operand(vmid) << VMID_SHIFT
            | (root.as_u64() >> 12) & PPN
    }

    /// The bits of `vmid` that the machine has.
    pub(crate) const fn vmid_operand(&self, vmid: u16) -> u64 {
        let width = self.capabilities().vmid_bits();
        vmid as u64 & !(u64::MAX << (width & 15))
    }
}
