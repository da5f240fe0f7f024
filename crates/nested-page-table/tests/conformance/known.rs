//! Sequences that were mistakes once, here or in other tables, on every architecture.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags as F;
use nested_page_table::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Scope, TableHost};
use simulated_host::{Access, Permissions, Violation};

use crate::architectures::{AARCH64, EPT, NPT, RISCV};
use crate::driver;
use crate::operation::{Operation, Step};
use crate::variant::Variant;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const GIB: u64 = 0x4000_0000;

fn map(guest: u64, size: u64, host: u64, flags: F) -> Operation {
    Operation::Map {
        guest,
        size,
        host,
        flags,
    }
}

/// Runs the same steps on one mode of each architecture, in every variant of capabilities; after
/// each step the whole table is judged.
fn everywhere(steps: &[Step]) {
    for number in [0, 2, 3, 4, 7] {
        driver::run(RISCV("sv39x4", number), steps);
        driver::run(AARCH64("ipa40", number), steps);
        driver::run(EPT("ept4", number), steps);
        driver::run(NPT("npt4", number), steps);
    }
}

fn singly(operations: Vec<Operation>) {
    everywhere(&operations.into_iter().map(Step::Single).collect::<Vec<_>>());
}

/// The sweep after an invalidation took live leaves for retired entries: on AArch64 their memory
/// type sets the same bits. The sweep covers what lies between two changes of one edit.
#[test]
fn a_sweep_leaves_live_leaves_alone() {
    everywhere(&[
        Step::Single(map(0, PAGE, GIB, F::READ_WRITE)),
        Step::Single(map(BLOCK, 2 * BLOCK, BLOCK, F::READ_WRITE)),
        Step::Single(map(4 * BLOCK, PAGE, GIB, F::READ_WRITE)),
        Step::Batch(vec![
            Operation::Unmap {
                guest: 0,
                size: PAGE,
            },
            Operation::Unmap {
                guest: 4 * BLOCK,
                size: BLOCK,
            },
        ]),
    ]);
}

/// What the hardware had noted in a block was lost when the block was split.
#[test]
fn accessed_and_dirty_state_survives_a_split() {
    everywhere(&[
        Step::Single(map(0, GIB, 0, F::READ_WRITE)),
        Step::Touch {
            pick: 1,
            write: true,
        },
        Step::Single(Operation::Protect {
            guest: GIB - PAGE,
            size: PAGE,
            flags: F::READ,
        }),
        Step::Touch {
            pick: 2,
            write: false,
        },
        Step::Single(Operation::Unmap {
            guest: BLOCK,
            size: PAGE,
        }),
        Step::Single(Operation::Protect {
            guest: 0,
            size: GIB,
            flags: F::READ,
        }),
    ]);
}

/// A leaf needs guest and host aligned to its size, not merely alike in part of it.
#[test]
fn guest_and_host_half_a_block_apart_are_mapped_by_smaller_leaves() {
    singly(vec![
        map(0, 2 * BLOCK, BLOCK / 2, F::READ_WRITE),
        map(GIB, GIB, GIB + GIB / 2, F::READ_WRITE),
    ]);
}

/// Unmapping 4 KiB of a 2 MiB leaf dropped all of it.
#[test]
fn a_page_unmapped_from_a_block_leaves_511() {
    singly(vec![
        map(BLOCK, BLOCK, 3 * BLOCK, F::READ_WRITE),
        Operation::Unmap {
            guest: BLOCK + 7 * PAGE,
            size: PAGE,
        },
    ]);
}

/// Protecting 4 KiB of a larger leaf changed all of it, or lost its memory type.
#[test]
fn a_page_protected_in_a_device_block_leaves_its_neighbours_and_its_type() {
    singly(vec![
        map(0, 2 * GIB, 0, F::PASSTHROUGH),
        Operation::Protect {
            guest: GIB + 5 * PAGE,
            size: PAGE,
            flags: F::READ | F::USER,
        },
    ]);
}

