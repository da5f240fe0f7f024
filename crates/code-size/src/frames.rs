//! The frames that every program takes from: those that came back, then new ones.
#![expect(unsafe_code, reason = "links free frames through their first words")]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

/// The size of a frame.
pub const FRAME_BYTES: u64 = 4096;

/// The first free frame, or 0.
static FREE: AtomicU64 = AtomicU64::new(0);
/// The memory that was never taken.
static NEXT: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// Gives the program the memory from `start` to `end`. Addresses are their own pointers.
///
/// # Safety
///
/// - It is memory that nobody else uses.
/// - It does not begin at 0, which stands for no frame.
pub unsafe fn provide(start: u64, end: u64) {
    NEXT.store(start, Ordering::Relaxed);
    END.store(end, Ordering::Relaxed);
}

/// A frame.
#[must_use]
pub fn take() -> Option<u64> {
    match FREE.load(Ordering::Relaxed) {
        0 => take_run(1, FRAME_BYTES),
        frame => {
            // SAFETY: a free frame's first word is the address of the next.
            let next = unsafe { pointer(frame).cast::<u64>().read() };
            FREE.store(next, Ordering::Relaxed);
            Some(frame)
        }
    }
}

/// Consecutive frames, the first at a multiple of `alignment` bytes.
#[must_use]
pub fn take_run(frames: u64, alignment: u64) -> Option<u64> {
    let mask = alignment.wrapping_sub(1);
    let start = NEXT.load(Ordering::Relaxed).checked_add(mask)? & !mask;
    let end = start.checked_add(frames.checked_mul(FRAME_BYTES)?)?;
    if end > END.load(Ordering::Relaxed) {
        return None;
    }
    NEXT.store(end, Ordering::Relaxed);
    Some(start)
}

/// Takes back a frame.
///
/// # Safety
///
/// It came from [`take`] or from a run of [`take_run`], and nobody uses it any more.
pub unsafe fn give_back(frame: u64) {
    // SAFETY: the caller vouches that the frame is unused.
    unsafe {
        pointer(frame)
            .cast::<u64>()
            .write(FREE.load(Ordering::Relaxed));
    }
    FREE.store(frame, Ordering::Relaxed);
}

/// Where `address` is.
#[must_use]
pub fn pointer(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}
