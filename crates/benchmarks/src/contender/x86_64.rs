//! `x86_64`: a mapper of single pages, which its user calls for each.
#![expect(
    unsafe_code,
    reason = "the crate's mapper is unsafe to make and to use"
)]

use anyhow::{Context, Result, anyhow};
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use std::fmt::Debug;
use std::ptr;
use x86_64::structures::paging::mapper::{FlagUpdateError, TranslateResult, UnmapError};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTable as RawTable, PageTableFlags,
    PhysFrame, Size1GiB, Size2MiB, Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises};
use crate::envelope::Operation;
use crate::frames;

/// What a guest may do, as the crate says it.
#[inline(always)]
const fn flags(access: Access) -> PageTableFlags {
    match access {
        Access::Read => PageTableFlags::PRESENT.union(PageTableFlags::NO_EXECUTE),
        Access::ReadExecute => PageTableFlags::PRESENT,
        Access::ReadWrite => PageTableFlags::PRESENT
            .union(PageTableFlags::WRITABLE)
            .union(PageTableFlags::NO_EXECUTE),
        Access::ReadWriteExecute => PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE),
    }
}
/// What says what a guest may do.
const PERMISSIONS: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE);

/// The stack of frames.
struct Frames;

// SAFETY: the frames of the stack are unused.
unsafe impl FrameAllocator<Size4KiB> for Frames {
    #[inline]
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        let frame = PhysAddr::new(frames::take()?.as_u64());
        Some(PhysFrame::containing_address(frame))
    }
}

/// A mapper of the crate. Its flushes are instructions of ring 0, so they are ignored.
pub(crate) struct X86 {
    root: HostPhysAddr,
    mapper: OffsetPageTable<'static>,
    leaves: Leaves,
    /// The size of the leaves: the crate's user has to know it.
    leaf_bytes: u64,
}

#[cold]
fn failure(error: impl Debug) -> anyhow::Error {
    anyhow!("{error:?}")
}

#[inline]
fn page<S: PageSize>(address: GuestPhysAddr) -> Page<S> {
    Page::containing_address(VirtAddr::new_truncate(address.as_u64()))
}

#[inline]
fn frame<S: PageSize>(address: HostPhysAddr) -> PhysFrame<S> {
    PhysFrame::containing_address(PhysAddr::new_truncate(address.as_u64()))
}

impl X86 {
    #[inline(always)]
    fn map_one<S: PageSize + Debug>(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let (page, frame) = (page::<S>(guest), frame::<S>(host));
        // SAFETY: no CPU walks the table, so that nobody can reach the frame.
        let mapped = unsafe { self.mapper.map_to(page, frame, flags(access), &mut Frames) };
        mapped.map_err(failure)?.ignore();
        Ok(())
    }

    /// Unmaps a leaf; `None` where there is none.
    #[inline(always)]
    fn unmap_one<S: PageSize>(&mut self, guest: GuestPhysAddr) -> Result<Option<Leaf>>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let unmapped = match self.mapper.unmap(page::<S>(guest)) {
            Err(UnmapError::PageNotMapped) => return Ok(None),
            unmapped => unmapped,
        };
        let (frame, flush) = unmapped.map_err(failure)?;
        flush.ignore();
        Ok(Some(Leaf {
            host: HostPhysAddr::new(frame.start_address().as_u64()),
            bytes: S::SIZE,
            flags: 0,
        }))
    }

    #[inline(always)]
    fn protect_one<S: PageSize>(&mut self, guest: GuestPhysAddr, access: Access) -> Result<()>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        // SAFETY: no CPU walks the table.
        let updated = unsafe { self.mapper.update_flags(page::<S>(guest), flags(access)) };
        match updated {
            Err(FlagUpdateError::PageNotMapped) => Ok(()),
            updated => {
                updated.map_err(failure)?.ignore();
                Ok(())
            }
        }
    }

    /// Maps a leaf of `bytes`.
    #[inline(always)]
    fn map_sized(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        bytes: u64,
        access: Access,
    ) -> Result<()> {
        match bytes {
            Size1GiB::SIZE => self.map_one::<Size1GiB>(guest, host, access),
            Size2MiB::SIZE => self.map_one::<Size2MiB>(guest, host, access),
            _ => self.map_one::<Size4KiB>(guest, host, access),
        }
    }

    #[inline(always)]
    fn unmap_sized(&mut self, guest: GuestPhysAddr, bytes: u64) -> Result<Option<Leaf>> {
        match bytes {
            Size1GiB::SIZE => self.unmap_one::<Size1GiB>(guest),
            Size2MiB::SIZE => self.unmap_one::<Size2MiB>(guest),
            _ => self.unmap_one::<Size4KiB>(guest),
        }
    }

    #[inline(always)]
    fn protect_sized(&mut self, guest: GuestPhysAddr, bytes: u64, access: Access) -> Result<()> {
        match bytes {
            Size1GiB::SIZE => self.protect_one::<Size1GiB>(guest, access),
            Size2MiB::SIZE => self.protect_one::<Size2MiB>(guest, access),
            _ => self.protect_one::<Size4KiB>(guest, access),
        }
    }
}