/// A leaf table that had become empty stood in the way of a block for ever.
#[test]
fn a_block_takes_the_place_of_pages_that_are_gone() {
    singly(vec![
        map(BLOCK, PAGE, 0, F::READ_WRITE),
        Operation::Unmap {
            guest: BLOCK,
            size: PAGE,
        },
        map(BLOCK, BLOCK, BLOCK, F::READ_WRITE),
        Operation::Unmap {
            guest: 0,
            size: GIB,
        },
        map(0, GIB, GIB, F::READ),
    ]);
}

/// A table stayed linked when the range that was unmapped, or mapped, was all that it translates.
#[test]
fn a_range_of_exactly_one_table_unlinks_it() {
    singly(vec![
        map(BLOCK, PAGE, 0, F::READ_WRITE),
        Operation::Unmap {
            guest: BLOCK,
            size: BLOCK,
        },
        map(GIB, BLOCK, GIB, F::READ_WRITE),
        Operation::Unmap {
            guest: GIB,
            size: GIB,
        },
        map(2 * GIB, PAGE, 0, F::READ_WRITE),
        Operation::Unmap {
            guest: 2 * GIB,
            size: PAGE,
        },
        map(2 * GIB, BLOCK, 0, F::READ_WRITE),
    ]);
}

/// A mapping that met a conflict half way left its first pages mapped.
#[test]
fn a_conflict_at_the_last_page_maps_nothing() {
    singly(vec![
        map(BLOCK, PAGE, 0, F::READ),
        map(0, BLOCK + PAGE, GIB, F::READ_WRITE),
        map(BLOCK - PAGE, PAGE, GIB, F::READ_WRITE),
    ]);
}

/// A table was given back before the invalidation that covers it.
#[test]
fn tables_come_back_after_their_invalidation() {
    everywhere(&[
        Step::Single(map(PAGE, GIB, 2 * GIB + PAGE, F::READ_WRITE)),
        Step::Single(Operation::Unmap {
            guest: 0,
            size: BLOCK,
        }),
        Step::Batch(vec![
            Operation::Unmap {
                guest: BLOCK,
                size: GIB - BLOCK,
            },
            map(BLOCK, BLOCK, 0, F::READ),
        ]),
    ]);
}

/// An address beyond the input width wrapped to a low one.
#[test]
fn an_address_beyond_the_input_width_is_no_alias() {
    let top = 1 << 41;
    singly(vec![
        map(0, PAGE, 0, F::READ),
        map(top, PAGE, 0, F::READ),
        map(top - PAGE, 2 * PAGE, 0, F::READ),
        map(1 << 39, PAGE, PAGE, F::READ),
        Operation::Unmap {
            guest: 1 << 48,
            size: PAGE,
        },
    ]);
}

/// Guest addresses above host addresses underflowed.
#[test]
fn guest_and_host_may_differ_either_way() {
    singly(vec![
        map(GIB, BLOCK, 0, F::READ_WRITE),
        map(0, BLOCK, GIB, F::READ_WRITE),
        map(2 * GIB, PAGE, PAGE, F::ACCESS),
    ]);
}

/// A range in one edit was mapped to a new place while its old translation lived.
#[test]
fn what_is_mapped_anew_in_one_edit_was_forgotten_before() {
    everywhere(&[
        Step::Single(map(0, BLOCK, 0, F::READ_WRITE)),
        Step::Batch(vec![
            Operation::Unmap {
                guest: 0,
                size: 4 * PAGE,
            },
            map(0, 4 * PAGE, GIB, F::READ_WRITE),
            Operation::Protect {
                guest: PAGE,
                size: PAGE,
                flags: F::READ,
            },
            Operation::UnmapReporting {
                guest: 2 * PAGE,
                size: 2 * PAGE,
            },
            map(2 * PAGE, PAGE, 2 * GIB, F::READ),
        ]),
    ]);
}

