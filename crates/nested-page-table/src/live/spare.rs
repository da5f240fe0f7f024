//! Table frames that are ready to be linked.
#![expect(
    unsafe_code,
    reason = "takes frames, fills them before they are linked, gives back what was not"
)]

use arrayvec::ArrayVec;
use guest_addr::{GuestPhysAddr, HostPhysAddr, PAGE_SIZE_4K};

use crate::contract::format::Format;
use crate::contract::frames::HostFrames;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::tree::tables::Tables;
use crate::tree::words::{self, FRAME_WORDS};

/// The most tables between a root and a page.
const MOST: usize = Level::COUNT - 1;

/// Frames for the tables above one leaf. Each has absent entries only, or the entry of its last chain. Dropping it gives
/// them back.
///
/// Invariant: each frame came from `tables.frames()` by `alloc(1, _)`, or by `alloc_zeroed`, and is used by nobody else.
pub(crate) struct SpareTables<'t, F: Format, H: TableHost> {
    tables: &'t Tables<F, H>,
    frames: ArrayVec<HostPhysAddr, MOST>,
}

/// The host has no more frames.
#[derive(Debug)]
pub(crate) struct NoFrames;

impl<'t, F: Format, H: TableHost> SpareTables<'t, F, H> {
    /// None, which takes no frame.
    pub(crate) fn none(tables: &'t Tables<F, H>) -> Self {
        Self {
            tables,
            frames: ArrayVec::new(),
        }
    }

    /// Takes frames until there are `count`. Those that were taken before an error stay here.
    pub(crate) fn take(&mut self, count: usize) -> Result<(), NoFrames> {
        while self.frames.len() < count {
            let frame = self.empty_table().ok_or(NoFrames)?;
            if self.frames.try_push(frame).is_err() {
                // There are never so many levels: give back what has no room.
                // SAFETY: the frame was just handed out, and nobody uses it.
                unsafe { self.tables.frames().dealloc(frame, 1) };
                return Err(NoFrames);
            }
        }
        Ok(())
    }

    /// A frame in which every entry is absent. One that no entry can point to counts as none.
    fn empty_table(&self) -> Option<HostPhysAddr> {
        let (frames, absent) = (self.tables.frames(), self.tables.format.absent());
        // A host that keeps zeroed frames has nothing to do here.
        let frame = match absent {
            0 => frames.alloc_zeroed(1, PAGE_SIZE_4K),
            _ => frames.alloc(1, PAGE_SIZE_4K),
        }?;
        if !frame.is_aligned_4k() || !self.tables.geometry().holds_host_address(frame) {
            // SAFETY: the frame was just handed out, and nobody has used it.
            unsafe { frames.dealloc(frame, 1) };
            return None;
        }
        if absent != 0 {
            // SAFETY: the frame was just handed out, so it is ours alone.
            words::clear(
                unsafe { words::private(frames, frame, FRAME_WORDS) },
                absent,
            );
        }
        Some(frame)
    }

    /// Writes `word` to the entry of `address` in `frame`, which becomes a table of `level`.
    fn write(&mut self, frame: HostPhysAddr, level: Level, address: GuestPhysAddr, word: u64) {
        let index = self.tables.geometry().shift(level);
        let index = (address.as_u64() >> index) as usize % FRAME_WORDS;
        // SAFETY: by the invariant the frame came from `frames` and is used by nobody else.
        let words = unsafe { words::private(self.tables.frames(), frame, FRAME_WORDS) };
        if let Some(entry) = words.get_mut(index) {
            *entry = word;
        }
    }

    /// Puts `leaf`, a word of `level`, at the end of a chain of one table for each level up to `top`, and returns the entry
    /// of `top` that links the chain. There are enough frames: those of the last [`take`](Self::take).
    ///
    /// A chain that was not linked is overwritten by the next one of the same leaf: the lowest table is the same frame again,
    /// and so is each above it.
    pub(crate) fn chain(
        &mut self,
        top: Level,
        level: Level,
        address: GuestPhysAddr,
        leaf: u64,
    ) -> u64 {
        let mut word = leaf;
        for (frame, level) in self.chained(top, level) {
            self.write(frame, level, address, word);
            word = self.tables.format.encode_table(frame);
        }
        word
    }

    /// The tables of the last [`chain`](Self::chain) are linked: they are no longer here.
    pub(crate) fn linked(&mut self, top: Level, level: Level) {
        let count = self.chained(top, level).count();
        let _ = self.frames.drain(..count);
    }

    /// The frames of a chain with the levels of their entries, from the lowest upwards.
    fn chained(
        &self,
        top: Level,
        level: Level,
    ) -> impl Iterator<Item = (HostPhysAddr, Level)> + use<F, H> {
        let levels = top.up_to().filter(move |&of| of >= level && of < top);
        self.frames.clone().into_iter().zip(levels)
    }
}

impl<F: Format, H: TableHost> Drop for SpareTables<'_, F, H> {
    fn drop(&mut self) {
        for frame in self.frames.drain(..) {
            // SAFETY: the frame came from `alloc(1, _)` of `frames`, was never linked, and is used by nobody.
            unsafe { self.tables.frames().dealloc(frame, 1) };
        }
    }
}
