//! Memory from the allocator, at once and on first use.

use std::sync::atomic::{AtomicUsize, Ordering};

use ax_memory_addr::PhysAddr;
use axaddrspace::{AddrSpace, MappingFlags, NestedPageTableOps};

use crate::arena::Arena;
use crate::machine::{Machine, WRITE};
use crate::{Check, READ_WRITE, Rig, gpa, on_every_machine};

struct Populated;

impl Check for Populated {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_alloc(gpa(0x8000), 0x4000, READ_WRITE, true)
            .unwrap();
        let mut frames: Vec<_> = (0..4)
            .map(|page| rig.translate(0x8000 + page * 0x1000).unwrap())
            .collect();
        // The arena's frames were full of entries.
        assert!(
            frames
                .iter()
                .all(|frame| rig.arena.word(frame + 8) == Some(0))
        );
        frames.dedup();
        assert_eq!(frames.len(), 4);
        rig.space.unmap(gpa(0x9000), 0x2000).unwrap();
        assert_eq!(rig.translate(0x9000), None);
        assert_eq!(rig.translate(0x8000), Some(frames[0]));
        assert!(!rig.arena.out().contains(&frames[1]));
        assert!(rig.arena.out().contains(&frames[3]));
    }
}

#[test]
fn populated_memory_is_zeroed_and_comes_back() {
    on_every_machine(&Populated);
}

struct Lazy;

impl Check for Lazy {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_alloc(gpa(0x8000), 0x4000, READ_WRITE, false)
            .unwrap();
        assert_eq!(rig.translate(0x9000), None);
        assert!(
            rig.space
                .handle_page_fault(gpa(0x9abc), MappingFlags::WRITE)
        );
        let frame = rig.translate(0x9000).unwrap();
        assert_eq!(rig.arena.word(frame), Some(0));
        assert_eq!(rig.reach(0x9008, WRITE), Some(frame + 8));
        assert_eq!(rig.translate(0xa000), None);
        assert!(
            !rig.space
                .handle_page_fault(gpa(0xa000), MappingFlags::EXECUTE)
        );
        assert!(!rig.space.handle_page_fault(gpa(0xc000), MappingFlags::READ));
    }
}

#[test]
fn a_first_access_is_filled() {
    on_every_machine(&Lazy);
}

struct Second;

impl Check for Second {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_alloc(gpa(0x8000), 0x4000, READ_WRITE, false)
            .unwrap();
        assert!(
            rig.space
                .handle_page_fault(gpa(0x9000), MappingFlags::WRITE)
        );
        let frame = rig.translate(0x9000).unwrap();
        rig.arena.set_word(frame, 0x1234);
        let out = rig.arena.out();
        assert!(
            rig.space
                .handle_page_fault(gpa(0x9000), MappingFlags::WRITE)
        );
        assert_eq!(rig.translate(0x9000), Some(frame));
        assert_eq!(rig.arena.word(frame), Some(0x1234));
        assert_eq!(rig.arena.out(), out);
    }
}

/// Two CPUs of a guest fault on one page: other tables put a new frame there, and what the first CPU wrote is gone.
#[test]
fn a_second_fault_keeps_the_first_frame() {
    on_every_machine(&Second);
}

struct Exhausted;

impl Check for Exhausted {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_alloc(gpa(0x8000), 0x4000, READ_WRITE, false)
            .unwrap();
        rig.arena.fail_after(Some(0));
        assert!(!rig.space.handle_page_fault(gpa(0x9000), MappingFlags::READ));
        rig.arena.fail_after(None);
        assert!(rig.space.handle_page_fault(gpa(0x9000), MappingFlags::READ));
    }
}

/// The frame for the page is there, and one for a table is not: `axaddrspace` 0.6 forgets the frame.
struct NoTable;

impl Check for NoTable {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        rig.space
            .map_alloc(gpa(0x8000), 0x4000, READ_WRITE, false)
            .unwrap();
        let before = rig.arena.out();
        rig.arena.fail_after(Some(1));
        assert!(!rig.space.handle_page_fault(gpa(0x9000), MappingFlags::READ));
        rig.arena.fail_after(None);
        assert_eq!(rig.arena.out(), before);
        assert_eq!(rig.translate(0x9000), None);
    }
}

#[test]
fn a_fault_without_a_frame_for_a_table_loses_no_frame() {
    on_every_machine(&NoTable);
}

#[test]
fn a_fault_without_frames_is_no_success() {
    on_every_machine(&Exhausted);
}

struct Dropped;

impl Check for Dropped {
    fn check<F: Machine>(&self, format: F) {
        let Rig { arena, mut space } = Rig::new(format);
        space
            .map_alloc(gpa(0), 0x10_0000, READ_WRITE, true)
            .unwrap();
        space
            .map_alloc(gpa(0x4000_0000), 0x10_0000, READ_WRITE, false)
            .unwrap();
        assert!(space.handle_page_fault(gpa(0x4000_0000), MappingFlags::READ));
        space
            .map_linear(
                gpa(0x8000_0000),
                0x8000_0000.into(),
                0x4000_0000,
                READ_WRITE,
            )
            .unwrap();
        drop(space);
        assert!(arena.out().is_empty(), "{:#x?}", arena.out());
    }
}

#[test]
fn every_frame_comes_back() {
    on_every_machine(&Dropped);
}

static CLEANED: AtomicUsize = AtomicUsize::new(0);

struct Cleaned;

impl Check for Cleaned {
    fn check<F: Machine>(&self, format: F) {
        let clean = |frame: PhysAddr, size| {
            assert_eq!(size, 0x1000);
            CLEANED.store(frame.as_usize(), Ordering::Relaxed);
        };
        let arena = Arena::new();
        let table = format.table(&arena).with_data_cache_clean(clean);
        let mut space = AddrSpace::new_empty(table, gpa(0), 1 << 30).unwrap();
        space.map_alloc(gpa(0), 0x1000, READ_WRITE, false).unwrap();
        assert!(space.handle_page_fault(gpa(0), MappingFlags::READ));
        let frame = space.page_table().translate(gpa(0)).unwrap();
        assert_eq!(CLEANED.load(Ordering::Relaxed), frame.as_usize());
    }
}

#[test]
fn a_frame_is_cleaned_before_the_guest_has_it() {
    on_every_machine(&Cleaned);
}
