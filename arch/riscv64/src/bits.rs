//! The bits of a table entry. (Privileged Architecture 20250508, "Sv39: Page-Based 39-bit
//! Virtual-Memory System", figure "Sv39 page table entry"; Sv48 and Sv57 have the same bits.)

/// V: the entry is valid. When it is 0, all other bits are the software's.
pub(crate) const VALID: u64 = 1 << 0;
/// R: loads are allowed.
pub(crate) const READ: u64 = 1 << 1;
/// W: stores are allowed.
pub(crate) const WRITE: u64 = 1 << 2;
/// X: fetches are allowed. R, W and X all zero make a pointer to the next table.
pub(crate) const EXECUTE: u64 = 1 << 3;
/// U: user mode may use the page. The G-stage treats every access as one of user mode, so a leaf
/// without it always faults. ("Guest Physical Address Translation".)
pub(crate) const USER_MODE: u64 = 1 << 4;
// Bit 5 is G, which the G-stage does not use: zero by software, ignored by hardware.
/// A: accessed.
pub(crate) const ACCESSED: u64 = 1 << 6;
/// D: dirty.
pub(crate) const DIRTY: u64 = 1 << 7;
/// RSW, bit 8: the software's; the flag `USER`.
pub(crate) const SOFTWARE_USER: u64 = 1 << 8;
/// RSW, bit 9: the software's; the flag `DEVICE`, which PBMT carries too where the hart has it.
pub(crate) const SOFTWARE_DEVICE: u64 = 1 << 9;
/// PPN: bits 53:10 are address bits 55:12.
pub(crate) const PPN: u64 = ((1 << 44) - 1) << PPN_SHIFT;
pub(crate) const PPN_SHIFT: u32 = 10;
// Bits 60:54 are reserved. (60:59 are the software's with Svrsw60t59b, which is not used.)
pub(crate) const RESERVED: u64 = 0x7f << 54;
/// PBMT: the memory type. ("Svpbmt" Extension, table "Encodings for PBMT field in PTEs".) Reserved
/// without Svpbmt, and always in pointers.
pub(crate) const PBMT: u64 = 3 << 61;
/// PBMT 1, NC: main memory, non-cacheable, idempotent, weakly ordered.
pub(crate) const PBMT_NC: u64 = 1 << 61;
/// PBMT 2, IO: non-cacheable, non-idempotent, strongly ordered. (3 is reserved.)
pub(crate) const PBMT_IO: u64 = 2 << 61;
/// N: one of a run of leaves that are one translation (Svnapot). Never made.
pub(crate) const NAPOT: u64 = 1 << 63;

/// What a leaf allows.
pub(crate) const ACCESS: u64 = READ | WRITE | EXECUTE;
/// What a change of permissions may change.
pub(crate) const PERMISSIONS: u64 = ACCESS | SOFTWARE_USER;
/// What must be zero in a pointer to a table: D, A and U, the memory type and N.
pub(crate) const TABLE_RESERVED: u64 = DIRTY | ACCESSED | USER_MODE | RESERVED | PBMT | NAPOT;
