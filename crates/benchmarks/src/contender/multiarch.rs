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
use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises};
use crate::envelope::Operation;
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
    /// The size of the leaves: a user who asks for each, or meets a hole, has to know it.
    leaf_bytes: u64,
}

/// What a guest may do, as the crate says it.
#[inline(always)]
const fn flags(access: Access) -> MappingFlags {
    match access {
        Access::Read => MappingFlags::READ,
        Access::ReadExecute => MappingFlags::READ.union(MappingFlags::EXECUTE),
        Access::ReadWrite => MappingFlags::READ.union(MappingFlags::WRITE),
        Access::ReadWriteExecute => MappingFlags::READ
            .union(MappingFlags::WRITE)
            .union(MappingFlags::EXECUTE),
    }
}

#[inline(always)]
fn leaf(host: PhysAddr, flags: MappingFlags, size: PageSize) -> Leaf {
    Leaf {
        host: host.into(),
        bytes: size as u64,
        flags: flags.bits() as u64,
    }
}

#[inline(always)]
fn page_size(bytes: u64) -> Result<PageSize> {
    match bytes {
        0x1000 => Ok(PageSize::Size4K),
        0x20_0000 => Ok(PageSize::Size2M),
        0x4000_0000 => Ok(PageSize::Size1G),
        _ => Err(anyhow!("no leaf has {bytes} bytes")),
    }
}

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
    const PROMISES: Promises = Promises::Live;
    const HAS_LEAF_CALLS: bool = true;

    fn steps_through_holes(_operation: Operation) -> bool {
        true
    }

    fn refuses(workload: &str) -> Option<&'static str> {
        (workload == "W8").then_some("unmapping a page takes away all of its huge leaf")
    }

    fn new(leaves: Leaves) -> Result<Self> {
        let table = PageTable64::try_new().map_err(failure)?;
        Ok(Self {
            table,
            leaves,
            leaf_bytes: PAGE_SIZE_4K,
        })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        let start = virt(guest.start());
        let host = PhysAddr::from(host);
        let target = |address: VirtAddr| host + (address - start);
        let allow_huge = self.leaves == Leaves::Largest;
        let size = guest.size() as usize;
        let bits = guest.start().as_u64() | host.as_usize() as u64 | guest.size();
        self.leaf_bytes = match bits.trailing_zeros() {
            30.. if allow_huge => PageSize::Size1G as u64,
            21.. if allow_huge => PageSize::Size2M as u64,
            _ => PAGE_SIZE_4K,
        };
        let mut cursor = self.table.cursor();
        let mapped = cursor.map_region(start, target, size, flags(access), allow_huge);
        mapped.map_err(failure)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let mut cursor = self.table.cursor();
        cursor.unmap_region(start, size).map_err(failure)
    }

    /// The crate returns each leaf that it unmaps, and flushes when the cursor is dropped.
    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        let leaf_bytes = self.leaf_bytes;
        let mut cursor = self.table.cursor();
        let mut done = 0;
        while done < guest.size() {
            let address = VirtAddr::from_usize((guest.start().as_u64() + done) as usize);
            match cursor.unmap(address) {
                Ok((host, flags, size)) => report(leaf(host, flags, size)),
                Err(PagingError::NotMapped) => {}
                Err(error) => return Err(failure(error)),
            }
            done += leaf_bytes;
        }
        Ok(())
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let (start, size) = (virt(guest.start()), guest.size() as usize);
        let mut cursor = self.table.cursor();
        let protected = cursor.protect_region(start, size, flags(access));
        protected.map_err(failure)
    }

    #[inline(always)]
    fn map_leaf(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()> {
        self.leaf_bytes = guest.size();
        let mut cursor = self.table.cursor();
        let size = page_size(guest.size())?;
        let mapped = cursor.map(virt(guest.start()), host.into(), size, flags(access));
        mapped.map_err(failure)
    }

    #[inline(always)]
    fn unmap_leaf(&mut self, guest: GuestPhysRange) -> Result<()> {
        let mut cursor = self.table.cursor();
        let (_, _, size) = match cursor.unmap(virt(guest.start())) {
            Err(PagingError::NotMapped) => return Ok(()),
            unmapped => unmapped.map_err(failure)?,
        };
        let is_leaf = size as u64 == guest.size();
        is_leaf
            .then_some(())
            .context("more than a leaf was unmapped")
    }

    #[inline(always)]
    fn protect_leaf(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let mut cursor = self.table.cursor();
        match cursor.protect(virt(guest.start()), flags(access)) {
            Err(PagingError::NotMapped) => Ok(()),
            protected => protected.map(|_| ()).map_err(failure),
        }
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let (host, flags, size) = self.table.query(virt(address)).ok()?;
        Some(leaf(host, flags, size))
    }

    /// The crate's own walk is of the whole table, and calls functions that keep nothing: a query for each
    /// leaf is the faster.
    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        let mut done = 0;
        while done < guest.size() {
            let address = VirtAddr::from_usize((guest.start().as_u64() + done) as usize);
            if let Ok((host, flags, size)) = self.table.query(address) {
                visitor(leaf(host, flags, size));
            }
            done += self.leaf_bytes;
        }
        Ok(())
    }

    fn access(bits: u64) -> Option<Access> {
        ALL_ACCESS
            .into_iter()
            .find(|access| flags(*access).bits() as u64 == bits)
    }
}
