//! Filling one leaf.

use mapping_flags::MappingFlags as F;
use nested_page_table::{Change, Due, FillError, FillOutcome, Level};
use simulated_host::Failure;

use crate::world::{BLOCK, GIB, PAGE, World, at, host, on_each, range};

fn filled(world: &World, start: u64, size: u64, to: u64, flags: F) -> Due {
    match world.fill(range(start, size), host(to), flags) {
        Ok(FillOutcome::Filled(due)) => due,
        other => panic!("{start:#x}: {other:?}"),
    }
}

/// The sizes of leaves that the variant has, for data.
fn sizes(world: &World) -> impl Iterator<Item = u64> + use<> {
    let (geometry, policy) = (world.variant.geometry, world.variant.policy);
    let levels = policy.largest.min(geometry.largest_leaf()).up_to();
    let sizes: Vec<_> = levels.map(|level| geometry.entry_size(level)).collect();
    // Some modes translate no more than one leaf of the largest size.
    let input = 1 << geometry.input_bits();
    sizes.into_iter().filter(move |size| 2 * size < input)
}

#[test]
fn a_leaf_of_every_size_appears_with_all_its_tables() {
    on_each(|world| {
        for size in sizes(world) {
            let before = world.frames();
            let due = filled(world, size, size, size, F::READ_WRITE);
            let is_due = world.variant.rules.fresh_needs_invalidation;
            assert_eq!(matches!(due, Due::Local(_)), is_due);
            if let Due::Local(changed) = due {
                assert_eq!(changed.range, range(size, size));
                assert_eq!(changed.change, Change::Fresh);
                assert_eq!(changed.tables, world.frames() > before);
            }
            for address in [size, 2 * size - PAGE] {
                assert_eq!(world.walk(address), Some(address));
                let found = world.translate(at(address)).unwrap();
                assert_eq!(found.guest, range(size, size));
                assert_eq!(found.flags, F::READ_WRITE);
            }
            assert_eq!(world.walk(size - PAGE), None);
            world.direct().unmap(range(size, size)).unwrap();
        }
    });
}

#[test]
fn what_is_there_stays_and_is_named() {
    on_each(|world| {
        let _ = filled(world, 0, PAGE, GIB, F::READ);
        let frames = world.frames();
        let again = world.fill(range(0, PAGE), host(2 * GIB), F::READ_WRITE);
        let Ok(FillOutcome::Present(there)) = again else {
            panic!("{again:?}");
        };
        assert_eq!((there.host, there.flags), (host(GIB), F::READ));
        // A leaf above.
        if sizes(world).any(|size| size == BLOCK) {
            let _ = filled(world, BLOCK, BLOCK, GIB, F::READ);
            let below = world.fill(range(BLOCK + PAGE, PAGE), host(GIB), F::READ);
            let Ok(FillOutcome::Present(there)) = below else {
                panic!("{below:?}");
            };
            assert_eq!(there.guest, range(BLOCK, BLOCK));
        }
        assert_eq!(world.frames(), frames);
    });
}

/// Also where the table has become empty: nothing is unlinked through a shared reference.
#[test]
fn a_table_in_the_place_of_a_huge_leaf_is_an_outcome() {
    on_each(|world| {
        if !sizes(world).any(|size| size == BLOCK) {
            return;
        }
        let _ = filled(world, BLOCK, PAGE, GIB, F::READ);
        let block = range(BLOCK, BLOCK);
        let outcome = world.fill(block, host(GIB), F::READ);
        assert_eq!(outcome, Ok(FillOutcome::Divided));
        world.direct().unmap(range(BLOCK, PAGE)).unwrap();
        let outcome = world.fill(block, host(GIB), F::READ);
        assert_eq!(outcome, Ok(FillOutcome::Divided));
        let _ = filled(world, BLOCK, PAGE, GIB, F::READ);
    });
}

