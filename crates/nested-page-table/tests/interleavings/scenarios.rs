//! What is tried.

use mapping_flags::MappingFlags as F;
use nested_page_table::Level;

use crate::explore::{MACHINES, at_random, exhaustively, replay};
use crate::operation::Leaf;
use crate::operation::Operation::{
    self, Access, FailingSplit, Fill, Mark, Raise, Split, Touch, Translate,
};
use crate::run::Scenario;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const GIB: u64 = 0x4000_0000;

/// Without a limit.
const ANY: usize = usize::MAX;

const fn leaf(start: u64, size: u64, flags: F) -> Leaf {
    let host = GIB + start;
    Leaf {
        start,
        size,
        host,
        flags,
    }
}

/// Host memory is different for each actor, so that one can tell who filled what.
const fn fill(start: u64, size: u64, actor: u64) -> Operation {
    let (host, flags) = (2 * GIB + actor * GIB + start, F::READ_WRITE);
    Fill {
        start,
        size,
        host,
        flags,
    }
}

const fn raise(address: u64, permissions: F) -> Operation {
    Raise {
        address,
        permissions,
    }
}

const fn split(address: u64) -> Operation {
    Split {
        address,
        largest: Level::PAGE_4K,
    }
}

const fn failing_split(address: u64) -> Operation {
    FailingSplit {
        address,
        largest: Level::PAGE_4K,
    }
}

const fn translate(address: u64) -> Operation {
    Translate { address }
}

const fn touch(address: u64, write: bool) -> Operation {
    Touch { address, write }
}

const fn access(address: u64, actor: u64, write: bool) -> Operation {
    let (host, flags) = (2 * GIB + actor * GIB + address, F::READ);
    Access {
        address,
        host,
        flags,
        write,
    }
}

