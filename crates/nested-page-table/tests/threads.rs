//! Threads that fault on the same pages of one table, as CPUs do.
//!
//! Memory is written by plain stores before a page is filled, and read by plain loads after the page is found. So Miri and
//! ThreadSanitizer, which `cargo xtask sanitize` runs on this, see a race where a link does not release or a walk does not
//! acquire. Without them the tests have 64 threads.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    reason = "the host of a test, which hands out memory"
)]

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags as F;
use nested_page_table::{
    FillOutcome, Format, HostFrames, Invalidation, InvalidationFailed, Level, Mapping,
    NestedPageTable, RaiseOutcome, SplitOutcome, TableHost,
};
use nested_paging_aarch64 as aarch64;
use nested_paging_riscv64 as riscv64;
use nested_paging_x86_64 as x86_64;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;

/// How much is done: Miri takes a second for what takes a millisecond otherwise.
struct Size {
    threads: usize,
    pages: usize,
    frames: usize,
}

const SIZE: Size = match cfg!(miri) {
    true => Size {
        threads: 3,
        pages: 4,
        frames: 32,
    },
    false => Size {
        threads: 64,
        pages: 512,
        frames: 2048,
    },
};

/// Frames of an arena whose first byte is at the host address 0. Tables and guest pages both come from here.
struct Arena {
    first: NonNull<u8>,
    out: Mutex<Vec<bool>>,
}

impl Arena {
    /// The largest root of the modes below is four frames.
    const ALIGNMENT: usize = 0x4000;

    fn new() -> Self {
        // SAFETY: the layout has a size.
        let first = NonNull::new(unsafe { alloc(Self::layout()) }).unwrap();
        let out = Mutex::new(vec![false; SIZE.frames]);
        Self { first, out }
    }

    fn layout() -> Layout {
        Layout::from_size_align(SIZE.frames * 0x1000, Self::ALIGNMENT).unwrap()
    }

    fn taken(&self) -> usize {
        let out = self.out.lock().unwrap();
        out.iter().filter(|is_out| **is_out).count()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: it came from `alloc` with this layout, and nothing that uses a frame outlives the host.
        unsafe { dealloc(self.first.as_ptr(), Self::layout()) };
    }
}

// SAFETY: which frame is out is behind a lock, and the memory of a frame belongs to whoever took it.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

// SAFETY: each frame is handed out once until it comes back, aligned as asked since the arena is; the arena
// stays where it is.
unsafe impl HostFrames for Arena {
    const PARTIAL_FREE: bool = true;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let (count, step) = (frames as usize, (alignment / PAGE) as usize);
        let mut out = self.out.lock().unwrap();
        let first = (0..SIZE.frames).step_by(step).find(|&first| {
            let run = out.get(first..first + count);
            run.is_some_and(|run| !run.contains(&true))
        })?;
        out[first..first + count].fill(true);
        Some(HostPhysAddr::new(first as u64 * PAGE))
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let (first, count) = ((base.as_u64() / PAGE) as usize, frames as usize);
        let mut out = self.out.lock().unwrap();
        for is_out in &mut out[first..first + count] {
            assert!(*is_out, "a frame comes back twice");
            *is_out = false;
        }
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        assert!(address.as_u64() < (SIZE.frames * 0x1000) as u64);
        // SAFETY: the offset is within the arena.
        unsafe { self.first.add(address.as_u64() as usize) }
    }
}

struct Host {
    arena: Arena,
    invalidations: AtomicUsize,
}

// SAFETY: the arena is a field, and no CPU walks these tables.
unsafe impl TableHost for Host {
    type Frames = Arena;

    fn frames(&self) -> &Arena {
        &self.arena
    }

