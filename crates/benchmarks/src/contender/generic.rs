//! `page-table-generic`.
#![expect(unsafe_code, reason = "gives back frames")]

use std::hint::black_box;

use anyhow::Result;
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostFrames, HostPhysAddr};
use page_table_generic::{FrameAllocator, MapConfig, PhysAddr, TableMeta, VirtAddr};

use crate::contender::ept_entry::{EptEntry, Permissions};
use crate::contender::{Leaves, PageTable};
use crate::frames::{self, StackFrames};

const PAGE_BYTES: usize = PAGE_SIZE_4K as usize;

/// Extended page tables of 4 levels. A flush is passed on and has no effect.
#[derive(Clone, Copy)]
struct Metadata;

impl TableMeta for Metadata {
    type P = EptEntry;

    const PAGE_SIZE: usize = PAGE_BYTES;
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

    fn new(leaves: Leaves) -> Result<Self> {
        let table = page_table_generic::PageTable::new(StackFrames)?;
        Ok(Self { table, leaves })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        let config = MapConfig {
            vaddr: virt(guest.start()),
            paddr: phys(host),
            size: guest.size() as usize,
            pte: Permissions::READ_WRITE,
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

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let protected = self
            .table
            .protect_region(start, size, Permissions::READ_ONLY);
        Ok(protected?)
    }

    #[inline(always)]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        let (guest, host) = (virt(guest), phys(host));
        let mapped = self
            .table
            .map_page(guest, host, PAGE_BYTES, Permissions::READ_WRITE);
        Ok(mapped?)
    }

    #[inline(always)]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.table.unmap_page(virt(guest))?;
        Ok(())
    }

    /// The crate wants to be told to split.
    #[inline(always)]
    fn unmap_page_of_leaf(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.table.split_huge_page(virt(guest))?;
        self.unmap_page(guest)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let host = self.table.translate_phys(virt(address)).ok()?;
        Some(HostPhysAddr::new(host.as_usize() as u64))
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        let (_, permissions, _) = self.table.query(virt(address)).ok()?;
        Some(permissions == Permissions::READ_WRITE)
    }
}
