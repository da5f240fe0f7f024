//! The operations that are watched.

use std::cell::Cell;
use std::rc::Rc;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags as F;
use nested_page_table::UnmappedLeaf;

use crate::architectures::{AARCH64, EPT, NPT, RISCV};
use crate::judge::Judge;
use crate::turn::before_each;
use crate::variant::{Table, Variant};
use crate::world::{Found, Work, World};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const GIB: u64 = 0x4000_0000;

/// What is looked at: the first pages of the first blocks, around their borders.
const PAGES: [u64; 8] = [
    0,
    PAGE,
    2 * PAGE,
    BLOCK - PAGE,
    BLOCK,
    BLOCK + PAGE,
    2 * BLOCK - PAGE,
    2 * BLOCK,
];

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

fn map(table: &mut dyn Table, start: u64, size: u64, host: u64, flags: F) {
    let host = HostPhysAddr::new(host);
    table.direct().map(range(start, size), host, flags).unwrap();
}

/// Every variant of every architecture in one mode.
fn variants() -> impl Iterator<Item = Variant> {
    (0..8).flat_map(|number| {
        [
            RISCV("sv39x4", number),
            AARCH64("ipa40", number),
            EPT("ept4", number),
            NPT("npt4", number),
        ]
    })
}

/// How many architectures each number has.
const ARCHITECTURES: usize = 4;

/// Watches `work` after `set_up`, on every variant.
fn watch(set_up: Work, work: Work) {
    for (index, variant) in variants().enumerate() {
        let number = index / ARCHITECTURES;
        let tracks = variant.rules.hardware_writes_entries;
        let again = || variants().nth(index).unwrap();
        let (after, accesses) = run_through(again(), set_up, work);
        assert!(accesses > 0, "nothing was watched");
        judge(variant, set_up, work, after);
        // The others differ in nothing that the hardware writes.
        if tracks && number < 2 {
            for access in (0..accesses).filter(|access| is_tried(*access, accesses)) {
                interrupt(again(), set_up, work, access);
            }
        }
    }
}

/// Whether the hardware has its turn before an access. In the middle of long loops, every seventh.
fn is_tried(access: usize, accesses: usize) -> bool {
    const NEAR: usize = 60;
    access < NEAR || accesses - access < NEAR || access.is_multiple_of(7)
}

/// Runs `work` to see what a walker finds afterwards, and how many accesses it takes.
fn run_through(variant: Variant, set_up: Work, work: Work) -> (Vec<Found>, usize) {
    let mut world = World::new(variant, set_up);
    let count = Rc::new(Cell::new(0));
    let counter = Rc::clone(&count);
    before_each(
        move |_| counter.set(counter.get() + 1),
        || work(&mut *world.table, &mut Vec::new()),
    );
    (world.machine.find(&PAGES), count.get())
}

/// Judges each access.
fn judge(variant: Variant, set_up: Work, work: Work, after: Vec<Found>) {
    let mut world = World::new(variant, set_up);
    let mut judge = Judge::new(&world.machine, &PAGES, after);
    before_each(
        move |access| judge.see(access),
        || work(&mut *world.table, &mut Vec::new()),
    );
}

/// The hardware writes to every page that it may write to, just before an access. Where the page stays, or
/// is reported, that is not lost.
fn interrupt(variant: Variant, set_up: Work, work: Work, at: usize) {
    let mut world = World::new(variant, set_up);
    let machine = world.machine.clone();
    let written = Rc::new(Cell::new([false; PAGES.len()]));
    let (mut access, note) = (0, Rc::clone(&written));
    let mut reported = Vec::new();
    before_each(
        move |_| {
            if access == at {
                note.set(PAGES.map(|page| machine.touch(page)));
            }
            access += 1;
        },
        || work(&mut *world.table, &mut reported),
    );
    let found = world.machine.find(&PAGES);
    for (index, page) in PAGES.into_iter().enumerate() {
        if !written.get()[index] {
            continue;
        }
        let address = GuestPhysAddr::new(page);
        let leaf = reported.iter().find(|leaf| leaf.guest.contains(address));
        let state = match leaf {
            Some(leaf) => (leaf.accessed, leaf.dirty),
            None if found[index].is_some() => world.machine.state(page),
            None => continue,
        };
        assert_eq!(
            state,
            (true, true),
            "what the hardware wrote at {page:#x} before access {at} is lost"
        );
    }
}

