//! `page-table-generic`.
#![expect(unsafe_code, reason = "gives back frames")]

use std::hint::black_box;

use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostFrames, HostPhysAddr};
use page_table_generic::{
    FrameAllocator, MapConfig, PageTableEntry, PagingError, PhysAddr, TableMeta, VirtAddr,
};

use crate::contender::ept_entry::{EptEntry, Permissions};
use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises};
use crate::envelope::Operation;
use crate::frames::{self, StackFrames};

/// Extended page tables of 4 levels. A flush is passed on and has no effect.
#[derive(Clone, Copy)]
struct Metadata;

impl TableMeta for Metadata {
    type P = EptEntry;

    const PAGE_SIZE: usize = PAGE_SIZE_4K as usize;
    const LEVEL_BITS: &[usize] = &[9; 4];
    const MAX_BLOCK_LEVEL: usize = 3;
    const STRICT_ADDRESS_WIDTH: bool = true;

    #[inline]
    fn flush(address: Option<VirtAddr>) {
        black_box(address);
    }
}

impl FrameAllocator for StackFrames {
    #[inline]
    fn alloc_frame(&self) -> Option<PhysAddr> {
        Some(phys(frames::take()?))
    }

    #[inline]
    fn dealloc_frame(&self, frame: PhysAddr) {
        let frame = HostPhysAddr::new(frame.as_usize() as u64);
        // SAFETY: the crate gives back what it was given, once, after the entry to it was removed.
        unsafe { self.dealloc(frame, 1) }
    }

    #[inline]
    fn phys_to_virt(&self, address: PhysAddr) -> *mut u8 {
        frames::pointer(HostPhysAddr::new(address.as_usize() as u64))
    }
}

/// A table of the crate.
pub(crate) struct Generic {
    table: page_table_generic::PageTable<Metadata, StackFrames>,
    leaves: Leaves,
}

#[inline]
fn virt(address: GuestPhysAddr) -> VirtAddr {
    VirtAddr::from_usize(address.as_u64() as usize)
}

#[inline]
fn phys(address: HostPhysAddr) -> PhysAddr {
    PhysAddr::from_usize(address.as_u64() as usize)
}

impl PageTable for Generic {
    const NAME: &'static str = "page-table-generic";
    const PROMISES: Promises = Promises::Live;
    const HAS_LEAF_CALLS: bool = true;

    fn steps_through_holes(operation: Operation) -> bool {
        matches!(operation, Operation::ProtectLess | Operation::ProtectMore)
    }

    fn new(leaves: Leaves) -> Result<Self> {
        let table = page_table_generic::PageTable::new(StackFrames)?;
        Ok(Self { table, leaves })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        let config = MapConfig {
            vaddr: virt(guest.start()),
            paddr: phys(host),
            size: guest.size() as usize,
            pte: Permissions::of_access(access),
            allow_huge: self.leaves == Leaves::Largest,
            flush: true,
        };
        Ok(self.table.map(&config)?)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        Ok(self.table.unmap(start, size)?)
    }

    /// The crate has no range call that returns what it unmapped, so it is walked before. What is reported may
    /// be used after the flush.
    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        let mut leaves = Vec::new();
        self.visit(guest, |leaf| leaves.push(leaf))?;
        self.unmap(guest)?;
        leaves.into_iter().for_each(&mut report);
        Ok(())
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let config = Permissions::of_access(access);
        Ok(self.table.protect_region(start, size, config)?)
    }

    #[inline(always)]
    fn map_leaf(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()> {
        let (start, host) = (virt(guest.start()), phys(host));
        let (bytes, config) = (guest.size() as usize, Permissions::of_access(access));
        Ok(self.table.map_page(start, host, bytes, config)?)
    }

    /// `unmap_page` gives back tables that are empty; this pair of calls keeps them, which is the faster,
    /// and leaves the flush to its caller.
    #[inline(always)]
    fn unmap_leaf(&mut self, guest: GuestPhysRange) -> Result<()> {
        let start = virt(guest.start());
        let plan = match self.table.plan_unmap_page(start) {
            Err(PagingError::NotMapped) => return Ok(()),
            plan => plan?,
        };
        self.table.try_unmap_page_with(plan)?;
        Metadata::flush(Some(start));
        Ok(())
    }

    #[inline(always)]
    fn protect_leaf(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let config = Permissions::of_access(access);
        match self.table.protect_page(virt(guest.start()), config) {
            Err(PagingError::NotMapped) => Ok(()),
            protected => Ok(protected.map(|_| ())?),
        }
    }

    /// The crate wants to be told to split.
    #[inline(always)]
    fn unmap_page_of_leaf(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.table.split_huge_page(virt(guest))?;
        self.unmap_page(guest)
    }

    #[inline(always)]
    fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let host = self.table.translate_phys(virt(address)).ok()?;
        Some(HostPhysAddr::new(host.as_usize() as u64))
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let (host, permissions, bytes) = self.table.query(virt(address)).ok()?;
        Some(Leaf {
            host: HostPhysAddr::new(host.as_usize() as u64),
            bytes: bytes as u64,
            flags: permissions.bits(),
        })
    }

    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        let start = virt(guest.start());
        let end = VirtAddr::from_usize(start.as_usize() + guest.size() as usize);
        for entry in self.table.walk(start, end) {
            if entry.is_final_mapping {
                let is_directory = entry.level > 1;
                let host = entry.pte.paddr(is_directory).as_usize() as u64;
                visitor(Leaf {
                    host: HostPhysAddr::new(host),
                    bytes: PAGE_SIZE_4K << (9 * (entry.level - 1)),
                    flags: entry.pte.config(is_directory).bits(),
                });
            }
        }
        Ok(())
    }

    fn access(flags: u64) -> Option<Access> {
        ALL_ACCESS
            .into_iter()
            .find(|access| Permissions::of_access(*access).bits() == flags)
    }
}
