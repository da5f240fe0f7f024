//! Host-physical memory that exists where somebody asked for it.
#![expect(
    unsafe_code,
    reason = "memory that tables write through raw pointers while walkers read it"
)]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};

/// The widest host-physical address, in bits: RISC-V's 56.
const ADDRESS_BITS: u32 = 56;

/// A host-physical address space of 2^56 bytes in which memory exists only where it was
/// [added](Self::add). A run that was added at once is contiguous for the hypervisor too.
///
/// Memory is never removed, so a pointer into it stays valid as long as the value lives.
#[derive(Debug, Default)]
pub struct SparseMemory {
    arenas: RwLock<BTreeMap<u64, Arena>>,
}

#[derive(Debug)]
struct Arena {
    layout: Layout,
    pointer: NonNull<u8>,
}

// SAFETY: an arena owns its memory and gives out nothing but addresses; accesses through `Arena`
// are atomic.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    fn new(bytes: u64) -> Option<Self> {
        let align = usize::try_from(PAGE_SIZE_4K).ok()?;
        let layout = Layout::from_size_align(usize::try_from(bytes).ok()?, align).ok()?;
        if layout.size() == 0 {
            return None;
        }
        // SAFETY: the layout has a size other than zero.
        let pointer = NonNull::new(unsafe { alloc(layout) })?;
        Some(Self { layout, pointer })
    }

    fn at(&self, offset: u64) -> Option<NonNull<u8>> {
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: the offset is below the size of the allocation.
        (offset < self.layout.size()).then(|| unsafe { self.pointer.add(offset) })
    }

    fn word(&self, offset: u64) -> Option<&AtomicU64> {
        let pointer = self.at(offset).filter(|_| offset.is_multiple_of(8))?;
        // SAFETY: the word is aligned, and lies in the allocation, whose size is a multiple of 8
        // and which lives as long as `self`. Tables that are in use are accessed atomically, others
        // by one CPU.
        Some(unsafe { AtomicU64::from_ptr(pointer.as_ptr().cast()) })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `alloc` with this layout, and is not used after this.
        unsafe { dealloc(self.pointer.as_ptr(), self.layout) };
    }
}

impl SparseMemory {
    /// An address space without memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `frames` frames of 4 KiB exist from `base` on, every word of them `word`. False, and
    /// nothing happened, if `base` is unaligned, `frames` is 0, memory exists there already, the
    /// run ends above 2^56, or the host is out of memory.
    pub fn add(&self, base: HostPhysAddr, frames: u64, word: u64) -> bool {
        let Some(bytes) = frames.checked_mul(PAGE_SIZE_4K).filter(|&bytes| bytes > 0) else {
            return false;
        };
        let last = base.checked_add(bytes - 1);
        if !base.is_aligned_4k() || !last.is_some_and(|last| last.fits_in(ADDRESS_BITS)) {
            return false;
        }
        let mut arenas = self.arenas.write().unwrap_or_else(PoisonError::into_inner);
        let below = arenas.range(..base.as_u64() + bytes).next_back();
        if below.is_some_and(|(start, arena)| start + arena.layout.size() as u64 > base.as_u64()) {
            return false;
        }
        let Some(arena) = Arena::new(bytes) else {
            return false;
        };
        arenas.insert(base.as_u64(), arena);
        drop(arenas);
        self.fill(base, frames, word);
        true
    }

    /// The word at `address`, or `None` where no memory is or `address` is no multiple of 8.
    #[must_use]
    pub fn read(&self, address: HostPhysAddr) -> Option<u64> {
        self.with_word(address, |word| word.load(Ordering::Acquire))
    }

    /// Writes the word at `address`. False where no memory is or `address` is no multiple of 8.
    pub fn write(&self, address: HostPhysAddr, value: u64) -> bool {
        let stored = self.with_word(address, |word| word.store(value, Ordering::Release));
        stored.is_some()
    }

    /// Sets every word of the memory that exists in `frames` frames from `base` on.
    pub fn fill(&self, base: HostPhysAddr, frames: u64, word: u64) {
        for offset in (0..frames.saturating_mul(PAGE_SIZE_4K)).step_by(8) {
            let existed = base
                .checked_add(offset)
                .is_some_and(|address| self.write(address, word));
            if !existed {
                return;
            }
        }
    }

    /// Where the hypervisor reaches the byte at `address`, or `None` where no memory is. The pointer
    /// is valid to the end of the run that was added at once.
    #[must_use]
    pub fn pointer(&self, address: HostPhysAddr) -> Option<NonNull<u8>> {
        let arenas = self.arenas();
        let (start, arena) = arenas.range(..=address.as_u64()).next_back()?;
        arena.at(address.as_u64() - start)
    }

    /// A way to read many words fast. While it lives, no memory can be added.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            arenas: self.arenas(),
            recent: Default::default(),
        }
    }

    fn with_word<T>(
        &self,
        address: HostPhysAddr,
        access: impl FnOnce(&AtomicU64) -> T,
    ) -> Option<T> {
        let arenas = self.arenas();
        let (start, arena) = arenas.range(..=address.as_u64()).next_back()?;
        arena.word(address.as_u64() - start).map(access)
    }

    fn arenas(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arena>> {
        self.arenas.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a frame, and where it is.
type Frame = (u64, NonNull<u8>);

/// Reads words, and remembers where the frames are that it read last.
pub(crate) struct Reader<'a> {
    arenas: RwLockReadGuard<'a, BTreeMap<u64, Arena>>,
    /// By the lowest bits of the frame's number.
    recent: [Cell<Option<Frame>>; 16],
}

impl Reader<'_> {
    /// As [`SparseMemory::read`].
    pub(crate) fn read(&self, address: HostPhysAddr) -> Option<u64> {
        let (number, offset) = (address.as_u64() >> 12, address.as_u64() & 0xfff);
        let slot = self.recent.get(number as usize % self.recent.len())?;
        let frame = match slot.get() {
            Some((recent, frame)) if recent == number => frame,
            _ => {
                let (start, arena) = self.arenas.range(..=address.as_u64()).next_back()?;
                let frame = arena.at(address.align_down_4k().as_u64() - start)?;
                slot.set(Some((number, frame)));
                frame
            }
        };
        if !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: the offset stays within the frame, and arenas consist of whole frames.
        let word = unsafe { frame.add(offset as usize) }.cast::<u64>();
        // SAFETY: the word is aligned and lives as long as the arenas, which are never removed.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
        Some(word.load(Ordering::Acquire))
    }
}
