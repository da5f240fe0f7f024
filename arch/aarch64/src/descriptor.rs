//! The bit fields of a stage-2 descriptor.
//!
//! Source: Arm ARM DDI 0487, chapter D8, "VMSAv8-64 Table descriptor format" and "VMSAv8-64 Block
//! descriptor and Page descriptor format", stage 2, 4 KiB granule, 48-bit output addresses; each
//! field under its name there.

/// Bit 0: the descriptor is valid. Of an invalid one the hardware looks at nothing else.
pub(crate) const VALID: u64 = 1 << 0;
/// Bit 1: a table above level 3, a page at level 3. A valid level-3 descriptor without it is
/// reserved, and one of level 0 too (there are no 512 GiB blocks without FEAT_LPA2).
pub(crate) const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12: the output address of a page, or the next table.
pub(crate) const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Bits 5:2, `MemAttr`.
pub(crate) const MEM_ATTR: u64 = 0b1111 << MEM_ATTR_SHIFT;
/// `MemAttr` 0001: Device-nGnRE, with FEAT_S2FWB as without.
pub(crate) const MEM_ATTR_DEVICE: u64 = 0b0001 << MEM_ATTR_SHIFT;
/// `MemAttr[3:2]`: 00 is some kind of Device memory.
pub(crate) const MEM_ATTR_NORMAL: u64 = 0b1100 << MEM_ATTR_SHIFT;
/// `MemAttr` 0101: Normal, Inner and Outer Non-cacheable, with FEAT_S2FWB as without.
pub(crate) const MEM_ATTR_NON_CACHEABLE: u64 = 0b0101 << MEM_ATTR_SHIFT;
/// `MemAttr` 1111: Normal, Inner and Outer Write-Back, while `HCR_EL2.FWB` is 0; reserved otherwise.
pub(crate) const MEM_ATTR_WRITE_BACK: u64 = 0b1111 << MEM_ATTR_SHIFT;
/// `MemAttr` 0110: Normal Write-Back whatever stage 1 says, while `HCR_EL2.FWB` is 1.
pub(crate) const MEM_ATTR_FORCED_WRITE_BACK: u64 = 0b0110 << MEM_ATTR_SHIFT;
const MEM_ATTR_SHIFT: u32 = 2;

/// Bit 6, `S2AP[0]`: loads are allowed.
pub(crate) const READ: u64 = 1 << 6;
/// Bit 7, `S2AP[1]`: stores are allowed. With DBM it is the dirty state.
pub(crate) const WRITE: u64 = 1 << 7;
/// Bits 9:8, `SH`: 11 is Inner Shareable.
pub(crate) const INNER_SHAREABLE: u64 = 0b11 << 8;
/// Bit 10, `AF`: the Access flag.
pub(crate) const ACCESS_FLAG: u64 = 1 << 10;
/// Bit 51, `DBM`: the hardware may set `S2AP[1]` when the guest stores (FEAT_HAFDBS).
pub(crate) const DIRTY_BIT_MODIFIER: u64 = 1 << 51;

/// Bits 54:53, `XN[1:0]`. 00 executes at EL1 and EL0. Without FEAT_XNX bit 53 is RES0.
pub(crate) const EXECUTE_NEVER: u64 = 0b11 << EXECUTE_NEVER_SHIFT;
/// `XN` 10: executes nowhere. 11 would not do: it executes at EL1.
pub(crate) const EXECUTE_NOWHERE: u64 = 0b10 << EXECUTE_NEVER_SHIFT;
/// `XN` 11: executes at EL1 only (FEAT_XNX).
pub(crate) const EXECUTE_EL1_ONLY: u64 = 0b11 << EXECUTE_NEVER_SHIFT;
pub(crate) const EXECUTE_NEVER_SHIFT: u32 = 53;

/// Bit 55, reserved for software outside the Realm state: the mapping has `USER`.
pub(crate) const SOFTWARE_USER: u64 = 1 << 55;
/// Bits 56 and 57, reserved for software: the flags `DEVICE` and `UNCACHED` once more, so that the flags of an
/// own leaf are read by two shifts.
pub(crate) const SOFTWARE_DEVICE: u64 = 1 << 56;
pub(crate) const SOFTWARE_UNCACHED: u64 = 1 << 57;
/// Bit 58, reserved for software while `VTCR_EL2.AssuredOnly` is 0: the leaf was written to before it became
/// read-only.
pub(crate) const SOFTWARE_DIRTY: u64 = 1 << 58;

/// Every bit that permissions and dirty state live in.
pub(crate) const PERMISSIONS: u64 =
    READ | WRITE | DIRTY_BIT_MODIFIER | EXECUTE_NEVER | SOFTWARE_USER | SOFTWARE_DIRTY;
