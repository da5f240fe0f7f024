//! A host with a few megabytes of real memory, and an allocator that counts and can fail.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use page_table_generic::{FrameAllocator, PhysAddr};
use reference_mmu::PhysicalMemory;

const FRAME: usize = 0x1000;
/// Guest memory of the tests that is no frame of the allocator lies above.
pub(crate) const BASE: usize = 0x8000_0000;
const FRAMES: usize = 2048;

#[repr(C, align(4096))]
#[derive(Clone)]
struct Frame([u64; FRAME / 8]);

#[derive(Default)]
struct State {
    out: BTreeSet<usize>,
    /// How many allocations still succeed; `None` for all.
    left: Option<usize>,
}

/// Frames from [`BASE`] on, with contents that look like entries.
#[derive(Clone)]
pub(crate) struct Arena {
    memory: Arc<[Frame]>,
    state: Arc<Mutex<State>>,
}

impl Arena {
    pub(crate) fn new() -> Self {
        let dirty = Frame([0x5a5a_5a5a_5a5a_5a5a; FRAME / 8]);
        Self {
            memory: vec![dirty; FRAMES].into(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frames that are out.
    pub(crate) fn out(&self) -> BTreeSet<usize> {
        self.state().out.clone()
    }

    /// After `left` allocations the next ones fail.
    pub(crate) fn fail_after(&self, left: Option<usize>) {
        self.state().left = left;
    }

    fn pointer(&self, address: usize) -> *mut u8 {
        assert!(
            (BASE..BASE + FRAMES * FRAME).contains(&address),
            "{address:#x}"
        );
        let start = self.memory.as_ptr().cast::<u8>().cast_mut();
        start.wrapping_add(address - BASE)
    }

    /// The word at `address`, if it is a frame's.
    pub(crate) fn word(&self, address: usize) -> Option<u64> {
        let frame = address & !(FRAME - 1);
        let is_out = self.state().out.contains(&frame);
        // SAFETY: the frame is memory of this arena, aligned to 8; tests use it from one thread.
        is_out.then(|| unsafe { self.pointer(address & !7).cast::<u64>().read_volatile() })
    }

    pub(crate) fn set_word(&self, address: usize, value: u64) {
        assert!(self.state().out.contains(&(address & !(FRAME - 1))));
        // SAFETY: as for `word`.
        unsafe { self.pointer(address).cast::<u64>().write_volatile(value) };
    }
}

impl FrameAllocator for Arena {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        self.alloc_frames(1, FRAME)
    }

    fn dealloc_frame(&self, frame: PhysAddr) {
        assert!(
            self.state().out.remove(&frame.as_usize()),
            "{frame:?} is not out"
        );
    }

    fn phys_to_virt(&self, address: PhysAddr) -> *mut u8 {
        self.pointer(address.as_usize())
    }

    fn alloc_frames(&self, frames: usize, alignment: usize) -> Option<PhysAddr> {
        let mut state = self.state();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1)?;
        }
        let is_free =
            |base: &usize| (0..frames).all(|frame| !state.out.contains(&(base + frame * FRAME)));
        let last = BASE + (FRAMES - frames) * FRAME;
        let base = (BASE..=last).step_by(alignment).find(is_free)?;
        let run: Vec<_> = (0..frames).map(|frame| base + frame * FRAME).collect();
        state.out.extend(run);
        Some(PhysAddr::from_usize(base))
    }

    fn dealloc_frames(&self, start: PhysAddr, frames: usize, size: usize) {
        assert_eq!(size, FRAME);
        for frame in 0..frames {
            self.dealloc_frame(PhysAddr::from_usize(start.as_usize() + frame * FRAME));
        }
    }
}

/// What a page walker reads.
impl PhysicalMemory for Arena {
    fn read(&self, address: guest_addr::HostPhysAddr) -> Option<u64> {
        self.word(address.as_usize())
    }
}
