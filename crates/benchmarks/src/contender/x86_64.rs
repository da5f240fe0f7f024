//! `x86_64`: a mapper of single pages, which its user calls for each.
#![expect(
    unsafe_code,
    reason = "the crate's mapper is unsafe to make and to use"
)]

use anyhow::{Context, Result, anyhow};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use std::fmt::Debug;
use std::ptr;
use x86_64::structures::paging::mapper::{TranslateResult, UnmapError};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTable as RawTable, PageTableFlags,
    PhysFrame, Size1GiB, Size2MiB, Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::contender::{Leaves, PageTable};
use crate::frames;

const READ_WRITE: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE);
const READ_ONLY: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::NO_EXECUTE);

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
    #[inline]
    fn map_one<S: PageSize + Debug>(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
    ) -> Result<u64>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        // SAFETY: no CPU walks the table, so that nobody can reach the frame.
        let mapped = unsafe {
            self.mapper
                .map_to(page::<S>(guest), frame::<S>(host), READ_WRITE, &mut Frames)
        };
        mapped.map_err(failure)?.ignore();
        Ok(S::SIZE)
    }

    /// Maps one leaf, the largest that may begin here, and says how large it is.
    #[inline]
    fn map_leaf(&mut self, guest: GuestPhysAddr, host: HostPhysAddr, bytes: u64) -> Result<u64> {
        let alignment = (guest.as_u64() | host.as_u64() | bytes).trailing_zeros();
        match alignment {
            30.. if self.leaves == Leaves::Largest => self.map_one::<Size1GiB>(guest, host),
            21.. if self.leaves == Leaves::Largest => self.map_one::<Size2MiB>(guest, host),
            _ => self.map_one::<Size4KiB>(guest, host),
        }
    }
}

/// Calls `change` with the address of each page of `guest`.
#[inline]
fn each_page(
    guest: GuestPhysRange,
    mut change: impl FnMut(GuestPhysAddr) -> Result<()>,
) -> Result<()> {
    for offset in (0..guest.size()).step_by(PAGE_SIZE_4K as usize) {
        change(guest.start().checked_add(offset).context("past the end")?)?;
    }
    Ok(())
}

impl PageTable for X86 {
    const NAME: &'static str = "x86_64";

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
        })
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        let mut done = 0;
        while done < guest.size() {
            let from = guest.start().checked_add(done).context("past the end")?;
            let to = host.checked_add(done).context("past the end")?;
            done += self.map_leaf(from, to, guest.size() - done)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        each_page(guest, |address| self.unmap_page(address))
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        each_page(guest, |address| {
            // SAFETY: no CPU walks the table.
            let updated = unsafe {
                self.mapper
                    .update_flags(page::<Size4KiB>(address), READ_ONLY)
            };
            updated.map_err(failure)?.ignore();
            Ok(())
        })
    }

    #[inline(always)]
    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        self.map_one::<Size4KiB>(guest, host)?;
        Ok(())
    }

    #[inline(always)]
    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        let unmapped: Result<_, UnmapError> = self.mapper.unmap(page::<Size4KiB>(guest));
        let (_, flush) = unmapped.map_err(failure)?;
        flush.ignore();
        Ok(())
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let address = VirtAddr::new_truncate(address.as_u64());
        let host = self.mapper.translate_addr(address)?;
        Some(HostPhysAddr::new(host.as_u64()))
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        match self
            .mapper
            .translate(VirtAddr::new_truncate(address.as_u64()))
        {
            TranslateResult::Mapped { flags, .. } => Some(flags.contains(PageTableFlags::WRITABLE)),
            _ => None,
        }
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
