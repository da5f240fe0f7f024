//! Hosts that cannot invalidate, and callbacks that panic: nothing comes back early and nothing is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags as F;
use nested_page_table::{
    InvalidationFailed, MapError, ProtectError, UnmapError, UnmappedLeaf, Unsettled,
};

use crate::architectures::{AARCH64, EPT, NPT, RISCV};
use crate::variant::{Table, Variant};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const GIB: u64 = 0x4000_0000;

/// More often than any operation invalidates.
const ALWAYS: usize = 1000;

fn everywhere(test: impl Fn(&Variant, &mut dyn Table)) {
    for number in [0, 2, 3, 4, 7] {
        for variant in [
            RISCV("sv39x4", number),
            AARCH64("ipa40", number),
            EPT("ept4", number),
            NPT("npt4", number),
        ] {
            let mut table = (variant.new_table)(variant.host).unwrap();
            test(&variant, &mut *table);
            variant.host.fail_invalidations(0);
            drop(table);
            assert_eq!(variant.host.simulated_frames().outstanding(), []);
            drop(variant.owner);
        }
    }
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

fn frames_out(variant: &Variant) -> usize {
    variant.host.simulated_frames().outstanding_count()
}

/// Maps `pages` pages from 0 on, to the same pages above one GiB, by leaves of 4 KiB.
fn map_pages(table: &mut dyn Table, pages: u64) {
    for page in 0..pages {
        let (guest, host) = (
            range(page * PAGE, PAGE),
            HostPhysAddr::new(GIB + page * PAGE),
        );
        table.direct().map(guest, host, F::READ_WRITE).unwrap();
    }
}

/// CPUs remember everything that is mapped now, so that a frame which comes back early is noticed.
fn remember(variant: &Variant, table: &dyn Table) {
    variant.host.machine().touch_all(table.root_register());
}

#[test]
fn what_cannot_be_invalidated_stays_pending() {
    everywhere(|variant, table| {
        map_pages(table, 4);
        remember(variant, table);
        let before = frames_out(variant);
        variant.host.fail_invalidations(ALWAYS);
        let all = range(0, BLOCK);
        let unmapped = table.direct().unmap(all);
        assert_eq!(
            unmapped,
            Err(UnmapError::NotInvalidated(InvalidationFailed))
        );
        assert_eq!(table.mappings(), []);
        assert_eq!(frames_out(variant), before, "a table came back");
        let (host, flags) = (HostPhysAddr::new(GIB), F::READ);
        let mapped = table.direct().map(range(PAGE, PAGE), host, flags);
        let unsettled = Unsettled::InvalidationFailed(InvalidationFailed);
        assert_eq!(mapped, Err(MapError::Unsettled(unsettled)));
        assert_eq!(table.mappings(), []);
        assert_eq!(table.direct().try_reclaim_empty(), Err(unsettled));
        variant.host.fail_invalidations(0);
        table.direct().map(range(PAGE, PAGE), host, flags).unwrap();
        variant.host.machine().check();
        assert_eq!(variant.host.take_violations(), []);
        assert_eq!(frames_out(variant), before, "one went and one came");
    });
}

#[test]
fn a_single_page_that_is_not_invalidated_stays_pending() {
    everywhere(|variant, table| {
        map_pages(table, 3);
        remember(variant, table);
        variant.host.fail_invalidations(1);
        let unmapped = table.direct().unmap(range(PAGE, PAGE));
        assert_eq!(
            unmapped,
            Err(UnmapError::NotInvalidated(InvalidationFailed))
        );
        let host = HostPhysAddr::new(5 * GIB);
        table
            .direct()
            .map(range(PAGE, PAGE), host, F::READ)
            .unwrap();
        variant.host.machine().check();
        assert_eq!(variant.host.take_violations(), []);
    });
}

#[test]
fn an_edit_that_cannot_be_finished_says_so() {
    everywhere(|variant, table| {
        map_pages(table, 3);
        remember(variant, table);
        variant.host.fail_invalidations(ALWAYS);
        let finished = table.try_edit(&mut |edit| edit.protect(range(0, PAGE), F::READ).unwrap());
        assert_eq!(finished, Err(InvalidationFailed));
        let protected = table.direct().protect(range(PAGE, PAGE), F::READ);
        let failed = ProtectError::NotInvalidated(InvalidationFailed);
        assert_eq!(protected, Err(failed));
        variant.host.fail_invalidations(0);
        assert_eq!(table.try_edit(&mut |_| ()), Ok(()));
        variant.host.machine().check();
        assert_eq!(variant.host.take_violations(), []);
    });
}

/// The whole leaf is there again, and what was unmapped before it stays so.
#[test]
fn a_leaf_that_cannot_be_broken_stays_whole() {
    everywhere(|variant, table| {
        let host = HostPhysAddr::new(BLOCK);
        table
            .direct()
            .map(range(BLOCK - PAGE, PAGE), HostPhysAddr::new(GIB), F::READ)
            .unwrap();
        table
            .direct()
            .map(range(BLOCK, BLOCK), host, F::READ_WRITE)
            .unwrap();
        remember(variant, table);
        variant.host.fail_invalidations(ALWAYS);
        let both = range(BLOCK - PAGE, 2 * PAGE);
        let unmapped = table.direct().unmap(both);
        assert_eq!(
            unmapped,
            Err(UnmapError::NotInvalidated(InvalidationFailed))
        );
        assert_eq!(table.translate(GuestPhysAddr::new(BLOCK - PAGE)), None);
        let second = table.translate(GuestPhysAddr::new(BLOCK + PAGE)).unwrap();
        assert!(
            second
                .host_of(GuestPhysAddr::new(BLOCK + PAGE))
                .unwrap()
                .as_u64()
                == BLOCK + PAGE
        );
        variant.host.fail_invalidations(0);
        table.direct().unmap(both).unwrap();
        assert_eq!(table.translate(GuestPhysAddr::new(BLOCK)), None);
        assert!(table.translate(GuestPhysAddr::new(BLOCK + PAGE)).is_some());
        variant.host.machine().check();
        assert_eq!(variant.host.take_violations(), []);
    });
}

#[test]
fn a_table_whose_last_invalidation_fails_keeps_its_frames() {
    for variant in [
        RISCV("sv39x4", 0),
        AARCH64("ipa40", 0),
        EPT("ept4", 0),
        NPT("npt4", 0),
    ] {
        let mut table = (variant.new_table)(variant.host).unwrap();
        map_pages(&mut *table, 3);
        let before = frames_out(&variant);
        variant.host.fail_invalidations(ALWAYS);
        drop(table);
        assert_eq!(frames_out(&variant), before);
        drop(variant.owner);
    }
}

/// The guest addresses and the host addresses of leaves, in pages.
fn pages_of(leaves: &[UnmappedLeaf]) -> Vec<(u64, u64)> {
    let pages = leaves.iter().map(|leaf| {
        assert_eq!(leaf.guest.size(), PAGE);
        (
            leaf.guest.start().as_u64() / PAGE,
            leaf.host.as_u64() / PAGE,
        )
    });
    pages.collect()
}

/// What [`map_pages`] mapped.
fn mapped_pages(pages: core::ops::Range<u64>) -> Vec<(u64, u64)> {
    pages.map(|page| (page, page + GIB / PAGE)).collect()
}

/// The ranges that are unmapped in the tests of reports: one page, some, a whole table.
const REPORTED: [u64; 3] = [1, 3, BLOCK / PAGE];

#[test]
fn leaves_that_are_not_invalidated_are_reported_by_the_next_call() {
    everywhere(|variant, table| {
        for pages in REPORTED {
            map_pages(table, 4);
            remember(variant, table);
            variant.host.fail_invalidations(ALWAYS);
            let mut reported = Vec::new();
            let mut report = |leaf| reported.push(leaf);
            let guest = range(0, pages * PAGE);
            let unmapped = table.direct().unmap_reporting(guest, &mut report);
            assert_eq!(
                unmapped,
                Err(UnmapError::NotInvalidated(InvalidationFailed))
            );
            // Its invalidation succeeds now, but there is nobody to report to.
            variant.host.fail_invalidations(0);
            let mapped = table
                .direct()
                .map(range(0, PAGE), HostPhysAddr::new(0), F::READ);
            assert_eq!(mapped, Err(MapError::Unsettled(Unsettled::Unreported)));
            let unmapped = table.direct().unmap(range(0, BLOCK));
            assert_eq!(unmapped, Err(UnmapError::Unsettled(Unsettled::Unreported)));
            assert_eq!(
                table.direct().try_reclaim_empty(),
                Err(Unsettled::Unreported)
            );
            table
                .direct()
                .unmap_reporting(range(GIB, PAGE), &mut report)
                .unwrap();
            assert_eq!(pages_of(&reported), mapped_pages(0..pages.min(4)));
            variant.host.machine().check();
            assert_eq!(variant.host.take_violations(), []);
            table.direct().unmap(range(0, BLOCK)).unwrap();
        }
    });
}

/// A callback that panicked lost what it had not been told yet: those frames never came back.
#[test]
fn a_callback_that_panics_loses_no_leaf() {
    everywhere(|variant, table| {
        for pages in REPORTED {
            for panics_at in 0..pages.min(4) {
                map_pages(table, 4);
                remember(variant, table);
                let mut reported = Vec::new();
                let guest = range(0, pages * PAGE);
                let unmapped = catch_unwind(AssertUnwindSafe(|| {
                    table.direct().unmap_reporting(guest, &mut |leaf| {
                        reported.push(leaf);
                        assert!(reported.len() as u64 <= panics_at, "as the test wants it");
                    })
                }));
                assert!(unmapped.is_err(), "the callback did not panic");
                assert_eq!(reported.len() as u64, panics_at + 1);
                let mut report = |leaf| reported.push(leaf);
                table
                    .direct()
                    .unmap_reporting(range(GIB, PAGE), &mut report)
                    .unwrap();
                assert_eq!(pages_of(&reported), mapped_pages(0..pages.min(4)));
                variant.host.machine().check();
                assert_eq!(variant.host.take_violations(), []);
                table.direct().unmap(range(0, BLOCK)).unwrap();
            }
        }
    });
}

/// A block was mapped over an empty table while leaves of another range waited to be reported, and the table never
/// came back.
#[test]
fn a_block_over_an_empty_table_waits_for_reports() {
    everywhere(|variant, table| {
        map_pages(table, 1);
        let (page, block) = (range(BLOCK, PAGE), range(BLOCK, BLOCK));
        let host = HostPhysAddr::new(GIB);
        table.direct().map(page, host, F::READ).unwrap();
        table.direct().unmap(page).unwrap();
        variant.host.fail_invalidations(ALWAYS);
        let mut reported = Vec::new();
        let unmapped = table
            .direct()
            .unmap_reporting(range(0, PAGE), &mut |leaf| reported.push(leaf));
        assert!(unmapped.is_err(), "the host did not fail");
        variant.host.fail_invalidations(0);
        let before = frames_out(variant);
        let mapped = table.direct().map(block, host, F::READ);
        assert_eq!(mapped, Err(MapError::Unsettled(Unsettled::Unreported)));
        assert_eq!(table.mappings(), []);
        table
            .direct()
            .unmap_reporting(range(GIB, PAGE), &mut |leaf| reported.push(leaf))
            .unwrap();
        assert_eq!(reported.len(), 1);
        table.direct().map(block, host, F::READ).unwrap();
        assert_eq!(frames_out(variant), before - 1, "the table is lost");
    });
}

/// Has the next invalidation panic.
fn panic_once(variant: &Variant) {
    let armed = AtomicBool::new(true);
    variant.host.sabotage(move |_, _| {
        assert!(
            !armed.swap(false, Ordering::Relaxed),
            "as the test wants it"
        );
    });
}

/// The change of a page that took one store was forgotten when the host unwound: the page could be mapped anew
/// while CPUs still used its old translation.
#[test]
fn a_single_page_whose_invalidation_unwinds_stays_pending() {
    everywhere(|variant, table| {
        map_pages(table, 3);
        remember(variant, table);
        panic_once(variant);
        let page = range(PAGE, PAGE);
        let unmapped = catch_unwind(AssertUnwindSafe(|| table.direct().unmap(page)));
        assert!(unmapped.is_err(), "the host did not panic");
        let host = HostPhysAddr::new(5 * GIB);
        table.direct().map(page, host, F::READ_WRITE).unwrap();
        variant.host.machine().check();
        assert_eq!(variant.host.take_violations(), []);
    });
}

#[test]
fn leaves_whose_invalidation_unwinds_are_reported_by_the_next_call() {
    everywhere(|variant, table| {
        for pages in REPORTED {
            map_pages(table, 4);
            remember(variant, table);
            panic_once(variant);
            let mut reported = Vec::new();
            let mut report = |leaf| reported.push(leaf);
            let guest = range(0, pages * PAGE);
            let unmapped = catch_unwind(AssertUnwindSafe(|| {
                table.direct().unmap_reporting(guest, &mut report)
            }));
            assert!(unmapped.is_err(), "the host did not panic");
            table
                .direct()
                .unmap_reporting(range(GIB, PAGE), &mut report)
                .unwrap();
            assert_eq!(pages_of(&reported), mapped_pages(0..pages.min(4)));
            variant.host.machine().check();
            assert_eq!(variant.host.take_violations(), []);
            table.direct().unmap(range(0, BLOCK)).unwrap();
        }
    });
}