    fn invalidate(&self, _: &Invalidation) -> Result<(), InvalidationFailed> {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A table that is used by several threads: it is `Sync`, as its host and its format are.
struct Shared<M: Format> {
    table: NestedPageTable<M, Host>,
    /// How often each page was filled.
    filled: Vec<AtomicU64>,
}

impl<M: Format> Shared<M> {
    fn new(format: M) -> Self {
        let host = Host {
            arena: Arena::new(),
            invalidations: AtomicUsize::new(0),
        };
        let table = NestedPageTable::new(format, 1, host).unwrap();
        let filled = (0..SIZE.pages).map(|_| AtomicU64::new(0)).collect();
        Self { table, filled }
    }

    fn arena(&self) -> &Arena {
        &self.table.host().arena
    }

    /// The first word of the memory at `address`, which is a guest page.
    fn word(&self, address: HostPhysAddr) -> *mut u64 {
        self.arena().pointer(address).as_ptr().cast()
    }

    /// What a CPU does that faults on a page: takes a frame, writes to it, and offers it to the table. Returns the leaf.
    fn fault(&self, page: usize) -> Mapping {
        let guest = range(address_of(page), PAGE);
        for _ in 0..3 {
            if let Some(leaf) = self.table.translate(guest.start()) {
                return leaf;
            }
            let frame = self.arena().alloc(1, PAGE).unwrap();
            // SAFETY: the frame was just taken.
            unsafe { self.word(frame).write(page as u64) };
            match self.table.fill(guest, frame, F::READ).unwrap() {
                FillOutcome::Filled(due) => {
                    self.filled[page].fetch_add(1, Ordering::Relaxed);
                    self.table.invalidate_due(due).unwrap();
                }
                FillOutcome::Present(leaf) => {
                    // SAFETY: the frame was not given to the guest.
                    unsafe { self.arena().dealloc(frame, 1) };
                    return leaf;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("page {page} was retried more than three times without a writer");
    }

    /// Reads what the CPU that filled `page` wrote.
    fn check(&self, page: usize, leaf: &Mapping) {
        assert_eq!(leaf.guest, range(address_of(page), PAGE));
        // SAFETY: nobody writes to a page that was filled, and its frame stays out.
        let found = unsafe { self.word(leaf.host).read() };
        assert_eq!(found, page as u64);
    }
}

/// Pages in several tables, some of them neighbours.
fn address_of(page: usize) -> u64 {
    (page as u64 / 4) * BLOCK + (page as u64 % 4) * PAGE
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

/// All pages, in an order that is different for each thread.
fn order(thread: usize) -> impl Iterator<Item = usize> {
    // The step is odd, and the number of pages a power of two: each page comes once.
    let step = 2 * thread + 1;
    (0..SIZE.pages).map(move |number| (thread + number * step) % SIZE.pages)
}

/// Runs `work` on every thread, all at once.
fn on_threads(work: impl Fn(usize) + Sync) {
    let begin = Barrier::new(SIZE.threads);
    let (begin, work) = (&begin, &work);
    thread::scope(|scope| {
        for number in 0..SIZE.threads {
            scope.spawn(move || {
                begin.wait();
                work(number);
            });
        }
    });
}

/// Every page is filled once, whoever faults on it, and no frame is lost.
fn fault_at_once<M: Format>(format: M) {
    let shared = Shared::new(format);
    on_threads(|thread| {
        for page in order(thread) {
            let leaf = shared.fault(page);
            shared.check(page, &leaf);
        }
    });
    for filled in &shared.filled {
        assert_eq!(filled.load(Ordering::Relaxed), 1);
    }
    let statistics = shared.table.statistics();
    assert_eq!(statistics.leaves[0] as usize, SIZE.pages);
    let expected = statistics.table_frames as usize + SIZE.pages;
    assert_eq!(shared.arena().taken(), expected, "frames are lost");
}

/// One splits a huge leaf, the others raise its pages: each raise happens once, and no CPU is kept busy for ever.
fn split_and_raise_at_once<M: Format>(format: M) {
    let mut shared = Shared::new(format);
    let block = range(0, BLOCK);
    let memory = HostPhysAddr::new(0x4000_0000);
    shared.table.map(block, memory, F::READ).unwrap();
    let (splits, raises) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_threads(|thread| {
        let address = GuestPhysAddr::new(PAGE * (thread as u64 % 3));
        loop {
            match shared.table.split(address, Level::PAGE_4K).unwrap() {
                SplitOutcome::Split(due) => {
                    splits.fetch_add(1, Ordering::Relaxed);
                    shared.table.invalidate_due(due).unwrap();
                }
                SplitOutcome::Busy => thread::yield_now(),
                SplitOutcome::Unchanged(_) => break,
                SplitOutcome::Absent => panic!("the leaf is gone"),
            }
        }
        match shared.table.raise(address, F::WRITE).unwrap() {
            RaiseOutcome::Raised { due, .. } => {
                raises.fetch_add(1, Ordering::Relaxed);
                shared.table.invalidate_due(due).unwrap();
            }
            RaiseOutcome::Unchanged(leaf) => assert_eq!(leaf.flags, F::READ_WRITE),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(splits.into_inner(), 1);
    assert_eq!(raises.into_inner(), 3);
    assert_eq!(shared.table.statistics().leaves[0], 512);
}

macro_rules! on_each_format {
    ($($name:ident: $format:expr;)+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn threads_fault_at_once() {
                fault_at_once($format);
            }

            #[test]
            fn threads_split_and_raise_at_once() {
                split_and_raise_at_once($format);
            }
        }
    )+};
}

on_each_format! {
    g_stage: riscv64::GStage::new(
        riscv64::Mode::Sv39x4,
        riscv64::Capabilities::common(),
    )
    .unwrap();
    stage_2: aarch64::Stage2::new(aarch64::Mode::IPA40, aarch64::Capabilities::common()).unwrap();
    // Where an absent entry is not zero.
    ept: x86_64::Ept::new(
        x86_64::Mode::Ept4,
        x86_64::Capabilities::common().with_suppress_ve(true),
    )
    .unwrap();
}
