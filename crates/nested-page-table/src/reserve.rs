//! Table frames taken before a change begins, so that the change itself cannot run out of memory.
#![expect(
    unsafe_code,
    reason = "owns frames from HostFrames, gives back what was not used"
)]

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};

use crate::format::Format;
use crate::frames::HostFrames;
use crate::host::TableHost;
use crate::tables::Tables;
use crate::words::{self, FRAME_WORDS};

/// Where the frames of new tables come from.
pub(crate) trait FrameSource {
    /// A frame with unspecified contents, which from now on belongs to the caller, and to which an
    /// entry can point.
    fn next_frame(&mut self) -> Option<HostPhysAddr>;
}

/// Frames straight from the host, for tables that nobody sees until all of them are complete.
pub(crate) struct Allocation<'a, F: Format, H: TableHost>(pub(crate) &'a Tables<F, H>);

impl<F: Format, H: TableHost> FrameSource for Allocation<'_, F, H> {
    #[inline]
    fn next_frame(&mut self) -> Option<HostPhysAddr> {
        let (frames, geometry) = (self.0.frames(), self.0.geometry());
        let frame = frames.alloc(1, PAGE_SIZE_4K)?;
        if frame.is_aligned_4k() && geometry.holds_host_address(frame) {
            return Some(frame);
        }
        // SAFETY: the frame was just handed out, and nobody has used it.
        unsafe { frames.dealloc(frame, 1) };
        None
    }
}

impl<H: HostFrames> FrameSource for Reserve<'_, H> {
    #[inline]
    fn next_frame(&mut self) -> Option<HostPhysAddr> {
        self.pop()
    }
}

/// A stack of unused frames, chained through themselves. Dropping it gives them back.
///
/// Invariant: `count` frames are on the stack, each from `frames` and used by nobody else; each but
/// the last holds the address of the next one in the word that [`link_slot`] names.
pub(crate) struct Reserve<'a, H: HostFrames> {
    frames: &'a H,
    top: HostPhysAddr,
    count: u64,
}

/// The word of a frame that holds the link. It varies with the address, so that the links of many
/// frames do not compete for one cache set.
fn link_slot(frame: HostPhysAddr) -> usize {
    (frame.as_u64() / PAGE_SIZE_4K) as usize % FRAME_WORDS
}

impl<'a, H: HostFrames> Reserve<'a, H> {
    /// Takes `count` frames for tables of `tables`, or none: on failure those already taken are
    /// given back. A frame beyond the output width is a failure, since no entry could point to it.
    #[inline]
    pub(crate) fn take_for<F, T>(tables: &'a Tables<F, T>, count: u64) -> Option<Self>
    where
        F: Format,
        T: TableHost<Frames = H>,
    {
        let output_bits = tables.geometry().output_bits();
        let mut reserve = Self {
            frames: tables.frames(),
            top: HostPhysAddr::ZERO,
            count: 0,
        };
        for _ in 0..count {
            let frame = reserve.frames.alloc(1, PAGE_SIZE_4K)?;
            reserve.push(frame);
            if !frame.is_aligned_4k() || !frame.fits_in(output_bits) {
                return None;
            }
        }
        Some(reserve)
    }

    fn push(&mut self, frame: HostPhysAddr) {
        // SAFETY: the frame was just handed out by `frames`, and only the reserve knows it.
        let words = unsafe { words::private(self.frames, frame, FRAME_WORDS) };
        if let Some(link) = words.get_mut(link_slot(frame)) {
            *link = self.top.as_u64();
        }
        self.top = frame;
        self.count += 1;
    }

    /// A frame with unspecified contents, which from now on belongs to the caller.
    pub(crate) fn pop(&mut self) -> Option<HostPhysAddr> {
        self.count = self.count.checked_sub(1)?;
        let frame = self.top;
        // SAFETY: by the invariant the frame on top came from `frames` and is used by nobody else.
        let words = unsafe { words::private(self.frames, frame, FRAME_WORDS) };
        self.top = HostPhysAddr::new(words.get(link_slot(frame)).copied().unwrap_or(0));
        Some(frame)
    }
}

impl<H: HostFrames> Drop for Reserve<'_, H> {
    fn drop(&mut self) {
        while let Some(frame) = self.pop() {
            // SAFETY: the frame came from `alloc(1, _)` of `frames`; it was popped, so nobody uses
            // it, and it was never linked into a table.
            unsafe { self.frames.dealloc(frame, 1) };
        }
    }
}
