//! Giving a leaf more.

use mapping_flags::MappingFlags as F;
use nested_page_table::{Due, Level, MarkOutcome, RaiseError, RaiseOutcome};

use crate::world::{BLOCK, GIB, PAGE, World, at, host, on_each, range};

fn map(world: &mut World, start: u64, size: u64, flags: F) {
    let to = host(GIB + start);
    world.direct().map(range(start, size), to, flags).unwrap();
}

#[test]
fn a_leaf_gains_permissions_and_keeps_the_rest() {
    on_each(|world| {
        map(world, 0, PAGE, F::READ);
        map(world, PAGE, PAGE, F::READ);
        let outcome = world.raise(at(8), F::WRITE).unwrap();
        let RaiseOutcome::Raised { leaf, due } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(Some(leaf), world.translate(at(0)));
        assert_eq!((leaf.flags, leaf.host), (F::READ_WRITE, host(GIB)));
        let is_due = world.variant.rules.raised_needs_invalidation;
        assert_eq!(matches!(due, Due::Local(_)), is_due);
        let register = world.root_register();
        let usable = |address| {
            let memory = world.host().memory();
            world.variant.reference.usable(memory, register, address)
        };
        assert_eq!(usable(0), [true, false, false, true]);
        assert_eq!(usable(PAGE), [true, false, false, false]);
        let again = world.raise(at(0), F::READ).unwrap();
        assert_eq!(again, RaiseOutcome::Unchanged(leaf));
    });
}

#[test]
fn where_nothing_is_nothing_is_raised() {
    on_each(|world| {
        map(world, 0, PAGE, F::READ);
        let beyond = 1 << world.variant.geometry.input_bits();
        for address in [PAGE, GIB, beyond, u64::MAX] {
            let outcome = world.raise(at(address), F::WRITE);
            assert_eq!(outcome, Ok(RaiseOutcome::Absent));
            assert_eq!(world.mark_accessed(at(address)), MarkOutcome::Absent);
        }
    });
}

#[test]
fn what_a_leaf_cannot_have_is_refused() {
    on_each(|world| {
        map(world, 0, PAGE, F::READ | F::DEVICE);
        let outcome = world.raise(at(0), F::DEVICE);
        assert_eq!(
            outcome,
            Err(RaiseError::NotAPermission { flags: F::DEVICE })
        );
        let outcome = world.raise(at(0), F::EXECUTE);
        assert!(matches!(outcome, Err(RaiseError::Flags { .. })));
        let policy = world.variant.policy;
        if policy.largest >= Level::BLOCK_2M && policy.largest_executable == Level::PAGE_4K {
            map(world, BLOCK, BLOCK, F::READ);
            let largest = Level::PAGE_4K;
            let existing = world.translate(at(BLOCK)).unwrap();
            let outcome = world.raise(at(BLOCK), F::EXECUTE);
            assert_eq!(outcome, Err(RaiseError::TooLarge { existing, largest }));
        }
    });
}

/// The hardware's marks are kept, and no others are made.
#[test]
fn marks_survive_and_appear_where_they_are_asked_for() {
    on_each(|world| {
        map(world, 0, PAGE, F::READ_WRITE);
        map(world, PAGE, PAGE, F::READ);
        let register = world.root_register();
        let memory = world.host().memory();
        let tracks = world.variant.rules.hardware_writes_entries;
        let reference = &world.variant.reference;
        assert!(reference.touch(memory, register, 0, true));
        let _ = world.raise(at(0), F::EXECUTE).unwrap();
        assert_eq!(reference.state(memory, register, 0), (true, true));
        let before = reference.state(memory, register, PAGE);
        assert_eq!(before.0, !tracks);
        let found = world.translate(at(PAGE)).unwrap();
        assert_eq!(world.mark_accessed(at(PAGE)), MarkOutcome::Marked(found));
        assert_eq!(reference.state(memory, register, PAGE), (true, before.1));
    });
}
