//! A few operations on a small arena: what Miri can run in seconds.
//!
//! `cargo xtask test` runs this under Miri, which finds accesses outside of what was handed out, references that
//! overlap, and words that are read before they were written. Other tests judge the result; this one looks at a few
//! translations.
#![expect(
    clippy::unwrap_used,
    unsafe_code,
    reason = "the host of a test, which hands out memory"
)]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags as F;
use nested_page_table::{
    Format, HostFrames, Invalidation, InvalidationFailed, LeafPolicy, Level, MapError,
    NestedPageTable, TableHost,
};
use nested_paging_aarch64 as aarch64;
use nested_paging_x86_64 as x86_64;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
/// Where the guest's memory is, which nobody touches.
const GUEST_MEMORY: u64 = 0x4000_0000;

/// Frames of an arena whose first byte is at the host address 0. Its contents are uninitialized.
struct Arena {
    first: NonNull<u8>,
    out: RefCell<Vec<bool>>,
}

impl Arena {
    const FRAMES: usize = 32;
    /// The largest root of the modes below is two frames.
    const LAYOUT: Layout = match Layout::from_size_align(Self::FRAMES * 0x1000, 0x2000) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };

    fn new() -> Self {
        // SAFETY: the layout has a size.
        let first = NonNull::new(unsafe { alloc(Self::LAYOUT) }).unwrap();
        let out = RefCell::new(vec![false; Self::FRAMES]);
        Self { first, out }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        assert!(!self.out.borrow().contains(&true), "a frame is still out");
        // SAFETY: it came from `alloc` with this layout, and every frame has come back.
        unsafe { dealloc(self.first.as_ptr(), Self::LAYOUT) };
    }
}

// SAFETY: each frame is handed out once until it comes back, aligned as asked since the arena is; the arena
// stays where it is.
unsafe impl HostFrames for Arena {
    const PARTIAL_FREE: bool = true;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let (count, step) = (frames as usize, (alignment / PAGE) as usize);
        let mut out = self.out.borrow_mut();
        let first = (0..Self::FRAMES).step_by(step).find(|&first| {
            let run = out.get(first..first + count);
            run.is_some_and(|run| !run.contains(&true))
        })?;
        out[first..first + count].fill(true);
        Some(HostPhysAddr::new(first as u64 * PAGE))
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let (first, count) = ((base.as_u64() / PAGE) as usize, frames as usize);
        self.out.borrow_mut()[first..first + count].fill(false);
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        assert!(address.as_u64() < (Self::FRAMES * 0x1000) as u64);
        // SAFETY: the offset is within the arena.
        unsafe { self.first.add(address.as_u64() as usize) }
    }
}

#[derive(Default)]
struct Host {
    arena: Option<Arena>,
    fails: Cell<bool>,
}

// SAFETY: the arena is a field, and no CPU walks these tables.
unsafe impl TableHost for Host {
    type Frames = Arena;

    fn frames(&self) -> &Arena {
        self.arena.as_ref().unwrap()
    }