macro_rules! watched {
    ($($(#[$meta:meta])* $test:ident: |$before:ident| $set_up:expr, |$table:ident, $reported:ident| $work:expr;)+) => {$(
        $(#[$meta])*
        #[test]
        fn $test() {
            watch(
                |$before: &mut dyn Table, _| $set_up,
                |$table: &mut dyn Table, $reported: &mut Vec<UnmappedLeaf>| {
                    let _ = &$reported;
                    $work
                },
            );
        }
    )+};
}

/// Reports into `reported`.
fn unmap_reporting(table: &mut dyn Table, range: GuestPhysRange, reported: &mut Vec<UnmappedLeaf>) {
    let mut report = |leaf| reported.push(leaf);
    table.direct().unmap_reporting(range, &mut report).unwrap();
}

fn protect(table: &mut dyn Table, start: u64, size: u64, flags: F) {
    table.direct().protect(range(start, size), flags).unwrap();
}

fn unmap(table: &mut dyn Table, start: u64, size: u64) {
    table.direct().unmap(range(start, size)).unwrap();
}

watched! {
    map_where_nothing_is: |_table| (), |table, reported| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE);
    map_pages_in_a_table: |table| map(table, 0, PAGE, GIB, F::READ),
        |table, reported| map(table, PAGE, 2 * PAGE, 2 * GIB, F::READ_WRITE);
    map_one_page_after_another: |table| {
            map(table, 0, PAGE, GIB, F::READ_WRITE);
            map(table, PAGE, PAGE, GIB, F::READ_WRITE);
        },
        |table, reported| map(table, 2 * PAGE, PAGE, 2 * GIB, F::READ_WRITE);
    /// A table beside the one that exists, and a leaf above them.
    map_across_tables: |table| map(table, 0, PAGE, GIB, F::READ),
        |table, reported| map(table, PAGE, 2 * BLOCK, GIB + PAGE, F::READ_WRITE);
    map_a_block_beside_a_table: |table| map(table, 0, PAGE, GIB, F::READ),
        |table, reported| map(table, BLOCK - PAGE, BLOCK + PAGE, GIB + BLOCK - PAGE, F::READ_WRITE);
    map_a_block_in_place_of_an_empty_table: |table| {
            map(table, 0, PAGE, GIB, F::READ);
            unmap(table, 0, PAGE);
        },
        |table, reported| map(table, 0, BLOCK, GIB, F::READ_WRITE);
    unmap_one_page: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap(table, PAGE, PAGE);
    unmap_pages: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap(table, PAGE, 2 * PAGE);
    unmap_a_page_of_a_block: |table| map(table, BLOCK, BLOCK, GIB, F::READ_WRITE),
        |table, reported| unmap(table, BLOCK + PAGE, PAGE);
    unmap_a_page_of_a_huge_block: |table| map(table, 0, GIB, GIB, F::READ_WRITE),
        |table, reported| unmap(table, BLOCK, PAGE);
    unmap_a_table: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap(table, 0, BLOCK);
    report_one_page: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap_reporting(table, range(PAGE, PAGE), reported);
    report_pages: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap_reporting(table, range(PAGE, 2 * PAGE), reported);
    report_a_page_of_a_block: |table| map(table, BLOCK, BLOCK, GIB, F::READ_WRITE),
        |table, reported| unmap_reporting(table, range(BLOCK + PAGE, PAGE), reported);
    report_a_block: |table| map(table, BLOCK, BLOCK, GIB, F::READ_WRITE),
        |table, reported| unmap_reporting(table, range(BLOCK, BLOCK), reported);
    report_a_table: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| unmap_reporting(table, range(0, BLOCK), reported);
    take_permissions_of_pages: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| protect(table, PAGE, 2 * PAGE, F::READ);
    give_permissions_to_pages: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| protect(table, 0, 2 * PAGE, F::READ_WRITE | F::EXECUTE);
    exchange_permissions_of_pages: |table| map(table, 0, 3 * PAGE, GIB, F::READ_WRITE),
        |table, reported| protect(table, 0, 3 * PAGE, F::READ | F::EXECUTE);
    take_permissions_of_a_block: |table| map(table, BLOCK, BLOCK, GIB, F::READ_WRITE),
        |table, reported| protect(table, BLOCK, BLOCK, F::READ);
    take_permissions_of_a_page_of_a_block: |table| map(table, BLOCK, BLOCK, GIB, F::READ_WRITE),
        |table, reported| protect(table, BLOCK + PAGE, PAGE, F::READ);
    reclaim: |table| {
            map(table, 0, PAGE, GIB, F::READ);
            unmap(table, 0, PAGE);
        },
        |table, reported| table.direct().try_reclaim_empty().unwrap();
}
