//! Table frames taken before a change begins, so that the change itself cannot run out of memory.
#![expect(
    unsafe_code,
    reason = "owns frames from HostFrames, gives back what was not used"
)]

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};

use crate::contract::format::Format;
use crate::contract::frames::HostFrames;
use crate::contract::host::TableHost;
use crate::tree::tables::Tables;
use crate::tree::words::{self, FRAME_WORDS};

/// A stack of unused frames, chained through themselves; below them, the host's. Dropping it gives them back.
///
/// Invariant: each frame on the stack is from `frames` and used by nobody else; it holds the address of the
/// next one, or [`NONE`], in the word that [`link_slot`] names.
pub(crate) struct Reserve<'a, F: Format, H: TableHost> {
    pub(crate) tables: &'a Tables<F, H>,
    /// The frame on top, or [`NONE`].
    top: HostPhysAddr,
}

/// In place of a frame, which is aligned.
const NONE: HostPhysAddr = HostPhysAddr::new(u64::MAX);

/// The word of a frame that holds the link. It varies with the address, so that the links of many
/// frames do not compete for one cache set.
fn link_slot(frame: HostPhysAddr) -> usize {
    (frame.as_u64() / PAGE_SIZE_4K) as usize % FRAME_WORDS
}

impl<'a, F: Format, H: TableHost> Reserve<'a, F, H> {
    /// A reserve without frames of its own, which asks the host for each: for tables that nobody sees until
    /// all of them are complete, or until it [`take`](Self::take)s what a change needs.
    #[inline]
    pub(crate) fn empty(tables: &'a Tables<F, H>) -> Self {
        Self { tables, top: NONE }
    }

    /// Takes `count` frames, and returns whether there were enough. If not, the drop of the reserve gives the
    /// taken frames back.
    #[inline(never)]
    pub(crate) fn take(&mut self, count: u64) -> bool {
        for _ in 0..count {
            let Some(frame) = self.allocate() else {
                return false;
            };
            self.push(frame);
        }
        true
    }

    /// A frame from the host. One to which no entry could point, since it lies beyond the output
    /// width, is as good as none.
    #[inline(never)]
    fn allocate(&self) -> Option<HostPhysAddr> {
        let frame = self.tables.frames().alloc(1, PAGE_SIZE_4K)?;
        if frame.is_aligned_4k() && self.tables.geometry().holds_host_address(frame) {
            return Some(frame);
        }
        // SAFETY: the frame was just handed out, and nobody has used it.
        unsafe { self.tables.frames().dealloc(frame, 1) };
        None
    }

    fn push(&mut self, frame: HostPhysAddr) {
        // SAFETY: the frame was just handed out by `frames`, and only the reserve knows it.
        let words = unsafe { words::private(self.tables.frames(), frame, FRAME_WORDS) };
        if let Some(link) = words.get_mut(link_slot(frame)) {
            *link = self.top.as_u64();
        }
        self.top = frame;
    }

    /// A frame with unspecified contents, which from now on belongs to the caller. `None` only if
    /// none is left of those that were taken, and the host has no more.
    #[inline(never)]
    pub(crate) fn pop(&mut self) -> Option<HostPhysAddr> {
        self.take_top().or_else(|| self.allocate())
    }

    fn take_top(&mut self) -> Option<HostPhysAddr> {
        let frame = self.top;
        if !frame.is_aligned_4k() {
            return None;
        }
        // SAFETY: by the invariant the frame on top came from `frames` and is used by nobody else.
        let words = unsafe { words::private(self.tables.frames(), frame, FRAME_WORDS) };
        self.top = words
            .get(link_slot(frame))
            .map_or(NONE, |&link| HostPhysAddr::new(link));
        Some(frame)
    }
}

impl<F: Format, H: TableHost> Drop for Reserve<'_, F, H> {
    #[inline]
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<F: Format, H: TableHost> Reserve<'_, F, H> {
    #[inline(never)]
    fn give_back(&mut self) {
        while let Some(frame) = self.take_top() {
            // SAFETY: the frame came from `alloc(1, _)` of `frames`; it was popped, so nobody uses
            // it, and it was never linked into a table.
            unsafe { self.tables.frames().dealloc(frame, 1) };
        }
    }
}
