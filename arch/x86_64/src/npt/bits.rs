//! The bits of a table entry. (APM vol. 2, 5.3.3 "4-Kbyte Page Translation", 5.3.4 "2-Mbyte", 5.3.5 "1-Gbyte",
//! and 5.4.1 "Field Definitions". 15.25.5: nested entries have the format of the host's own tables.)

/// Bit 0, P: the entry is present. If it is 0, the hardware ignores all others.
pub(crate) const PRESENT: u64 = 1 << 0;
/// Bit 1, R/W: writes are allowed.
pub(crate) const WRITE: u64 = 1 << 1;
/// Bit 2, U/S: user accesses are allowed. Every access of a guest is one. (15.25.5)
pub(crate) const USER: u64 = 1 << 2;
/// Bit 3, PWT, and bit 4, PCD: the low bits of the index into the PAT. (7.8.2)
pub(crate) const PAT_INDEX_SHIFT: u32 = 3;
pub(crate) const PAT_INDEX: u64 = 3 << PAT_INDEX_SHIFT;
/// Bit 5, A: accessed. The hardware sets it.
pub(crate) const ACCESSED: u64 = 1 << 5;
/// Bit 6, D, of a leaf: dirty. The hardware sets it. Ignored in an entry that points to a table.
pub(crate) const DIRTY: u64 = 1 << 6;
/// Bit 7, PS, of an entry of 2 MiB or 1 GiB: it is a leaf. Above them it must be zero; of a 4 KiB page, it is
/// [`PAT_PAGE`].
pub(crate) const LARGE: u64 = 1 << 7;
/// Bit 7, PAT, of a 4 KiB page: the high bit of the index into the PAT.
pub(crate) const PAT_PAGE: u64 = 1 << 7;
/// Bit 12, PAT, of a leaf above 4 KiB: the same.
pub(crate) const PAT_LARGE: u64 = 1 << 12;
/// Bits 8:7 of PML4E and PML5E must be zero.
pub(crate) const HIGH_TABLE_RESERVED: u64 = 3 << 7;
/// Bits 51:12: the system-physical address. Those at and above the width of the processor must be zero, and so
/// must 20:13 in a leaf of 2 MiB and 29:13 in one of 1 GiB.
pub(crate) const ADDRESS: u64 = ((1 << 52) - 1) & !0xfff;
/// Bit 52, available to software: the flag `USER`.
pub(crate) const SOFTWARE_USER: u64 = 1 << 52;
/// Bits 53 and 54 of a leaf, available to software: the flags `DEVICE` and `UNCACHED` once more, so that the flags
/// of an own leaf are read by one shift, as those of EPT are.
pub(crate) const SOFTWARE_DEVICE: u64 = 1 << 53;
pub(crate) const SOFTWARE_UNCACHED: u64 = 1 << 54;
/// Bit 63, NX: no fetches. The host's EFER.NXE must be 1, or the bit is reserved. (15.25.7)
pub(crate) const NO_EXECUTE: u64 = 1 << 63;
// Also available to software: 11:9 and 58:55. Bit 8, G, has no effect in nested entries; bits 62:59, the host's
// protection key, are zero.

/// What a change of permissions may change. A leaf stays present and open to user accesses.
pub(crate) const PERMISSIONS: u64 = WRITE | NO_EXECUTE | SOFTWARE_USER;
