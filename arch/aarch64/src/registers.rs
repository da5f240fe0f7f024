//! The values of `VTCR_EL2` and `VTTBR_EL2`.
//!
//! Source: Arm ARM DDI 0487, the descriptions of the two registers; each field under its name there.

use guest_addr::HostPhysAddr;
use nested_page_table::Geometry;

use crate::capabilities::Capabilities;
use crate::descriptor::ADDRESS;

// VTCR_EL2. TG0 (bits 15:14) is 00, the 4 KiB granule.
const VTCR_SL0_SHIFT: u32 = 6;
/// `IRGN0` 01: walks are Inner Write-Back, Write-Allocate.
const VTCR_IRGN0_WRITE_BACK: u64 = 0b01 << 8;
/// `ORGN0` 01: walks are Outer Write-Back, Write-Allocate.
const VTCR_ORGN0_WRITE_BACK: u64 = 0b01 << 10;
/// `SH0` 11: walks are Inner Shareable.
const VTCR_SH0_INNER: u64 = 0b11 << 12;
const VTCR_PS_SHIFT: u32 = 16;
/// `VS`: VMIDs have 16 bits.
const VTCR_VS: u64 = 1 << 19;
/// `HA`: the hardware sets the Access flag.
const VTCR_HA: u64 = 1 << 21;
/// `HD`: the hardware sets dirty state.
const VTCR_HD: u64 = 1 << 22;
const VTCR_RES1: u64 = 1 << 31;

/// `VTTBR_EL2.VMID`. `CnP` (bit 0) stays clear: the roots of two CPUs are never declared common.
const VTTBR_VMID_SHIFT: u32 = 48;

/// The two registers that select a stage-2 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stage2Registers {
    /// `VTCR_EL2`: the shape of the table, and the width of VMIDs.
    pub vtcr: u64,
    /// `VTTBR_EL2`: the root and the VMID.
    pub vttbr: u64,
}

pub(crate) fn vtcr(geometry: &Geometry, capabilities: &Capabilities) -> u64 {
    let t0sz = 64 - u64::from(geometry.input_bits());
    // SL0 is 0, 1, 2 for a start at level 2, 1, 0: one less than the root's level from below.
    let sl0 = u64::from(geometry.root_level().number().saturating_sub(1));
    let mut value = VTCR_RES1 | VTCR_SH0_INNER | VTCR_ORGN0_WRITE_BACK | VTCR_IRGN0_WRITE_BACK;
    value |= t0sz | sl0 << VTCR_SL0_SHIFT;
    value |= capabilities.physical_address_range().field() << VTCR_PS_SHIFT;
    if capabilities.vmid_bits() == 16 {
        value |= VTCR_VS;
    }
    if capabilities.accessed_tracking() {
        value |= VTCR_HA;
    }
    if capabilities.dirty_tracking() {
        value |= VTCR_HD;
    }
    value
}

#[inline]
pub(crate) fn vttbr(root: HostPhysAddr, vmid: u16, vmid_bits: u32) -> u64 {
    // With 8-bit VMIDs the upper half of the field is RES0.
    let vmid = u64::from(vmid) & ((1 << vmid_bits) - 1);
    vmid << VTTBR_VMID_SHIFT | root.as_u64() & ADDRESS
}
