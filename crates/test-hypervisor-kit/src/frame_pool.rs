//! A frame allocator.
#![expect(unsafe_code, reason = "hands out host memory")]

use alloc::vec;
use alloc::vec::Vec;
use core::ptr::NonNull;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{HostFrames, HostPhysAddr, HostPhysRange};
use spin::Mutex;

/// The frames of one range of RAM, which the hypervisor reaches at its host-physical address.
///
/// One bit for each frame, searched from where the last run was found. Runs may be given back in
/// parts.
#[derive(Debug)]
pub struct FramePool {
    ram: HostPhysRange,
    first: HostPhysAddr,
    frames: Mutex<Frames>,
}

#[derive(Debug)]
struct Frames {
    is_out: Vec<bool>,
    out: usize,
    next: usize,
}

impl FramePool {
    /// The whole frames of `ram`.
    ///
    /// # Safety
    ///
    /// - Every byte of `ram` is RAM that is read and written at its host-physical address.
    /// - Nobody else uses it, ever after.
    #[must_use]
    pub unsafe fn new(ram: HostPhysRange) -> Self {
        Self {
            ram,
            first: ram.start(),
            frames: Mutex::new(Frames {
                is_out: vec![false; (ram.size() / PAGE_SIZE_4K) as usize],
                out: 0,
                next: 0,
            }),
        }
    }

    /// The RAM that the frames come from.
    pub const fn ram(&self) -> HostPhysRange {
        self.ram
    }

    /// How many frames are out.
    pub fn frames_out(&self) -> usize {
        self.frames.lock().out
    }

    /// Takes the `frames` frames from `base` on, if all are free.
    pub fn take_at(&self, base: HostPhysAddr, frames: u64) -> bool {
        let Some(offset) = base.checked_offset_from(self.first) else {
            return false;
        };
        let first = (offset / PAGE_SIZE_4K) as usize;
        self.frames.lock().take(first, frames as usize)
    }

    /// Takes the free frames of `range` for good, so that nobody gets them.
    pub fn withhold(&self, range: &HostPhysRange) {
        let last = range.last().as_u64() / PAGE_SIZE_4K;
        let pages = range.start().as_u64() / PAGE_SIZE_4K..=last;
        let own = self.first.as_u64() / PAGE_SIZE_4K;
        let pool = &mut *self.frames.lock();
        for page in pages.filter_map(|page| page.checked_sub(own)) {
            pool.take(page as usize, 1);
        }
    }
}

impl Frames {
    fn is_free(&self, first: usize, count: usize) -> bool {
        let run = first.checked_add(count).map(|end| first..end);
        let run = run.and_then(|run| self.is_out.get(run));
        run.is_some_and(|run| !run.contains(&true))
    }

    fn take(&mut self, first: usize, count: usize) -> bool {
        let is_free = self.is_free(first, count);
        if is_free {
            self.is_out[first..first + count].fill(true);
            self.out += count;
            self.next = first + count;
        }
        is_free
    }
}

// SAFETY: a run has its bits set while it is out, so nobody else gets it; its address is aligned by
// the search in `alloc`, and pointers are host-physical addresses, which `new`'s caller vouches for.
unsafe impl HostFrames for FramePool {
    const PARTIAL_FREE: bool = true;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let pool = &mut *self.frames.lock();
        let address = |frame: usize| self.first.as_u64() + frame as u64 * PAGE_SIZE_4K;
        let candidates = (pool.next..pool.is_out.len()).chain(0..pool.next);
        let mut aligned = candidates.filter(|&frame| address(frame) & (alignment - 1) == 0);
        let first = aligned.find(|&frame| pool.is_free(frame, frames as usize))?;
        pool.take(first, frames as usize);
        Some(HostPhysAddr::new(address(first)))
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let offset = base.checked_offset_from(self.first).unwrap_or(u64::MAX);
        let first = (offset / PAGE_SIZE_4K) as usize;
        let pool = &mut *self.frames.lock();
        let run = first.saturating_add(frames as usize).min(pool.is_out.len());
        let run = pool.is_out.get_mut(first..run).unwrap_or_default();
        let known = run.len() == frames as usize && !run.contains(&false);
        assert!(known, "{frames} frames at {base} are not out");
        run.fill(false);
        pool.out -= frames as usize;
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        // No frame is at address 0.
        NonNull::new(address.as_u64() as *mut u8).unwrap_or(NonNull::dangling())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that nobody touches.
    fn pool(frames: u64) -> FramePool {
        let ram = HostPhysRange::from_start_size(HostPhysAddr::new(0x1000), frames << 12).unwrap();
        // SAFETY: the tests take and give back frames and use none.
        unsafe { FramePool::new(ram) }
    }

    #[test]
    fn runs_are_aligned_and_do_not_overlap() {
        let pool = pool(16);
        assert_eq!(pool.alloc(1, 0x1000), Some(HostPhysAddr::new(0x1000)));
        assert_eq!(pool.alloc(4, 0x4000), Some(HostPhysAddr::new(0x4000)));
        assert_eq!(pool.alloc(4, 0x8000), Some(HostPhysAddr::new(0x8000)));
        assert_eq!(pool.alloc(5, 0x1000), Some(HostPhysAddr::new(0xc000)));
        assert_eq!(pool.alloc(3, 0x1000), None);
        assert_eq!(pool.frames_out(), 14);
        // SAFETY: these frames are out and unused.
        unsafe { pool.dealloc(HostPhysAddr::new(0x6000), 2) };
        assert!(pool.take_at(HostPhysAddr::new(0x6000), 1));
        assert!(!pool.take_at(HostPhysAddr::new(0x6000), 2));
        assert!(!pool.take_at(HostPhysAddr::new(0x10000), 2));
        assert!(!pool.take_at(HostPhysAddr::new(0), 1));
        assert_eq!(pool.frames_out(), 13);
    }

    #[test]
    fn nobody_gets_what_is_withheld() {
        let pool = pool(4);
        assert!(pool.take_at(HostPhysAddr::new(0x2000), 1));
        let withheld = HostPhysRange::from_start_size(HostPhysAddr::new(0), 0x3000);
        pool.withhold(&withheld.unwrap());
        assert_eq!(pool.frames_out(), 2);
        assert_eq!(pool.alloc(1, 0x1000), Some(HostPhysAddr::new(0x3000)));
        assert_eq!(pool.alloc(1, 0x1000), Some(HostPhysAddr::new(0x4000)));
        assert_eq!(pool.alloc(1, 0x1000), None);
    }
}