    fn invalidate(&self, _: &Invalidation) -> Result<(), InvalidationFailed> {
        match self.fails.replace(false) {
            true => Err(InvalidationFailed),
            false => Ok(()),
        }
    }
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

fn operate<M: Format>(format: M) {
    let host = Host {
        arena: Some(Arena::new()),
        fails: Cell::new(false),
    };
    let mut table = NestedPageTable::new(format, 1, host).unwrap();
    let memory = HostPhysAddr::new(GUEST_MEMORY);
    let at = |table: &NestedPageTable<M, Host>, address| {
        let host = table.host_of(GuestPhysAddr::new(address));
        host.map(|host| host.as_u64() - GUEST_MEMORY)
    };
    // One page after another, then a range with a block in it, across three tables.
    table.map(range(0, PAGE), memory, F::READ_WRITE).unwrap();
    table.map(range(PAGE, PAGE), memory, F::READ_WRITE).unwrap();
    let pages = range(BLOCK - PAGE, BLOCK + 2 * PAGE);
    let host = memory.checked_add(BLOCK - PAGE).unwrap();
    table.map(pages, host, F::READ_WRITE).unwrap();
    assert_eq!(at(&table, 2 * BLOCK), Some(2 * BLOCK));
    // Splits, one of which keeps a note; the whole of a table; a page.
    table.protect(range(BLOCK + PAGE, PAGE), F::READ).unwrap();
    table.protect(range(0, 2 * BLOCK), F::READ).unwrap();
    let mut reported = 0;
    let middle = range(BLOCK + 8 * PAGE, 4 * PAGE);
    table.unmap_reporting(middle, |_| reported += 1).unwrap();
    assert_eq!((reported, at(&table, BLOCK + 8 * PAGE)), (4, None));
    table.unmap(range(PAGE, PAGE)).unwrap();
    table
        .unmap_reporting(range(0, PAGE), |_| reported += 1)
        .unwrap();
    table.host().fails.set(true);
    let failed = table.unmap_reporting(range(BLOCK, BLOCK), |_| reported += 1);
    assert!(failed.is_err() && reported == 5);
    table
        .unmap_reporting(range(0, PAGE), |_| reported += 1)
        .unwrap();
    assert_eq!(reported, 5 + 508);
    // A block in the place of an empty table, and out of memory in the middle of a mapping.
    table.edit().reclaim_empty().unwrap();
    table
        .map(range(BLOCK, BLOCK), memory, F::READ_WRITE)
        .unwrap();
    cap_leaves_of_one_call(&mut table, memory);
    let far = (1..40).map(|number| range(number << 30, PAGE));
    let mapped = far
        .map(|page| table.map(page, memory, F::READ))
        .find(Result::is_err);
    assert!(mapped.is_some(), "there are more frames than expected");
    table.unmap(range(1 << 30, 39 << 30)).unwrap();
    let mut edit = table.edit();
    edit.unmap(range(BLOCK, PAGE)).unwrap();
    edit.map(range(BLOCK, PAGE), memory, F::READ).unwrap();
    edit.finish().unwrap();
    assert_eq!(at(&table, BLOCK + PAGE), Some(PAGE));
    assert!(table.statistics().table_frames > 2);
}

/// Pages by the wish of one call, and a block again by the next.
fn cap_leaves_of_one_call<M: Format>(table: &mut NestedPageTable<M, Host>, memory: HostPhysAddr) {
    let policy = table.leaf_policy();
    let pages = LeafPolicy::up_to(Level::PAGE_4K);
    let mut edit = table.edit();
    edit.map_with(range(4 * BLOCK, BLOCK), memory, F::READ, pages)
        .unwrap();
    let taken = edit.map_with(range(4 * BLOCK, BLOCK), memory, F::READ, pages);
    assert!(matches!(taken, Err(MapError::Conflict { .. })), "{taken:?}");
    edit.map(range(5 * BLOCK, BLOCK), memory, F::READ).unwrap();
    edit.finish().unwrap();
    assert_eq!(table.leaf_policy(), policy);
    let mut levels = Vec::new();
    let both = range(4 * BLOCK, 2 * BLOCK);
    table
        .unmap_reporting(both, |leaf| levels.push(leaf.level()))
        .unwrap();
    assert_eq!(
        levels
            .iter()
            .filter(|level| **level == Level::PAGE_4K)
            .count(),
        512
    );
    assert_eq!(
        levels
            .iter()
            .filter(|level| **level == Level::BLOCK_2M)
            .count(),
        1
    );
}

#[test]
fn ept() {
    let machine = x86_64::Capabilities::common().with_accessed_dirty_tracking(true);
    operate(x86_64::Ept::new(x86_64::Mode::Ept4, machine).unwrap());
}

#[test]
fn npt() {
    let machine = x86_64::npt::Capabilities::common().with_accessed_dirty_tracking(true);
    operate(x86_64::Npt::new(x86_64::npt::Mode::Npt4, machine).unwrap());
}

/// With a root of two frames.
#[test]
fn stage_2() {
    let machine = aarch64::Capabilities::common();
    operate(aarch64::Stage2::new(aarch64::Mode::IPA40, machine).unwrap());
}
