//! Splitting a huge leaf.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mapping_flags::MappingFlags as F;
use nested_page_table::{
    Change, Due, InvalidationFailed, Level, RaiseOutcome, Scope, SplitError, SplitOutcome,
};
use simulated_host::Failure;

use crate::world::{BLOCK, GIB, PAGE, World, at, host, on_each, range};

/// Maps a huge leaf at its own size, and returns its level: the largest that the variant has, if there is one.
fn huge(world: &mut World) -> Option<Level> {
    let (geometry, policy) = (world.variant.geometry, world.variant.policy);
    let level = policy.largest_for(F::READ).min(geometry.largest_leaf());
    let level = level.min(Level::BLOCK_1G);
    let size = geometry.entry_size(level);
    if level == Level::PAGE_4K || 2 * size > 1 << geometry.input_bits() {
        return None;
    }
    let guest = range(size, size);
    world.direct().map(guest, host(size), F::READ).unwrap();
    Some(level)
}

fn size(level: Level) -> u64 {
    1 << level.shift()
}

#[test]
fn the_pieces_keep_what_the_leaf_was() {
    on_each(|world| {
        let Some(level) = huge(world) else {
            return;
        };
        let start = size(level);
        let before = world.mappings()[0];
        let page = start + start / 2 + 3 * PAGE;
        let outcome = world.split(at(page), Level::PAGE_4K).unwrap();
        let SplitOutcome::Split(due) = outcome else {
            panic!("{outcome:?}");
        };
        let is_due = world.variant.rules.fresh_needs_invalidation;
        assert_eq!(matches!(due, Due::Local(_)), is_due);
        // Every CPU was made to forget the leaf before the table took its place.
        let request = world.host().requests().pop().unwrap();
        assert_eq!(request.scope(), Scope::AllCpus);
        assert_eq!(request.ranges()[0].range, before.guest);
        assert_eq!(request.ranges()[0].change, Change::Removed);
        let pieces = world.mappings();
        assert_eq!(pieces.len(), 512 + 511 * (usize::from(level.number()) - 1));
        for piece in pieces {
            assert_eq!(piece.host.as_u64(), piece.guest.start().as_u64());
            assert_eq!(piece.flags, F::READ);
        }
        let found = world.translate(at(page)).unwrap();
        assert_eq!(found.level, Level::PAGE_4K);
        assert_eq!(world.walk(page), Some(page));
        let again = world.split(at(page), Level::PAGE_4K);
        assert_eq!(again, Ok(SplitOutcome::Unchanged(found)));
        // What it is for.
        let raised = world.raise(at(page), F::WRITE);
        assert!(matches!(raised, Ok(RaiseOutcome::Raised { .. })));
        assert_eq!(world.translate(at(page + PAGE)).unwrap().flags, F::READ);
    });
}

#[test]
fn a_leaf_is_split_no_further_than_asked_for() {
    on_each(|world| {
        let Some(level) = huge(world) else {
            return;
        };
        let start = size(level);
        let below = level.below().unwrap();
        let _ = world.split(at(start), below).unwrap();
        assert!(world.mappings().iter().all(|leaf| leaf.level == below));
        let found = world.translate(at(start)).unwrap();
        let outcome = world.split(at(start), level);
        assert_eq!(outcome, Ok(SplitOutcome::Unchanged(found)));
        for address in [start - PAGE, u64::MAX] {
            let outcome = world.split(at(address), Level::PAGE_4K);
            assert_eq!(outcome, Ok(SplitOutcome::Absent));
        }
    });
}

/// What the hardware wrote until the leaf was frozen is inherited by every piece.
#[test]
fn accessed_and_dirty_state_is_inherited() {
    on_each(|world| {
        world
            .direct()
            .map(range(0, BLOCK), host(GIB), F::READ_WRITE)
            .unwrap();
        let (register, memory) = (world.root_register(), world.host().memory());
        let state = |world: &World, page| world.variant.reference.state(memory, register, page);
        let before = state(world, 0);
        let _ = world.split(at(0), Level::PAGE_4K).unwrap();
        assert_eq!(state(world, PAGE), before);
        world.direct().unmap(range(0, BLOCK)).unwrap();
        let block = range(0, BLOCK);
        world.direct().map(block, host(GIB), F::READ_WRITE).unwrap();
        let reference = &world.variant.reference;
        assert!(reference.touch(memory, register, 0, true));
        let _ = world.split(at(0), Level::PAGE_4K).unwrap();
        assert_eq!(state(world, 0), (true, true));
    });
}

/// Out of memory, an invalidation that fails, and one that unwinds: the leaf is back, bit for bit.
#[test]
fn what_fails_leaves_the_leaf_as_it_was() {
    on_each(|world| {
        let Some(level) = huge(world) else {
            return;
        };
        let address = at(size(level));
        let frames = world.host().simulated_frames();
        let before = frames.snapshot();
        let tables = u64::from(level.number());
        for failing in 1..=tables {
            frames.fail_at(failing, Failure::FromThenOn);
            let outcome = world.split(address, Level::PAGE_4K);
            assert_eq!(outcome, Err(SplitError::OutOfMemory { frames: tables }));
            assert_eq!(frames.snapshot().differences(&before), []);
        }
        frames.fail_at(0, Failure::Once);
        world.host().fail_invalidations(1);
        let outcome = world.split(address, Level::PAGE_4K);
        let failed = SplitError::NotInvalidated(InvalidationFailed);
        assert_eq!(outcome, Err(failed));
        assert_eq!(frames.snapshot().differences(&before), []);
        let mut panics = true;
        world.host().sabotage(move |_, _| {
            assert!(!core::mem::take(&mut panics), "as the test wants it");
        });
        let split = AssertUnwindSafe(|| world.split(address, Level::PAGE_4K));
        assert!(catch_unwind(split).is_err());
        assert_eq!(frames.snapshot().differences(&before), []);
        let outcome = world.split(address, Level::PAGE_4K);
        assert!(matches!(outcome, Ok(SplitOutcome::Split(_))));
    });
}
