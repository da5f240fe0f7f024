//! A module in the place of `axvm`'s `npt.rs` and of the table types of its architectures: what a maintainer writes once.
//!
//! `axvm` keeps `PagingHandler`, `AddrSpace` and the code around them. Where an architecture has
//! `npt::NestedPageTable::new(levels)` and `nested_paging_config(root, levels)`, it calls `new` and the table's own
//! `nested_paging_config`.
#![no_std]

use core::marker::PhantomData;

use ax_memory_addr::{PhysAddr, VirtAddr};
use nested_page_table::NewTableError;
use nested_paging_arceos::{AllocatorFrames, StoppedGuests, Table};
use page_table_generic::FrameAllocator;

/// The trait of `axvm`'s host layer, as far as tables need it.
pub trait PagingHandler {
    /// One frame.
    fn alloc_frame() -> Option<PhysAddr>;
    /// A run of frames.
    fn alloc_frames(frames: usize, alignment: usize) -> Option<PhysAddr>;
    /// Takes back one frame.
    fn dealloc_frame(frame: PhysAddr);
    /// Takes back a run.
    fn dealloc_frames(start: PhysAddr, frames: usize);
    /// Where the hypervisor reaches a frame.
    fn phys_to_virt(address: PhysAddr) -> VirtAddr;
    /// Cleans the data cache.
    fn clean_dcache_range(address: PhysAddr, size: usize);
}

/// The static functions as a value. `axvm` has this adapter already.
#[derive(Debug)]
pub struct HandlerFrames<P>(PhantomData<fn() -> P>);

impl<P> Clone for HandlerFrames<P> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<P: PagingHandler + 'static> FrameAllocator for HandlerFrames<P> {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        P::alloc_frame()
    }

    fn dealloc_frame(&self, frame: PhysAddr) {
        P::dealloc_frame(frame);
    }

    fn phys_to_virt(&self, address: PhysAddr) -> *mut u8 {
        P::phys_to_virt(address).as_mut_ptr()
    }

    fn alloc_frames(&self, frames: usize, alignment: usize) -> Option<PhysAddr> {
        P::alloc_frames(frames, alignment)
    }

    fn dealloc_frames(&self, start: PhysAddr, frames: usize, _frame_size: usize) {
        P::dealloc_frames(start, frames);
    }
}

type Host<P> = StoppedGuests<AllocatorFrames<HandlerFrames<P>>>;

/// The table of the target: what `axvm` calls `ArchNestedPageTable`.
#[cfg(target_arch = "riscv64")]
pub type NestedPageTable<P> = Table<nested_paging_riscv64::GStage, Host<P>>;
/// The table of the target: what `axvm` calls `ArchNestedPageTable`.
#[cfg(target_arch = "aarch64")]
pub type NestedPageTable<P> = Table<nested_paging_aarch64::Stage2, Host<P>>;
/// The table of the target: what `axvm` calls `ArchNestedPageTable`.
#[cfg(target_arch = "x86_64")]
pub type NestedPageTable<P> = Table<nested_paging_x86_64::Nested, Host<P>>;

/// Why there is no table.
#[derive(Debug)]
pub enum Error {
    /// The processor has no tables with so many levels.
    Levels(usize),
    /// The root could not be made.
    Table(NewTableError),
}

/// An empty table with this many levels.
#[cfg(target_arch = "riscv64")]
pub fn new<P: PagingHandler + 'static>(levels: usize) -> Result<NestedPageTable<P>, Error> {
    // A kernel fills the capabilities in from its device tree.
    let capabilities = nested_paging_riscv64::Capabilities::common();
    let format = nested_paging_arceos::g_stage(levels, capabilities);
    let format = format.map_err(|_| Error::Levels(levels))?;
    table(format).map_err(Error::Table)
}

/// An empty table with this many levels.
#[cfg(target_arch = "aarch64")]
pub fn new<P: PagingHandler + 'static>(levels: usize) -> Result<NestedPageTable<P>, Error> {
    // A kernel uses `detect()` on each CPU.
    let capabilities = nested_paging_aarch64::Capabilities::common();
    let format = nested_paging_arceos::stage_2(levels, capabilities);
    let format = format.map_err(|_| Error::Levels(levels))?;
    table(format).map_err(Error::Table)
}

/// Which tables the processor walks: `axvm` knows when it has chosen its backend.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub enum NestedPagingFormat {
    /// Intel's extended page tables.
    Ept,
    /// AMD's nested page tables.
    Npt,
}

/// An empty table with this many levels.
#[cfg(target_arch = "x86_64")]
pub fn new<P: PagingHandler + 'static>(
    levels: usize,
    format: NestedPagingFormat,
) -> Result<NestedPageTable<P>, Error> {
    use nested_paging_x86_64::{Capabilities, Nested, npt};

    // A kernel uses `detect()`.
    let format: Nested = match format {
        NestedPagingFormat::Ept => {
            let format = nested_paging_arceos::ept(levels, Capabilities::common());
            format.map_err(|_| Error::Levels(levels))?.into()
        }
        NestedPagingFormat::Npt => {
            let format = nested_paging_arceos::npt(levels, npt::Capabilities::common());
            format.map_err(|_| Error::Levels(levels))?.into()
        }
    };
    table(format).map_err(Error::Table)
}

fn table<F: nested_page_table::Format, P: PagingHandler + 'static>(
    format: F,
) -> Result<Table<F, Host<P>>, NewTableError> {
    // SAFETY: the handler of `axvm` keeps the promises of a source of frames.
    let frames = unsafe { AllocatorFrames::new(HandlerFrames::<P>(PhantomData)) };
    // SAFETY: `axvm` stops all vCPUs of a VM before it changes the VM's table, and each CPU fences at every entry.
    let host = unsafe { StoppedGuests::new(frames) };
    // SAFETY: the table goes into an `AddrSpace`, which gives back only frames that it was given.
    let table = unsafe { Table::new(format, 0, host)? };
    Ok(table.with_data_cache_clean(P::clean_dcache_range))
}