/// A range was mapped anew whose invalidation was pending, in a batch of more ranges than a request
/// can name.
#[test]
fn what_is_mapped_anew_after_many_changes_was_forgotten_before() {
    let mut operations: Vec<_> = (0..12)
        .map(|number| Operation::Unmap {
            guest: 2 * number * PAGE,
            size: PAGE,
        })
        .collect();
    operations.push(map(22 * PAGE, PAGE, GIB, F::READ_WRITE));
    operations.push(Operation::UnmapReporting {
        guest: 20 * PAGE,
        size: 4 * PAGE,
    });
    operations.push(map(20 * PAGE, PAGE, GIB, F::READ));
    everywhere(&[
        Step::Single(map(0, BLOCK + 3 * PAGE, PAGE, F::READ_WRITE)),
        Step::Batch(operations),
    ]);
}

/// Of fresh mappings that were more than a request can name, the next counted as a change of what was
/// pending, and the edit asked for an invalidation each time.
#[test]
fn an_edit_of_fresh_mappings_asks_for_one_invalidation_at_most() {
    for number in 0..8 {
        let variant = RISCV("sv39x4", number);
        let mut table = (variant.new_table)(variant.host).expect("a table");
        let before = variant.host.requests().len();
        table.edit(&mut |edit| {
            for page in (0..9).map(|n| 2 * n).chain((0..9).map(|n| 2 * n + 1)) {
                let guest = GuestPhysRange::from_start_size(GuestPhysAddr::new(page * PAGE), PAGE);
                let mapped = edit.map(guest.unwrap(), HostPhysAddr::new(GIB), F::READ_WRITE);
                mapped.unwrap();
            }
        });
        assert!(variant.host.requests().len() - before <= 1);
    }
}

/// More ranges than a request can name.
#[test]
fn more_ranges_than_a_request_names_invalidate_everything() {
    let holes = (0..12).map(|number| Operation::Unmap {
        guest: 2 * number * PAGE,
        size: PAGE,
    });
    everywhere(&[
        Step::Single(map(0, BLOCK + 3 * PAGE, PAGE, F::READ_WRITE)),
        Step::Batch(holes.collect()),
    ]);
    let variant = RISCV("sv39x4", 0);
    let mut table = (variant.new_table)(variant.host).expect("a table");
    let page = |number: u64| {
        let start = GuestPhysAddr::new(2 * number * PAGE);
        GuestPhysRange::from_start_size(start, PAGE).unwrap()
    };
    // What asked for everything leaves the next batch alone.
    for count in [8_u64, 9, 8, 20, 1] {
        for number in 0..count {
            table.edit(&mut |edit| {
                let mapped = edit.map(page(number), HostPhysAddr::new(GIB), F::READ_WRITE);
                mapped.unwrap();
            });
        }
        table.edit(&mut |edit| (0..count).for_each(|number| edit.unmap(page(number)).unwrap()));
        let request = variant.host.requests().pop().expect("a request");
        assert_eq!(request.covers_everything(), count > 8, "{count} ranges");
        let named = if count > 8 { 0 } else { count };
        assert_eq!(request.ranges().len() as u64, named);
    }
    drop(table);
    let request = variant.host.requests().pop().expect("a request");
    assert!(request.covers_everything(), "{request:?}");
}

/// Leaf tables after the first are rewritten without a look at single leaves.
#[test]
fn every_table_that_loses_permissions_is_invalidated() {
    singly(vec![
        map(0, 3 * BLOCK, PAGE, F::READ_WRITE),
        Operation::Protect {
            guest: 0,
            size: 3 * BLOCK,
            flags: F::READ,
        },
        Operation::Protect {
            guest: BLOCK / 2,
            size: 2 * BLOCK,
            flags: F::READ_WRITE,
        },
    ]);
}

/// Where the walk of a page met the 2 MiB entries is remembered: no longer when that table is unlinked.
#[test]
fn a_page_is_mapped_anew_after_its_gib_was_unmapped() {
    let page = |guest| map(guest, PAGE, 2 * GIB, F::READ_WRITE);
    let unmap = |guest, size| Operation::Unmap { guest, size };
    for gib in [0, GIB] {
        let operations = vec![
            page(gib),
            page(gib + PAGE),
            unmap(gib, GIB),
            page(gib + 2 * PAGE),
            page(gib + PAGE),
            unmap(gib + PAGE, PAGE),
            unmap(0, 2 * GIB),
            page(gib + 3 * PAGE),
        ];
        singly(operations.clone());
        everywhere(&[Step::Direct(operations.clone())]);
        everywhere(&[Step::Batch(operations)]);
        let huge = map(gib, GIB, gib, F::READ_WRITE);
        for takes_tables_away in [unmap(gib, GIB), Operation::ReclaimEmpty, huge] {
            let unmapped = unmap(gib, PAGE);
            everywhere(&[Step::Direct(vec![
                page(gib),
                unmapped.clone(),
                takes_tables_away,
                unmapped,
            ])]);
        }
    }
}

