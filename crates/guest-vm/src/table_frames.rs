//! Frames for tables, with a reserve that the host fills when it has time.
#![expect(unsafe_code, reason = "hands out the host's frames")]

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};
use nested_page_table::{Format, HostFrames, MapError};

use crate::error::VmError;
use crate::frames::FrameRun;
use crate::hal::VmHal;
use crate::vm::Vm;

/// The most frames that are kept: enough for a few faults, each of which takes at most four.
const PLACES: usize = 16;
/// No frame begins here.
const EMPTY: u64 = u64::MAX;

/// The host's frames, and some of them that are zero and in nobody's use.
pub(crate) struct TableFrames<H: VmHal> {
    hal: Arc<H>,
    reserve: [AtomicU64; PLACES],
}

impl<H: VmHal> TableFrames<H> {
    pub(crate) fn new(hal: &Arc<H>) -> Self {
        Self {
            hal: Arc::clone(hal),
            reserve: [const { AtomicU64::new(EMPTY) }; PLACES],
        }
    }

    /// A frame of zeroes from the reserve.
    fn take(&self) -> Option<HostPhysAddr> {
        let taken = self.reserve.iter().find_map(|place| {
            if place.load(Ordering::Relaxed) == EMPTY {
                return None;
            }
            // Acquire: the frame was cleared by the CPU that put it here.
            let frame = place.swap(EMPTY, Ordering::Acquire);
            (frame != EMPTY).then_some(frame)
        });
        taken.map(HostPhysAddr::new)
    }

    /// Keeps `run`, a frame of zeroes, if there is a place for it.
    fn keep(&self, run: FrameRun<'_, H::Frames>) {
        // What is not kept is given back.
        let _ = run.hand_over_to(|frame| {
            let kept = self.reserve.iter().any(|place| {
                let kept = place.compare_exchange(
                    EMPTY,
                    frame.as_u64(),
                    Ordering::Release,
                    Ordering::Relaxed,
                );
                kept.is_ok()
            });
            kept.then_some(()).ok_or(())
        });
    }

    fn count(&self) -> usize {
        let is_full = |place: &&AtomicU64| place.load(Ordering::Relaxed) != EMPTY;
        self.reserve.iter().filter(is_full).count()
    }
}

// SAFETY: the frames are those of `hal.frames()`, whose promises hold. One in the reserve was taken from there, belongs to
// nobody, and leaves its place by one exchange, so it is handed out once.
unsafe impl<H: VmHal> HostFrames for TableFrames<H> {
    const PARTIAL_FREE: bool = H::Frames::PARTIAL_FREE;

    /// The reserve is for [`alloc_zeroed`](Self::alloc_zeroed), and for when there are no others.
    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let run = self.hal.frames().alloc(frames, alignment);
        run.or_else(|| match (frames, alignment) {
            (1, PAGE_SIZE_4K) => self.take(),
            _ => None,
        })
    }

    fn alloc_zeroed(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let kept = match (frames, alignment) {
            (1, PAGE_SIZE_4K) => self.take(),
            _ => None,
        };
        kept.or_else(|| self.hal.frames().alloc_zeroed(frames, alignment))
    }

    #[inline]
    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        // SAFETY: the conditions are the caller's: every frame is one of this source.
        unsafe { self.hal.frames().dealloc(base, frames) }
    }

    #[inline]
    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        self.hal.frames().pointer(address)
    }
}

impl<H: VmHal> Drop for TableFrames<H> {
    fn drop(&mut self) {
        while let Some(frame) = self.take() {
            // SAFETY: it came from there as a run of one frame, and was never handed out.
            unsafe { self.hal.frames().dealloc(frame, 1) };
        }
    }
}

impl<H: VmHal> fmt::Debug for TableFrames<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFrames")
            .field("kept", &self.count())
            .finish_non_exhaustive()
    }
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Fills the reserve of table frames up to `count`, 16 at most: call it outside of faults, such as when a virtual CPU
    /// waits. Faults take tables from there first, and then neither allocate nor clear any. A fault takes at most one frame for each level
    /// below the root. The reserve is given back with the machine.
    ///
    /// Formats whose absent entry is not zero use it only when there are no other frames.
    ///
    /// # Errors
    ///
    /// [`VmError::Map`]: there are no more frames. What was taken stays in the reserve.
    pub fn refill_table_frames(&self, count: usize) -> Result<(), VmError> {
        while self.table_frames_in_reserve() < count.min(PLACES) {
            let run = FrameRun::zeroed(self.hal.frames(), PAGE_SIZE_4K, PAGE_SIZE_4K);
            let run = run.ok_or(MapError::OutOfMemory { frames: 1 })?;
            self.space.read().table.host().frames.keep(run);
        }
        Ok(())
    }

    /// How many table frames the reserve has.
    #[must_use]
    pub fn table_frames_in_reserve(&self) -> usize {
        self.space.read().table.host().frames.count()
    }
}
