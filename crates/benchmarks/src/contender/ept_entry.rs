//! An entry of an extended page table, for the peers that leave the format to their user.

use memory_addr::PhysAddr;
use page_table_entry::{GenericPTE, MappingFlags};
use page_table_generic::PageTableEntry;

use crate::contender::Access;

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const EXECUTE: u64 = 1 << 2;
const PRESENT: u64 = READ | WRITE | EXECUTE;
const WRITE_BACK: u64 = 6 << 3;
const HUGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An entry; write-back and without memory types, which no workload uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct EptEntry(u64);

/// The permissions of a leaf, as bits of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions(u64);

impl Permissions {
    /// What a guest may do.
    #[inline(always)]
    pub(crate) const fn of_access(access: Access) -> Self {
        match access {
            Access::Read => Self(READ),
            Access::ReadExecute => Self(READ | EXECUTE),
            Access::ReadWrite => Self(READ | WRITE),
            Access::ReadWriteExecute => Self(READ | WRITE | EXECUTE),
        }
    }

    /// The bits.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    fn of(flags: MappingFlags) -> Self {
        let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
        Self(
            bit(MappingFlags::READ, READ)
                | bit(MappingFlags::WRITE, WRITE)
                | bit(MappingFlags::EXECUTE, EXECUTE),
        )
    }

    fn flags(self) -> MappingFlags {
        let mut flags = MappingFlags::empty();
        flags.set(MappingFlags::READ, self.0 & READ != 0);
        flags.set(MappingFlags::WRITE, self.0 & WRITE != 0);
        flags.set(MappingFlags::EXECUTE, self.0 & EXECUTE != 0);
        flags
    }
}

impl EptEntry {
    #[inline]
    const fn leaf(address: usize, permissions: Permissions, is_huge: bool) -> Self {
        let size = if is_huge { HUGE } else { 0 };
        Self((address as u64 & ADDRESS) | permissions.0 | WRITE_BACK | size)
    }

    #[inline]
    const fn table(address: usize) -> Self {
        Self((address as u64 & ADDRESS) | PRESENT)
    }

    #[inline]
    const fn address(self) -> usize {
        (self.0 & ADDRESS) as usize
    }
}

impl GenericPTE for EptEntry {
    #[inline]
    fn new_page(paddr: PhysAddr, flags: MappingFlags, is_huge: bool) -> Self {
        Self::leaf(paddr.as_usize(), Permissions::of(flags), is_huge)
    }

    #[inline]
    fn new_table(paddr: PhysAddr) -> Self {
        Self::table(paddr.as_usize())
    }

    #[inline]
    fn paddr(&self) -> PhysAddr {
        PhysAddr::from_usize(self.address())
    }

    #[inline]
    fn flags(&self) -> MappingFlags {
        Permissions(self.0).flags()
    }

    #[inline]
    fn set_paddr(&mut self, paddr: PhysAddr) {
        self.0 = (self.0 & !ADDRESS) | (paddr.as_usize() as u64 & ADDRESS);
    }

    #[inline]
    fn set_flags(&mut self, flags: MappingFlags, is_huge: bool) {
        *self = Self::leaf(self.address(), Permissions::of(flags), is_huge);
    }

    #[inline]
    fn bits(self) -> usize {
        self.0 as usize
    }

    #[inline]
    fn is_unused(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn is_present(&self) -> bool {
        self.0 & PRESENT != 0
    }

    #[inline]
    fn is_huge(&self) -> bool {
        self.0 & HUGE != 0
    }

    #[inline]
    fn clear(&mut self) {
        self.0 = 0;
    }
}

impl PageTableEntry for EptEntry {
    type PteConfig = Permissions;

    #[inline]
    fn new_page(paddr: page_table_generic::PhysAddr, config: Permissions, is_huge: bool) -> Self {
        Self::leaf(paddr.as_usize(), config, is_huge)
    }

    #[inline]
    fn new_table(paddr: page_table_generic::PhysAddr) -> Self {
        Self::table(paddr.as_usize())
    }

    #[inline]
    fn paddr(&self, _is_dir: bool) -> page_table_generic::PhysAddr {
        page_table_generic::PhysAddr::from_usize(self.address())
    }

    #[inline]
    fn config(&self, _is_dir: bool) -> Permissions {
        Permissions(self.0 & PRESENT)
    }

    #[inline]
    fn present(&self) -> bool {
        self.0 & PRESENT != 0
    }

    #[inline]
    fn huge(&self, is_dir: bool) -> bool {
        is_dir && self.0 & HUGE != 0
    }

    #[inline]
    fn unused(&self) -> bool {
        self.0 == 0
    }

    #[inline]
    fn clear(&mut self) {
        self.0 = 0;
    }
}