/// Each operation of an edit has a range of its own, whatever lies between two of them; those that touch
/// share one.
#[test]
fn operations_of_an_edit_are_ranges_of_the_request() {
    let variant = RISCV("sv39x4", 0);
    let mut table = (variant.new_table)(variant.host).expect("a table");
    let range = |start: u64, size| {
        GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
    };
    let mut requested = |ranges: &[GuestPhysRange]| {
        table.edit(&mut |edit| {
            edit.map(range(0, 2 * BLOCK), HostPhysAddr::new(PAGE), F::READ_WRITE)
                .unwrap();
        });
        table.edit(&mut |edit| {
            for range in ranges {
                edit.unmap(*range).unwrap();
            }
        });
        let request = variant.host.requests().pop().expect("a request");
        table.edit(&mut |edit| edit.unmap(range(0, 2 * BLOCK)).unwrap());
        let ranges = request.ranges().iter();
        ranges.map(|changed| changed.range).collect::<Vec<_>>()
    };
    let (first, second) = (range(0, 2 * PAGE), range(8 * PAGE, 3 * PAGE));
    assert_eq!(requested(&[first, second]), [first, second]);
    assert_eq!(requested(&[second, first]), [second, first]);
    let touching = range(2 * PAGE, 2 * PAGE);
    assert_eq!(requested(&[first, touching]), [range(0, 4 * PAGE)]);
    // Leaves, and a table.
    let table_of_pages = range(BLOCK, BLOCK);
    let last_page = range(BLOCK - PAGE, PAGE);
    let both = [last_page, table_of_pages];
    assert_eq!(requested(&both), both);
}

/// What was reported once is not reported again, with what is unmapped around it.
#[test]
fn a_leaf_is_reported_once() {
    let report = |page: u64, pages: u64| Operation::UnmapReporting {
        guest: page * PAGE,
        size: pages * PAGE,
    };
    singly(vec![
        map(0, 8 * PAGE, PAGE, F::READ_WRITE),
        report(3, 2),
        report(0, 8),
        map(0, 2 * BLOCK, 0, F::READ_WRITE),
        report(3, 2),
        report(0, 1024),
    ]);
}

/// A visitor that broke off at the last entry of a table was shown the block behind the table.
#[test]
fn a_visit_that_breaks_off_at_the_end_of_a_table_is_over() {
    for variant in [
        RISCV("sv39x4", 0),
        AARCH64("ipa40", 0),
        EPT("ept4", 0),
        NPT("npt4", 0),
    ] {
        let mut table = (variant.new_table)(variant.host).unwrap();
        let range = |start, size| GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size);
        let last_page = range(BLOCK - PAGE, PAGE).unwrap();
        for guest in [last_page, range(BLOCK, BLOCK).unwrap()] {
            let host = HostPhysAddr::new(guest.start().as_u64());
            table.direct().map(guest, host, F::READ).unwrap();
        }
        assert_eq!(table.mappings().len(), 2);
        let shown = table.first_mappings(1);
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].guest, last_page);
    }
}

/// A root of several frames counted as one.
#[test]
fn statistics_count_every_frame_that_is_out() {
    for (variant, root_frames) in [
        (RISCV("sv39x4", 0), 4),
        (AARCH64("ipa40", 0), 2),
        (AARCH64("ipa43", 0), 16),
        (EPT("ept4", 0), 1),
        (NPT("npt5", 0), 1),
    ] {
        let mut table = (variant.new_table)(variant.host).expect("a table");
        assert_eq!(table.statistics().table_frames, root_frames);
        let page = GuestPhysRange::from_start_size(GuestPhysAddr::new(GIB), PAGE).unwrap();
        let mapped = table.direct().map(page, HostPhysAddr::new(0), F::READ);
        mapped.unwrap();
        let statistics = table.statistics();
        let out = variant.host.simulated_frames().outstanding_count() as u64;
        assert_eq!(statistics.table_frames, out);
        assert_eq!(statistics.tables.iter().sum::<u64>(), out - root_frames + 1);
        assert_eq!(statistics.mapped_bytes, PAGE);
    }
}

