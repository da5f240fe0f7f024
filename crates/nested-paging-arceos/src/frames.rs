//! Kernels that have a `FrameAllocator` plug in.
#![expect(unsafe_code, reason = "vouches for a trait that is not an unsafe one")]

use core::fmt;
use core::ptr::NonNull;

use guest_addr::HostPhysAddr;
use nested_page_table::HostFrames;
use page_table_generic::{FrameAllocator, PhysAddr};

/// A [`FrameAllocator`] of `page-table-generic` as a source of frames: what `axvm` makes its tables with.
///
/// A single frame comes from [`FrameAllocator::alloc_frame`]; the root of Sv39x4 and Sv48x4, four frames aligned to 16 KiB,
/// from [`FrameAllocator::alloc_frames`]. Runs are given back whole.
pub struct AllocatorFrames<A> {
    allocator: A,
}

impl<A: FrameAllocator> AllocatorFrames<A> {
    /// The frames of `allocator`.
    ///
    /// # Safety
    ///
    /// `allocator` promises what [`HostFrames`] does:
    ///
    /// - `alloc_frame` and `alloc_frames` return frames that are aligned as asked and used by nobody else until they
    ///   are given back;
    /// - `phys_to_virt` of an address in such frames is not null, and valid for reads and writes to the end of the
    ///   run; it keeps the alignment of the address up to 4 KiB;
    /// - the functions may be called from several CPUs at once.
    #[must_use]
    pub const unsafe fn new(allocator: A) -> Self {
        Self { allocator }
    }
}

impl<A> fmt::Debug for AllocatorFrames<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllocatorFrames")
    }
}

// SAFETY: a value exists only because the caller of `new` vouched for every promise of the trait.
unsafe impl<A: FrameAllocator> HostFrames for AllocatorFrames<A> {
    const PARTIAL_FREE: bool = false;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let frame = match (frames, alignment) {
            (1, 0x1000) => self.allocator.alloc_frame(),
            _ => {
                let alignment = usize::try_from(alignment).ok()?;
                let frames = usize::try_from(frames).ok()?;
                self.allocator.alloc_frames(frames, alignment)
            }
        };
        frame.map(|frame| HostPhysAddr::from_usize(frame.as_usize()))
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let base = PhysAddr::from_usize(base.as_usize());
        match frames {
            1 => self.allocator.dealloc_frame(base),
            // The run was allocated with the same number, which fitted.
            _ => self.allocator.dealloc_frames(base, frames as usize, 0x1000),
        }
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        let address = PhysAddr::from_usize(address.as_usize());
        // Never null, by the contract of `new`; a value that traps is better than a panic.
        NonNull::new(self.allocator.phys_to_virt(address)).unwrap_or(NonNull::dangling())
    }
}
