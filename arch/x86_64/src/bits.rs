//! The bits of a table entry. (SDM 3C, "EPT Translation Mechanism", the tables "Format of an EPT
//! PML4 Entry (PML4E)..." to "Format of an EPT Page-Table Entry that Maps a 4-KByte Page" and the
//! figure "Formats of EPTP and EPT Paging-Structure Entries".)

/// Bit 0: reads are allowed.
pub(crate) const READ: u64 = 1 << 0;
/// Bit 1: writes are allowed.
pub(crate) const WRITE: u64 = 1 << 1;
/// Bit 2: fetches are allowed; under MBEC, those of supervisor mode.
pub(crate) const EXECUTE: u64 = 1 << 2;
/// Bits 5:3 of a leaf: the memory type.
pub(crate) const MEMORY_TYPE_SHIFT: u32 = 3;
pub(crate) const MEMORY_TYPE: u64 = 7 << MEMORY_TYPE_SHIFT;
/// Bit 6 of a leaf: ignore PAT. The type in the entry is then the effective one; otherwise it
/// combines with the one that the guest's page tables choose. (SDM 3C, "Memory Type Used for
/// Translated Guest-Physical Addresses".)
pub(crate) const IGNORE_PAT: u64 = 1 << 6;
/// Bit 7 of an entry above the 4 KiB pages: it is a leaf. Ignored in a 4 KiB page.
pub(crate) const LARGE: u64 = 1 << 7;
/// Bit 8: accessed, if EPTP bit 6 is 1; else ignored.
pub(crate) const ACCESSED: u64 = 1 << 8;
/// Bit 9 of a leaf: dirty, if EPTP bit 6 is 1; else ignored.
pub(crate) const DIRTY: u64 = 1 << 9;
/// Bit 10: under MBEC, fetches of user mode are allowed; else ignored.
pub(crate) const EXECUTE_USER: u64 = 1 << 10;
/// Bits 51:12: the host-physical address. Those at and above MAXPHYADDR are reserved, and so are
/// 20:12 in a leaf of 2 MiB and 29:12 in one of 1 GiB.
pub(crate) const ADDRESS: u64 = ((1 << 52) - 1) & !0xfff;
/// Bit 52 of a leaf, ignored by the hardware: the flag `USER`.
pub(crate) const SOFTWARE_USER: u64 = 1 << 52;
/// Bits 53 and 54 of a leaf, ignored by the hardware: the flags `DEVICE` and `UNCACHED` once more, so that
/// the flags of an own leaf are read by one shift.
pub(crate) const SOFTWARE_DEVICE: u64 = 1 << 53;
pub(crate) const SOFTWARE_UNCACHED: u64 = 1 << 54;
/// Bit 63 of an entry that is absent or a leaf: what the entry forbids is a VM exit, and not a
/// virtualization exception (#VE) in the guest. Ignored unless the VM-execution control
/// "EPT-violation #VE" is 1. (SDM 3C, "Convertible EPT Violations".)
pub(crate) const SUPPRESS_VE: u64 = 1 << 63;
// The others that are ignored in a leaf, whatever controls are on, are 11, 56:55, 59 and 62. Bits
// 57, 58, 60 and 61 belong to controls that are not used.

/// UC: uncacheable. (The types: SDM 3C, "EPT and Memory Typing".)
pub(crate) const TYPE_UC: u64 = 0;
/// WC: write-combining. Not made.
pub(crate) const TYPE_WC: u64 = 1;
/// WT: write-through. Not made.
pub(crate) const TYPE_WT: u64 = 4;
/// WP: write-protected. Not made.
pub(crate) const TYPE_WP: u64 = 5;
/// WB: write-back. (2, 3 and 7 are misconfigurations.)
pub(crate) const TYPE_WB: u64 = 6;

/// What a leaf allows, in the bits that `MappingFlags` has for it.
pub(crate) const ACCESS: u64 = READ | WRITE | EXECUTE;
/// What a change of permissions may change.
pub(crate) const PERMISSIONS: u64 = ACCESS | EXECUTE_USER | SOFTWARE_USER;
/// What must be zero in an entry that points to a table: bits 7:3.
pub(crate) const TABLE_RESERVED: u64 = MEMORY_TYPE | IGNORE_PAT | LARGE;