/// RISC-V without Svvptc. A fault that filled one page asked all CPUs to forget that it was absent.
#[test]
fn what_is_fresh_is_asked_of_the_calling_cpu_alone() {
    let variant = RISCV("sv39x4", 2);
    let mut table = (variant.new_table)(variant.host).expect("a table");
    let page = |number: u64| {
        GuestPhysRange::from_start_size(GuestPhysAddr::new(number * PAGE), PAGE).unwrap()
    };
    let host = HostPhysAddr::new(GIB);
    let last = || variant.host.requests().pop().expect("a request");
    // By the table's own tables, by one store, and more ranges than a request names.
    for number in 0..3 {
        table
            .direct()
            .map(page(number), host, F::READ_WRITE)
            .unwrap();
        assert_eq!(last().scope(), Scope::Local);
    }
    table.edit(&mut |edit| {
        for number in 5..14 {
            edit.map(page(2 * number), host, F::READ_WRITE).unwrap();
        }
    });
    assert_eq!(
        (last().scope(), last().covers_everything()),
        (Scope::Local, true)
    );
    // What was removed, or raised, is asked of all, in whatever order.
    table.edit(&mut |edit| {
        edit.map(page(40), host, F::READ).unwrap();
        edit.unmap(page(0)).unwrap();
        edit.map(page(42), host, F::READ).unwrap();
    });
    assert_eq!(last().scope(), Scope::AllCpus);
    table.direct().map(page(44), host, F::READ).unwrap();
    assert_eq!(last().scope(), Scope::Local);
    table.direct().protect(page(44), F::READ_WRITE).unwrap();
    assert_eq!(last().scope(), Scope::AllCpus);
    table.direct().map(page(46), host, F::READ).unwrap();
    drop(table);
    assert_eq!(
        (last().scope(), last().covers_everything()),
        (Scope::AllCpus, true)
    );
}

/// Another hart that remembers "absent" faults once. Its handler has to fence: the model reports a hart that
/// remembers it any longer.
#[test]
fn another_cpu_faults_once_for_what_is_fresh() {
    let variant = RISCV("sv39x4", 2);
    let machine = variant.host.machine();
    let mut table = (variant.new_table)(variant.host).expect("a table");
    let register = table.root_register();
    machine.touch_all(register);
    let (gpa, host) = (GuestPhysAddr::new(PAGE), HostPhysAddr::new(GIB));
    let range = GuestPhysRange::from_start_size(gpa, PAGE).unwrap();
    table.direct().map(range, host, F::READ_WRITE).unwrap();
    machine.check();
    assert_eq!(variant.host.take_violations(), [], "nobody has faulted yet");
    let read = |cpu| machine.access(cpu, register, gpa, Permissions::READ);
    assert_eq!(read(0), Access::Allowed(host));
    assert_eq!(read(1), Access::Fault);
    machine.check();
    let found = variant.host.take_violations();
    assert!(
        matches!(found[..], [Violation::Spurious { cpu: 1, .. }]),
        "{found:?}"
    );
    let stale = InvalidatedRange {
        range,
        level: None,
        tables: true,
        change: Change::Raised,
    };
    let space = last_space(&variant);
    variant.host.run_on(1);
    let forgotten = Invalidation::range(space, Scope::Local, stale);
    TableHost::invalidate(variant.host, &forgotten).unwrap();
    assert_eq!(read(1), Access::Allowed(host));
    machine.check();
    assert_eq!(variant.host.take_violations(), []);
    variant.host.run_on(0);
}

fn last_space(variant: &Variant) -> AddressSpaceId {
    variant.host.requests().pop().expect("a request").space()
}