/// Calls `change` with the address of each leaf of `bytes` in `guest`.
#[inline(always)]
fn each_leaf(
    guest: GuestPhysRange,
    bytes: u64,
    mut change: impl FnMut(GuestPhysAddr) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    while done < guest.size() {
        change(guest.start().checked_add(done).context("past the end")?)?;
        done += bytes;
    }
    Ok(())
}

impl PageTable for X86 {
    const NAME: &'static str = "x86_64";
    const PROMISES: Promises = Promises::Live;

    fn steps_through_holes(_operation: Operation) -> bool {
        true
    }

    fn refuses(workload: &str) -> Option<&'static str> {
        (workload == "W8").then_some("no huge leaf is split")
    }

    fn new(leaves: Leaves) -> Result<Self> {
        let root = frames::take().context("no frame for a root")?;
        let table = frames::pointer(root).cast::<RawTable>();
        // SAFETY: the frame was just taken, and is as long as a table.
        unsafe { ptr::write_bytes(table, 0, 1) };
        // SAFETY: it holds an empty table, which is this value's until it is dropped.
        let table = unsafe { &mut *table };
        // SAFETY: addresses are their own pointers, for all frames of the stack.
        let mapper = unsafe { OffsetPageTable::new(table, VirtAddr::zero()) };
        Ok(Self {
            root,
            mapper,
            leaves,
            leaf_bytes: Size4KiB::SIZE,
        })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        let bits = guest.start().as_u64() | host.as_u64() | guest.size();
        let bytes = match bits.trailing_zeros() {
            30.. if self.leaves == Leaves::Largest => Size1GiB::SIZE,
            21.. if self.leaves == Leaves::Largest => Size2MiB::SIZE,
            _ => Size4KiB::SIZE,
        };
        self.leaf_bytes = bytes;
        let mut to = host;
        each_leaf(guest, bytes, |from| {
            self.map_sized(from, to, bytes, access)?;
            to = to.checked_add(bytes).context("past the end")?;
            Ok(())
        })
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        let bytes = self.leaf_bytes;
        each_leaf(guest, bytes, |address| {
            self.unmap_sized(address, bytes).map(|_| ())
        })
    }

    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        let bytes = self.leaf_bytes;
        each_leaf(guest, bytes, |address| {
            if let Some(leaf) = self.unmap_sized(address, bytes)? {
                report(leaf);
            }
            Ok(())
        })
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let bytes = self.leaf_bytes;
        each_leaf(guest, bytes, |address| {
            self.protect_sized(address, bytes, access)
        })
    }

    #[inline(always)]
    fn map_leaf(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()> {
        self.leaf_bytes = guest.size();
        self.map_sized(guest.start(), host, guest.size(), access)
    }

    #[inline(always)]
    fn unmap_leaf(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.unmap_sized(guest.start(), guest.size()).map(|_| ())
    }

    #[inline(always)]
    fn protect_leaf(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        self.protect_sized(guest.start(), guest.size(), access)
    }

    #[inline(always)]
    fn host_of(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let address = VirtAddr::new_truncate(address.as_u64());
        let host = self.mapper.translate_addr(address)?;
        Some(HostPhysAddr::new(host.as_u64()))
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let address = VirtAddr::new_truncate(address.as_u64());
        match self.mapper.translate(address) {
            TranslateResult::Mapped {
                frame,
                offset,
                flags,
            } => Some(Leaf {
                host: HostPhysAddr::new(frame.start_address().as_u64() + offset),
                bytes: frame.size(),
                flags: flags.bits(),
            }),
            _ => None,
        }
    }

    /// The crate has no visit: its user translates each address.
    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        each_leaf(guest, self.leaf_bytes, |address| {
            if let Some(leaf) = self.translate(address) {
                visitor(leaf);
            }
            Ok(())
        })
    }

    fn access(bits: u64) -> Option<Access> {
        let found = PageTableFlags::from_bits_truncate(bits) & PERMISSIONS;
        ALL_ACCESS
            .into_iter()
            .find(|access| flags(*access) == found)
    }
}

impl Drop for X86 {
    fn drop(&mut self) {
        // SAFETY: the root and all below it are this value's, which ends.
        unsafe { free(self.root, 3) }
    }
}

/// Gives back the table at `address`, `levels` above the pages' tables, and all below it.
///
/// # Safety
///
/// It is a table of the crate, and nobody uses it any more.
unsafe fn free(address: HostPhysAddr, levels: u32) {
    let table = frames::pointer(address).cast::<RawTable>();
    if levels > 0 {
        // SAFETY: the caller vouches for the table.
        for entry in unsafe { &*table }.iter() {
            let is_table = !entry.flags().contains(PageTableFlags::HUGE_PAGE);
            if is_table && !entry.is_unused() {
                // SAFETY: such an entry leads to a table of the crate.
                unsafe { free(HostPhysAddr::new(entry.addr().as_u64()), levels - 1) }
            }
        }
    }
    // SAFETY: the frame came from the stack, and the caller vouches that nobody uses it.
    unsafe { frames::give_back(address) }
}