macro_rules! scenarios {
    ($($(#[$meta:meta])* $name:ident / $test:ident ($preemptions:expr, $random:expr): [$($leaf:expr),*] $([$($operation:expr),*])+;)+) => {$(
        pub(crate) const $name: Scenario = Scenario {
            name: stringify!($name),
            leaves: &[$($leaf),*],
            actors: &[$(&[$($operation),*]),+],
        };

        $(#[$meta])*
        #[test]
        fn $test() {
            let mut count = 0;
            for machine in MACHINES {
                count += exhaustively(&$name, machine, $preemptions);
                at_random(&$name, machine, $random);
            }
            println!("{}: {count} schedules", $name.name);
            assert!(count > MACHINES.len(), "nothing took turns");
        }
    )+};
}

scenarios! {
    ONE_PAGE / two_cpus_fill_one_page (ANY, 0): []
        [fill(0, PAGE, 0)] [fill(0, PAGE, 1)];
    ONE_PAGE_THRICE / three_cpus_fill_one_page (2, 50): []
        [fill(0, PAGE, 0)] [fill(0, PAGE, 1)] [fill(0, PAGE, 2)];
    NEIGHBOURS / two_cpus_fill_neighbours (ANY, 0): []
        [fill(0, PAGE, 0)] [fill(PAGE, PAGE, 1)];
    NEIGHBOURS_TWICE / two_cpus_fill_the_same_pages_in_another_order (3, 50): []
        [fill(0, PAGE, 0), fill(PAGE, PAGE, 0)] [fill(PAGE, PAGE, 1), fill(0, PAGE, 1)];
    IN_A_TABLE / two_cpus_fill_a_page_of_a_table (4, 50): [leaf(PAGE, PAGE, F::READ)]
        [fill(0, PAGE, 0)] [fill(0, PAGE, 1)];
    DISTANT / three_cpus_fill_pages_far_apart (2, 50): []
        [fill(0, PAGE, 0)] [fill(BLOCK, PAGE, 1)] [fill(GIB, PAGE, 2)];
    PAGE_OR_BLOCK / a_page_beside_the_block_over_it (ANY, 0): []
        [fill(0, BLOCK, 0)] [fill(PAGE, PAGE, 1)];
    PAGES_OR_BLOCK / two_pages_beside_the_block_over_them (2, 50): []
        [fill(0, BLOCK, 0)] [fill(PAGE, PAGE, 1)] [fill(0, PAGE, 2), translate(PAGE)];
    READER / a_reader_beside_a_fill (ANY, 0): []
        [fill(0, PAGE, 0)] [translate(0), translate(0)];
    READER_AND_RAISE / a_reader_beside_a_fill_and_a_raise (2, 50): [leaf(PAGE, PAGE, F::READ)]
        [fill(0, PAGE, 0), raise(PAGE, F::WRITE)] [translate(PAGE), translate(0), translate(PAGE)];
    TWO_RAISES / two_cpus_raise_one_page (4, 50): [leaf(0, PAGE, F::READ)]
        [raise(0, F::WRITE)] [raise(0, F::EXECUTE)];
    RAISE_AND_MARK / a_raise_a_mark_and_the_hardware (2, 100): [leaf(0, PAGE, F::READ)]
        [raise(0, F::WRITE)] [Mark { address: 0 }] [touch(0, false), touch(0, true)];
    RAISE_AND_HARDWARE / the_hardware_writes_beside_a_raise (ANY, 0): [leaf(0, PAGE, F::READ_WRITE)]
        [raise(0, F::EXECUTE)] [touch(0, false), touch(0, true)];
    FILL_AND_HARDWARE / the_hardware_writes_beside_a_fill (2, 100): [leaf(PAGE, PAGE, F::READ_WRITE)]
        [fill(0, PAGE, 0)] [touch(PAGE, true), touch(0, true)] [fill(0, PAGE, 1)];
    SPLIT_AND_FILL / a_fill_beside_a_split (ANY, 0): [leaf(0, BLOCK, F::READ)]
        [split(0)] [fill(0, PAGE, 1)];
    SPLIT_AND_RAISE / a_raise_beside_a_split (4, 50): [leaf(0, BLOCK, F::READ)]
        [split(0)] [raise(0, F::WRITE)];
    TWO_SPLITS / two_splits_of_one_leaf (3, 50): [leaf(0, BLOCK, F::READ_WRITE)]
        [split(0), raise(0, F::EXECUTE)] [split(PAGE)];
    SPLIT_AND_HARDWARE / the_hardware_writes_beside_a_split (ANY, 0): [leaf(0, BLOCK, F::READ_WRITE)]
        [split(0)] [touch(0, false), touch(PAGE, true)];
    SPLIT_AND_MARK / a_mark_and_a_reader_beside_a_split (2, 100): [leaf(0, BLOCK, F::READ)]
        [split(0)] [Mark { address: PAGE }] [translate(PAGE), translate(PAGE)];
    FAILING_SPLIT / a_fill_and_a_reader_beside_a_split_that_fails (2, 100): [leaf(0, BLOCK, F::READ)]
        [failing_split(0)] [fill(0, PAGE, 1), translate(0)] [touch(0, false)];
    FAILING_SPLIT_AND_RAISE / a_raise_beside_a_split_that_fails (3, 50): [leaf(0, BLOCK, F::READ)]
        [failing_split(0), raise(0, F::WRITE)] [raise(0, F::WRITE)];
    TWO_GUESTS / two_guests_fault_on_one_page (3, 50): []
        [access(0, 0, false)] [access(0, 1, false)];
    TWO_WRITERS / two_guests_write_to_pages_that_are_read_only_at_first (2, 50): []
        [access(0, 0, true)] [access(0, 1, true), access(PAGE, 1, false)];
    GUEST_AND_SPLIT / a_guest_beside_a_split (3, 50): [leaf(0, BLOCK, F::READ_WRITE)]
        [split(0)] [access(PAGE, 1, true)];
}

/// What a failure prints can be run again: the same schedule leads to the same turns.
#[test]
fn a_schedule_is_replayed() {
    for machine in MACHINES {
        let alternating: Vec<_> = (0..40).map(|turn| turn % 2).collect();
        let first = replay(&SPLIT_AND_RAISE, machine, &alternating);
        assert_eq!(first[..4], [0, 1, 0, 1]);
        assert_eq!(replay(&SPLIT_AND_RAISE, machine, &first), first);
    }
}
