//! Kernels that have a `PagingHandler` plug in.
#![expect(
    unsafe_code,
    reason = "vouches for a trait of static functions that is not an unsafe one"
)]

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use guest_addr::HostPhysAddr;
use nested_page_table::HostFrames;
use page_table_multiarch::PagingHandler;

/// The static functions of a [`PagingHandler`] as a source of frames.
///
/// Runs are given back whole: [`PagingHandler::dealloc_frames`] wants the number that was
/// allocated.
///
/// ```
/// use guest_vm::PagingHandlerFrames;
/// use memory_addr::{PhysAddr, VirtAddr};
/// use nested_page_table::HostFrames;
/// use page_table_multiarch::PagingHandler;
///
/// struct OutOfMemory;
///
/// impl PagingHandler for OutOfMemory {
///     fn alloc_frames(_: usize, _: usize) -> Option<PhysAddr> {
///         None
///     }
///     fn dealloc_frames(_: PhysAddr, _: usize) {}
///     fn phys_to_virt(address: PhysAddr) -> VirtAddr {
///         VirtAddr::from_usize(0xffff_8000_0000_0000 | address.as_usize())
///     }
/// }
///
/// // SAFETY: it hands out no frame, so every promise about frames is kept.
/// let frames = unsafe { PagingHandlerFrames::<OutOfMemory>::new() };
/// assert_eq!(frames.alloc(1, 0x1000), None);
/// ```
pub struct PagingHandlerFrames<P> {
    handler: PhantomData<fn() -> P>,
}

impl<P: PagingHandler> PagingHandlerFrames<P> {
    /// The frames of `P`.
    ///
    /// # Safety
    ///
    /// `P` promises what [`HostFrames`] does:
    ///
    /// - `alloc_frames` returns runs that are aligned as asked and used by nobody else until they
    ///   are given back;
    /// - `phys_to_virt` of an address in such a run is not null, and valid for reads and writes to
    ///   the end of the run; it keeps the alignment of the address up to 4 KiB;
    /// - the functions may be called from several CPUs at once.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self {
            handler: PhantomData,
        }
    }
}

impl<P> core::fmt::Debug for PagingHandlerFrames<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PagingHandlerFrames")
    }
}

// SAFETY: a value exists only because the caller of `new` vouched for every promise of the trait.
unsafe impl<P: PagingHandler> HostFrames for PagingHandlerFrames<P> {
    const PARTIAL_FREE: bool = false;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let frames = usize::try_from(frames).ok()?;
        let alignment = usize::try_from(alignment).ok()?;
        P::alloc_frames(frames, alignment).map(HostPhysAddr::from)
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        // The run was allocated with the same number, which fitted. `alloc` always calls
        // `alloc_frames`, so this is its counterpart even where a handler has `dealloc_frame` too.
        P::dealloc_frames(base.into(), frames as usize);
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        let address = P::phys_to_virt(address.into()).as_usize();
        // Never null, by the contract of `new`; a value that traps is better than a panic.
        NonNull::new(ptr::with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling())
    }
}
