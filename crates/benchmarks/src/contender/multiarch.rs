//! `page_table_multiarch`.
#![expect(unsafe_code, reason = "gives back frames")]

use std::hint::black_box;

use anyhow::{Context, Result, anyhow};
use memory_addr::{PhysAddr, VirtAddr};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostFrames, HostPhysAddr};
use page_table_multiarch::{
    MappingFlags, PageSize, PageTable64, PagingError, PagingHandler, PagingMetaData,
};

use crate::contender::ept_entry::EptEntry;
use crate::contender::{Leaves, PageTable};
use crate::frames::{self, StackFrames};

/// Extended page tables of 4 levels. A flush is passed on and has no effect.
struct Metadata;

impl PagingMetaData for Metadata {
    const LEVELS: usize = 4;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 48;

    type VirtAddr = VirtAddr;

    #[inline]
    fn flush_tlb(address: Option<VirtAddr>) {
        black_box(address);
    }
}

/// The stack of frames.
struct Handler;

impl PagingHandler for Handler {
    #[inline]
    fn alloc_frames(count: usize, alignment: usize) -> Option<PhysAddr> {
        let frames = StackFrames.alloc(count as u64, alignment as u64)?;
        Some(frames.into())
    }

    #[inline]
    fn dealloc_frames(address: PhysAddr, count: usize) {
        // SAFETY: the crate gives back what it was given, once, after the entry to it was removed.
        unsafe { StackFrames.dealloc(address.into(), count as u64) }
    }

    #[inline]
    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from_usize(frames::pointer(address.into()).expose_provenance())
    }
}

/// A table of the crate.
pub(crate) struct Multiarch {
    table: PageTable64<Metadata, EptEntry, Handler>,
    leaves: Leaves,
}

const READ_WRITE: MappingFlags = MappingFlags::READ.union(MappingFlags::WRITE);

#[inline]
fn virt(address: GuestPhysAddr) -> VirtAddr {
    VirtAddr::from_usize(address.as_u64() as usize)
}

/// The crate's errors are no `std::error::Error`.
#[cold]
fn failure(error: PagingError) -> anyhow::Error {
    anyhow!("{error:?}")
}

impl PageTable for Multiarch {
    const NAME: &'static str = "page_table_multiarch";

    fn refuses(workload: &str) -> Option<&'static str> {
        (workload == "W8").then_some("unmapping a page takes away all of its huge leaf")
    }

    fn new(leaves: Leaves) -> Result<Self> {
        let table = PageTable64::try_new().map_err(failure)?;
        Ok(Self { table, leaves })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        let start = virt(guest.start());
        let host = PhysAddr::from(host);
        let target = |address: VirtAddr| host + (address - start);
        let allow_huge = self.leaves == Leaves::Largest;
        let size = guest.size() as usize;
        let mut cursor = self.table.cursor();
        let mapped = cursor.map_region(start, target, size, READ_WRITE, allow_huge);
        mapped.map_err(failure)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let mut cursor = self.table.cursor();
        cursor.unmap_region(start, size).map_err(failure)
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let mut cursor = self.table.cursor();
        let protected = cursor.protect_region(start, size, MappingFlags::READ);
        protected.map_err(failure)
    }

    #[inline(always)]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        let mut cursor = self.table.cursor();
        let mapped = cursor.map(virt(guest), host.into(), PageSize::Size4K, READ_WRITE);
        mapped.map_err(failure)
    }

    #[inline(always)]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        let mut cursor = self.table.cursor();
        let (_, _, size) = cursor.unmap(virt(guest)).map_err(failure)?;
        let is_page = size as u64 == PAGE_SIZE_4K;
        is_page
            .then_some(())
            .context("more than a page was unmapped")
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let (host, _, _) = self.table.query(virt(address)).ok()?;
        Some(host.into())
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        let (_, flags, _) = self.table.query(virt(address)).ok()?;
        Some(flags.contains(MappingFlags::WRITE))
    }
}
