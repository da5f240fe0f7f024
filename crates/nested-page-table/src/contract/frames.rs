//! Host memory: frames in, frames out, and how to reach them.
#![expect(
    unsafe_code,
    reason = "the trait that hands out host memory, and its zeroing default"
)]

use core::ptr::NonNull;

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};

/// A source of host-physical memory in frames of 4 KiB.
///
/// # Safety
///
/// The implementor promises:
///
/// - a run that [`alloc`](Self::alloc) returned is aligned as asked, is used by nobody else, and
///   stays so until it is given back;
/// - [`pointer`](Self::pointer) of an address in such a run is valid for reads and writes to the end
///   of the run, for as long as the run is out, and for the same address always the same pointer;
/// - pointers keep the alignment of their addresses up to 4 KiB;
/// - calls from several CPUs at once are safe if the implementor is `Sync`.
pub unsafe trait HostFrames {
    /// Whether a run may be given back in parts: frame by frame, in any order.
    const PARTIAL_FREE: bool;

    /// `frames` consecutive frames with **unspecified contents**, the first at a multiple of
    /// `alignment` bytes, or `None`. `alignment` is a power of two of at least 4 KiB.
    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr>;

    /// Like [`alloc`](Self::alloc), with every byte zero.
    #[inline]
    fn alloc_zeroed(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let bytes = usize::try_from(frames.checked_mul(PAGE_SIZE_4K)?).ok()?;
        let base = self.alloc(frames, alignment)?;
        // SAFETY: the run was just handed out, so by this trait's contract the pointer is valid for
        // writes of the whole run and nobody else uses it.
        unsafe { self.pointer(base).write_bytes(0, bytes) };
        Some(base)
    }

    /// Takes back `frames` frames from `base` on.
    ///
    /// # Safety
    ///
    /// - They are a run that [`alloc`](Self::alloc) of this value returned, whole, or a part of one
    ///   if [`PARTIAL_FREE`](Self::PARTIAL_FREE) is true, and were not given back since.
    /// - Nobody uses them any more: no CPU, no page walker, no cached translation.
    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64);

    /// Where the hypervisor reaches the byte at `address`, which lies in a run that is out.
    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8>;
}

// SAFETY: every promise is the referent's.
unsafe impl<T: HostFrames + ?Sized> HostFrames for &T {
    const PARTIAL_FREE: bool = T::PARTIAL_FREE;

    #[inline]
    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        (**self).alloc(frames, alignment)
    }

    #[inline]
    fn alloc_zeroed(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        (**self).alloc_zeroed(frames, alignment)
    }

    #[inline]
    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        // SAFETY: the caller keeps the same conditions.
        unsafe { (**self).dealloc(base, frames) }
    }

    #[inline]
    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        (**self).pointer(address)
    }
}