#[test]
fn what_is_no_leaf_is_refused() {
    on_each(|world| {
        let geometry = world.variant.geometry;
        let fill = |start, size, to, flags| world.fill(range(start, size), host(to), flags);
        for (start, size, to) in [
            (0, 2 * PAGE, 0),
            (PAGE, BLOCK, 0),
            (PAGE, PAGE, 1),
            (0, BLOCK, PAGE),
            (8, PAGE, 0),
            (0, BLOCK - PAGE, 0),
        ] {
            let outcome = fill(start, size, to, F::READ);
            assert!(
                matches!(outcome, Err(FillError::NotALeaf { .. })),
                "{outcome:?}"
            );
        }
        let (input, output) = (geometry.input_bits(), geometry.output_bits());
        let outcome = fill(1 << input, PAGE, 0, F::READ);
        assert!(matches!(outcome, Err(FillError::GuestTooWide { bits, .. }) if bits == input));
        let outcome = fill(0, PAGE, 1 << output, F::READ);
        assert!(matches!(outcome, Err(FillError::HostTooWide { bits, .. }) if bits == output));
        let outcome = fill(0, PAGE, 0, F::WRITE);
        assert!(matches!(outcome, Err(FillError::Flags(_))));
        let largest = world.variant.policy.largest_for(F::READ | F::EXECUTE);
        if largest < geometry.largest_leaf() {
            let size = geometry.entry_size(largest.above().unwrap());
            let outcome = fill(0, size, 0, F::READ | F::EXECUTE);
            assert_eq!(outcome, Err(FillError::TooLarge { largest }));
        }
        assert_eq!(world.mappings(), []);
    });
}

/// All or nothing: at whichever frame the host runs out.
#[test]
fn without_frames_nothing_changes() {
    on_each(|world| {
        let frames = world.host().simulated_frames();
        let tables = u64::from(world.variant.geometry.levels()) - 1;
        let before = frames.snapshot();
        for failing in 1..=tables {
            frames.fail_at(failing, Failure::FromThenOn);
            let outcome = world.fill(range(0, PAGE), host(0), F::READ);
            assert_eq!(outcome, Err(FillError::OutOfMemory { frames: tables }));
            assert_eq!(frames.snapshot().differences(&before), []);
        }
        frames.fail_at(0, Failure::Once);
        let _ = filled(world, 0, PAGE, 0, F::READ);
        // Nothing is taken where the tables are there.
        frames.fail_at(1, Failure::FromThenOn);
        let _ = filled(world, PAGE, PAGE, 0, F::READ);
        frames.fail_at(0, Failure::Once);
    });
}

/// Until an exclusive operation settles it: a CPU may still use what was there.
#[test]
fn nothing_is_filled_where_a_removal_waits_for_its_invalidation() {
    on_each(|world| {
        for page in [0, PAGE] {
            let _ = filled(world, page, PAGE, GIB + page, F::READ);
        }
        world.host().fail_invalidations(1);
        let mut leaves = Vec::new();
        let mut report = |leaf| leaves.push(leaf);
        let failed = world.direct().unmap_reporting(range(0, PAGE), &mut report);
        assert!(failed.is_err());
        let outcome = world.fill(range(0, PAGE), host(GIB), F::READ);
        assert_eq!(outcome, Err(FillError::Unsettled));
        // Elsewhere it has no meaning.
        let _ = filled(world, 2 * PAGE, PAGE, GIB, F::READ);
        let mut report = |leaf| leaves.push(leaf);
        world
            .direct()
            .unmap_reporting(range(PAGE, PAGE), &mut report)
            .unwrap();
        assert_eq!(leaves.len(), 2);
        let _ = filled(world, 0, PAGE, GIB, F::READ);
        assert_eq!(world.walk(0), Some(GIB));
    });
}

/// What an exclusive operation remembers between calls is right after a fill, and the reverse.
#[test]
fn fills_and_exclusive_operations_take_turns() {
    on_each(|world| {
        for number in 0..4 {
            let (mapped, filled_at) = (number * 2 * PAGE, number * 2 * PAGE + PAGE);
            let pages = range(mapped, PAGE);
            world.direct().map(pages, host(mapped), F::READ).unwrap();
            let _ = filled(world, filled_at, PAGE, filled_at, F::READ);
        }
        let other = BLOCK + PAGE;
        let _ = filled(world, other, PAGE, GIB, F::READ);
        let mapped = world.direct().map(range(other, PAGE), host(0), F::READ);
        assert!(
            mapped.is_err(),
            "a page was mapped over one that was filled"
        );
        for page in 0..8 {
            assert_eq!(world.walk(page * PAGE), Some(page * PAGE));
        }
        world.direct().unmap(range(0, 8 * PAGE)).unwrap();
        let leaves = world.mappings();
        assert_eq!(leaves.len(), 1);
        assert_eq!(leaves[0].level, Level::PAGE_4K);
    });
}
