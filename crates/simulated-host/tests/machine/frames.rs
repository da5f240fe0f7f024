//! The allocator and the memory.
#![expect(unsafe_code, reason = "calls `dealloc`, rightly and wrongly")]

use std::sync::Arc;

use guest_addr::{HostPhysAddr, PAGE_SIZE_4K};
use nested_page_table::HostFrames;
use simulated_host::{Failure, Placement, SimulatedFrames, SparseMemory, Violation, Violations};

struct Rig<const PARTIAL: bool> {
    memory: Arc<SparseMemory>,
    violations: Arc<Violations>,
    frames: SimulatedFrames<PARTIAL>,
}

fn rig<const PARTIAL: bool>(placement: Placement) -> Rig<PARTIAL> {
    let memory = Arc::new(SparseMemory::new());
    let violations = Arc::new(Violations::default());
    let frames = SimulatedFrames::new(Arc::clone(&memory), Arc::clone(&violations), placement);
    Rig {
        memory,
        violations,
        frames,
    }
}

impl<const PARTIAL: bool> Rig<PARTIAL> {
    fn free(&self, base: HostPhysAddr, frames: u64) {
        // SAFETY: nobody uses the memory, and wrong arguments are what the allocator notices.
        unsafe { self.frames.dealloc(base, frames) };
    }
}

fn page(number: u64) -> HostPhysAddr {
    HostPhysAddr::new(number * PAGE_SIZE_4K)
}

#[test]
fn memory_exists_where_it_was_added() {
    let memory = SparseMemory::new();
    let top = HostPhysAddr::new((1 << 56) - PAGE_SIZE_4K);
    assert!(memory.add(top, 1, 7));
    assert!(!memory.add(top, 2, 7), "past 2^56");
    assert!(!memory.add(HostPhysAddr::new(!0xfff), 1, 7));
    assert!(memory.add(page(4), 2, 1));
    for (number, frames) in [(3, 2), (5, 1), (4, 2), (5, 9), (2, 9), (9, 0)] {
        assert!(!memory.add(page(number), frames, 7), "{number} {frames}");
    }
    assert!(!memory.add(HostPhysAddr::new(0x9008), 1, 7));
    assert_eq!(memory.read(HostPhysAddr::new((1 << 56) - 8)), Some(7));
    assert_eq!(memory.read(HostPhysAddr::new(1 << 56)), None);
    assert_eq!(memory.read(HostPhysAddr::new(0x4004)), None);
    assert_eq!(memory.read(HostPhysAddr::new(0x6000)), None);
    assert!(memory.write(HostPhysAddr::new(0x5ff8), 9));
    let first = memory.pointer(page(4)).unwrap();
    let last = memory.pointer(HostPhysAddr::new(0x5ff8)).unwrap();
    assert_eq!(last.addr().get() - first.addr().get(), 0x1ff8, "one piece");
    // SAFETY: the pointer is to a word that was written above.
    assert_eq!(unsafe { last.cast::<u64>().read() }, 9);
    assert_eq!(memory.pointer(HostPhysAddr::new(0x6000)), None);
}

#[test]
fn runs_are_aligned_apart_and_full_of_valid_entries() {
    for placement in [Placement::FromZero, Placement::BelowBits(48)] {
        let rig = rig::<true>(placement);
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for (frames, alignment) in [(1, 1), (4, 4), (1, 1), (512, 512), (2, 1), (16, 16)] {
            let base = rig.frames.alloc(frames, alignment * PAGE_SIZE_4K).unwrap();
            let (first, end) = (base.as_u64(), base.as_u64() + frames * PAGE_SIZE_4K);
            assert!(first.is_multiple_of(alignment * PAGE_SIZE_4K));
            assert!(end <= 1 << 48);
            let apart = |&(other, other_end): &(u64, u64)| end < other || other_end < first;
            assert!(taken.iter().all(apart));
            taken.push((first, end));
            for address in (first..end).step_by(8) {
                // V, P and the read bit; RISC-V's R; neither 0 nor a table's terminator.
                let word = rig.memory.read(HostPhysAddr::new(address)).unwrap();
                assert_eq!(word & 7, 7);
            }
        }
        let (first, end) = taken[0];
        assert!(first == 0 || end == 1 << 48, "the extreme comes first");
        assert_eq!(rig.frames.outstanding_count(), 536);
        assert_eq!(rig.violations.take(), []);
    }
}

