//! A stack of free frames, kept outside the frames.
#![expect(unsafe_code, reason = "hands out the memory of the arena")]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{HostFrames, HostPhysAddr};

use crate::arena;

const FRAME_BYTES: usize = PAGE_SIZE_4K as usize;
/// Frames for runs of several, such as the roots of RISC-V: a sixteenth of the arena.
const RUN_FRAMES: usize = arena::BYTES / FRAME_BYTES / 16;
const SINGLE_FRAMES: usize = arena::BYTES / FRAME_BYTES - RUN_FRAMES;
const RUNS_START: u64 = arena::START.as_u64() + (SINGLE_FRAMES * FRAME_BYTES) as u64;

/// The tables of W1, and some more.
const WARM_FRAMES: usize = 640;
const CACHE_LINE_BYTES: usize = 64;

/// The free frames below `DEPTH`. Atomic so that it can be static; one thread uses it, with plain
/// loads and stores.
static STACK: [AtomicU64; SINGLE_FRAMES] = [const { AtomicU64::new(0) }; SINGLE_FRAMES];
static DEPTH: AtomicUsize = AtomicUsize::new(0);
/// The next run, and the frames that are out in runs: all of them come back before any is taken again.
static NEXT_RUN: AtomicU64 = AtomicU64::new(0);
static IN_RUNS: AtomicU64 = AtomicU64::new(0);

/// Puts every frame of the arena, which is mapped, on the stack.
pub(crate) fn fill() {
    let addresses = (arena::START.as_u64()..).step_by(FRAME_BYTES);
    for (slot, address) in STACK.iter().rev().zip(addresses) {
        slot.store(address, Ordering::Relaxed);
    }
    DEPTH.store(SINGLE_FRAMES, Ordering::Relaxed);
    NEXT_RUN.store(RUNS_START, Ordering::Relaxed);
}

/// Puts the frames, all of which are back, into the order that they had at first.
///
/// # Errors
///
/// When a frame is not back.
pub(crate) fn restore_order() -> Result<()> {
    let missing = outstanding();
    ensure!(missing == 0, "{missing} frames were not given back");
    fill();
    Ok(())
}

/// Reads every cache line of the frames that are taken first, which is all that most workloads use. A
/// contender then finds them in the cache however long the one before it took: neighbours on the
/// machine evict what nobody touches for some milliseconds.
pub(crate) fn warm_up() {
    let lines = (arena::START.as_u64()..).step_by(CACHE_LINE_BYTES);
    for address in lines.take(WARM_FRAMES * FRAME_BYTES / CACHE_LINE_BYTES) {
        let line = pointer(HostPhysAddr::new(address)).cast::<u64>();
        // SAFETY: the line lies in the arena, which is mapped and which one thread uses.
        unsafe { line.read_volatile() };
    }
}

/// How many frames are out.
pub(crate) fn outstanding() -> u64 {
    let singles = SINGLE_FRAMES - DEPTH.load(Ordering::Relaxed);
    singles as u64 + IN_RUNS.load(Ordering::Relaxed)
}

/// The frame that was given back last.
#[inline]
pub(crate) fn take() -> Option<HostPhysAddr> {
    let depth = DEPTH.load(Ordering::Relaxed).checked_sub(1)?;
    let address = STACK.get(depth)?.load(Ordering::Relaxed);
    DEPTH.store(depth, Ordering::Relaxed);
    Some(HostPhysAddr::new(address))
}

/// Takes back a frame.
///
/// # Safety
///
/// It came from [`take`], was not given back since, and nobody uses it any more.
#[inline]
pub(crate) unsafe fn give_back(frame: HostPhysAddr) {
    let depth = DEPTH.load(Ordering::Relaxed);
    if let Some(slot) = STACK.get(depth) {
        slot.store(frame.as_u64(), Ordering::Relaxed);
        DEPTH.store(depth + 1, Ordering::Relaxed);
    }
}

/// Takes `count` consecutive frames, the first at a multiple of `alignment` bytes.
#[cold]
fn take_run(count: u64, alignment: u64) -> Option<HostPhysAddr> {
    let next = NEXT_RUN.load(Ordering::Relaxed);
    let start = next.checked_next_multiple_of(alignment)?;
    let end = start.checked_add(count.checked_mul(PAGE_SIZE_4K)?)?;
    if end > arena::START.as_u64() + arena::BYTES as u64 {
        return None;
    }
    NEXT_RUN.store(end, Ordering::Relaxed);
    IN_RUNS.fetch_add(count, Ordering::Relaxed);
    Some(HostPhysAddr::new(start))
}

/// Where the byte at `address` is.
#[inline]
pub(crate) fn pointer(address: HostPhysAddr) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address.as_u64() as usize)
}

/// The stack as a source of frames. For one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackFrames;

// SAFETY: the arena is mapped before `fill` puts its frames on the stack, and never unmapped; a frame
// is on the stack or out, since `give_back` and `restore_order` take only what is no longer used; runs
// lie above all single frames and do not overlap, since `NEXT_RUN` only grows until all are back;
// addresses are their own pointers. One thread runs, so that it does not matter that two steps of one
// call are not atomic.
unsafe impl HostFrames for StackFrames {
    const PARTIAL_FREE: bool = true;

    #[inline]
    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        match (frames, alignment) {
            (1, PAGE_SIZE_4K) => take(),
            _ => take_run(frames, alignment),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        if base.as_u64() >= RUNS_START {
            IN_RUNS.fetch_sub(frames, Ordering::Relaxed);
            return;
        }
        for number in 0..frames {
            let frame = HostPhysAddr::new(base.as_u64() + number * PAGE_SIZE_4K);
            // SAFETY: the caller keeps the same conditions; below the runs are single frames only.
            unsafe { give_back(frame) }
        }
    }

    #[inline]
    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        // SAFETY: the address lies in the arena, which does not begin at 0.
        unsafe { NonNull::new_unchecked(pointer(address)) }
    }
}