#[test]
fn the_kth_allocation_fails() {
    let rig = rig::<true>(Placement::FromZero);
    let attempts = || [(); 4].map(|()| rig.frames.alloc(1, PAGE_SIZE_4K).is_some());
    rig.frames.fail_at(2, Failure::Once);
    assert_eq!(attempts(), [true, false, true, true]);
    rig.frames.fail_at(3, Failure::FromThenOn);
    assert_eq!(attempts(), [true, true, false, false]);
    assert_eq!(attempts(), [false; 4]);
    rig.frames.fail_at(0, Failure::Once);
    assert_eq!(attempts(), [true; 4]);
    assert_eq!(rig.frames.calls(), 16);
    assert_eq!(rig.frames.outstanding().len(), 9);
}

#[test]
fn wrong_frees_are_noticed_and_change_nothing() {
    let rig = rig::<false>(Placement::FromZero);
    let (run, other) = (
        rig.frames.alloc(4, 0x4000).unwrap(),
        rig.frames.alloc(1, 0x1000).unwrap(),
    );
    let before = rig.frames.snapshot();
    let wrong = |base, frames| Violation::WrongRun { base, frames };
    let never = |number| Violation::NeverAllocated {
        frame: page(number),
    };
    for (base, frames, expected) in [
        (run, 3, wrong(run, 3)),
        (run, 5, wrong(run, 5)),
        (run, 0, wrong(run, 0)),
        (page(1), 1, wrong(page(1), 1)),
        (page(77), 1, never(77)),
        (HostPhysAddr::new(!0xfff), u64::MAX, never(u64::MAX >> 12)),
    ] {
        rig.free(base, frames);
        assert_eq!(rig.violations.take(), [expected]);
    }
    assert_eq!(rig.frames.snapshot(), before);
    rig.free(other, 1);
    assert_eq!(rig.violations.take(), []);
    rig.free(other, 1);
    assert_eq!(
        rig.violations.take(),
        [Violation::DoubleFree { frame: other }]
    );
    rig.free(run, 4);
    assert_eq!(rig.frames.outstanding(), []);
    assert_eq!(rig.violations.take(), []);
}

#[test]
fn parts_may_be_given_back_where_that_is_promised() {
    let rig = rig::<true>(Placement::FromZero);
    let run = rig.frames.alloc(4, 0x4000).unwrap();
    for number in [2, 0, 3] {
        rig.free(page(number), 1);
    }
    assert_eq!(rig.frames.outstanding(), [page(1)]);
    rig.free(run, 4);
    assert_eq!(
        rig.violations.take(),
        [Violation::DoubleFree { frame: run }]
    );
    // What was given back last comes first.
    assert_eq!(rig.frames.alloc(1, 0x1000), Some(page(3)));
    assert_eq!(rig.frames.alloc(1, 0x2000), Some(page(0)));
}

#[test]
fn the_use_of_a_frame_that_was_given_back_is_noticed() {
    let rig = rig::<true>(Placement::FromZero);
    let frame = rig.frames.alloc(1, 0x1000).unwrap();
    let word = HostPhysAddr::new(frame.as_u64() + 8);
    rig.frames.pointer(word);
    rig.free(frame, 1);
    assert_eq!(rig.violations.take(), []);
    rig.frames.pointer(word);
    assert_eq!(
        rig.violations.take(),
        [Violation::UsedAfterFree { address: word }]
    );
    assert_eq!(rig.frames.alloc(1, 0x1000), Some(frame));
    rig.frames.pointer(word);
    assert_eq!(rig.violations.take(), []);
}

#[test]
fn bad_allocations_are_noticed() {
    let rig = rig::<true>(Placement::BelowBits(32));
    for (frames, alignment) in [(0, 0x1000), (1, 0x800), (1, 0x3000), (1, 0)] {
        assert_eq!(rig.frames.alloc(frames, alignment), None);
        let expected = Violation::BadAllocation { frames, alignment };
        assert_eq!(rig.violations.take(), [expected]);
    }
    assert_eq!(rig.frames.alloc(1 << 21, 0x1000), None, "8 GiB below 4 GiB");
    assert_eq!(rig.frames.alloc(u64::MAX, 0x1000), None);
}

#[test]
fn snapshots_name_the_words_that_differ() {
    let rig = rig::<true>(Placement::BelowBits(56));
    let frame = rig.frames.alloc_zeroed(1, PAGE_SIZE_4K).unwrap();
    let before = rig.frames.snapshot();
    let word = frame.checked_add(0x18).unwrap();
    assert!(rig.memory.write(word, 1));
    let other = rig.frames.alloc(1, PAGE_SIZE_4K).unwrap();
    let differences = before.differences(&rig.frames.snapshot());
    assert_eq!(differences, [other, word]);
    assert!(rig.memory.write(word, 0));
    rig.free(other, 1);
    assert_eq!(rig.frames.snapshot(), before);
    let freed = rig.memory.read(other).unwrap();
    assert_ne!(freed & 1, 0, "memory that was given back looks valid");
}
