//! Random stores, walks and invalidations against a memory of everything that was ever seen.

use std::collections::BTreeSet;

use guest_addr::GuestPhysAddr;
use proptest::collection::vec;
use proptest::prelude::*;
use simulated_host::{Outcome, Violation};

use crate::common::{ARCHES, Arch, DATA, R, RW, Rig, SPARE, TABLE_0, TABLE_1};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Writes entry `slot` of one of two tables of pages.
    Page { spare: bool, slot: u64, value: Page },
    /// Points the first 2 MiB to a table, to a block, or to nothing.
    Upper(Upper),
    /// Walks for a page.
    Touch { page: u64 },
    /// Forgets everything, everywhere.
    Forget,
}

#[derive(Clone, Copy, Debug)]
enum Page {
    Absent,
    Leaf { frame: u64, access: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Upper {
    Absent,
    Table,
    Spare,
    Block,
}

fn step() -> impl Strategy<Value = Step> {
    let access = prop_oneof![Just(R), Just(RW)];
    let page = prop_oneof![
        Just(Page::Absent),
        (0..3_u64, access).prop_map(|(frame, access)| Page::Leaf { frame, access }),
    ];
    let upper = prop_oneof![
        Just(Upper::Absent),
        Just(Upper::Table),
        Just(Upper::Spare),
        Just(Upper::Block),
    ];
    prop_oneof![
        3 => (any::<bool>(), 0..4_u64, page)
            .prop_map(|(spare, slot, value)| Step::Page { spare, slot, value }),
        2 => upper.prop_map(Step::Upper),
        4 => (0..4_u64).prop_map(|page| Step::Touch { page }),
        1 => Just(Step::Forget),
    ]
}

fn store(rig: &Rig, step: Step) {
    let arch = rig.arch;
    match step {
        Step::Page { spare, slot, value } => {
            let table = if spare { SPARE } else { TABLE_0 };
            let value = match value {
                Page::Absent => 0,
                Page::Leaf { frame, access } => arch.leaf(0, DATA + frame * 0x1000, access),
            };
            rig.set(table + slot * 8, value);
        }
        Step::Upper(upper) => {
            let value = match upper {
                Upper::Absent => 0,
                Upper::Table => arch.pointer(TABLE_0),
                Upper::Spare => arch.pointer(SPARE),
                Upper::Block => arch.leaf(1, DATA, R),
            };
            rig.set(TABLE_1, value);
        }
        Step::Touch { .. } | Step::Forget => {}
    }
}

/// The translation of one page, as numbers.
type Seen = (u64, u64, bool);

fn seen(page: u64, walk: &simulated_host::Walk) -> Option<Seen> {
    match walk.outcome() {
        Outcome::Translation(translation) => {
            let host = translation.host.as_u64() + (page * 0x1000 - walk.gpa().as_u64());
            let writes = translation
                .permissions
                .contains(simulated_host::Permissions::WRITE);
            Some((page, host, writes))
        }
        _ => None,
    }
}

fn is_stale(found: &Violation) -> bool {
    matches!(found, Violation::Stale { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whoever invalidates after every store has nothing to fear (apart from break-before-make).
    #[test]
    fn nothing_is_stale_after_an_invalidation(steps in vec(step(), 1..40)) {
        for arch in ARCHES {
            let rig = Rig::new(arch);
            for &step in &steps {
                store(&rig, step);
                rig.forget();
                rig.machine.check();
                if let Step::Touch { page } = step {
                    rig.machine.touch(0, rig.register, GuestPhysAddr::new(page * 0x1000));
                }
                let found = rig.check();
                prop_assert!(
                    found.iter().all(|found| matches!(found, Violation::BreakBeforeMake { .. })),
                    "{:?}: {:?}", arch, found
                );
            }
        }
    }

    /// A translation that some walk saw since the last invalidation, and that the tables do not give
    /// any more, is reported.
    #[test]
    fn what_was_seen_and_is_no_more_is_stale(steps in vec(step(), 1..40)) {
        for arch in [Arch::Riscv, Arch::Ept, Arch::Npt] {
            let rig = Rig::new(arch);
            let mut remembered: BTreeSet<Seen> = BTreeSet::new();
            for &step in &steps {
                store(&rig, step);
                match step {
                    Step::Touch { page } => {
                        let gpa = GuestPhysAddr::new(page * 0x1000);
                        remembered.extend(seen(page, &rig.machine.touch(0, rig.register, gpa)));
                    }
                    Step::Forget => {
                        rig.forget();
                        remembered.clear();
                    }
                    _ => {}
                }
                let found = rig.check();
                let probe = Rig::new(arch);
                copy_tables(&rig, &probe);
                for &(page, host, writes) in &remembered {
                    let gpa = GuestPhysAddr::new(page * 0x1000);
                    let now = seen(page, &probe.machine.touch(0, probe.register, gpa));
                    let still = matches!(now, Some((_, h, w)) if h == host && (w || !writes));
                    let reported = found.iter().any(is_stale);
                    prop_assert!(still || reported, "{arch:?}: page {page} -> {host:#x}");
                }
                if matches!(step, Step::Forget) {
                    prop_assert!(!found.iter().any(is_stale), "{arch:?}: {found:?}");
                }
            }
        }
    }
}

fn copy_tables(from: &Rig, to: &Rig) {
    for table in [TABLE_0, TABLE_1, SPARE] {
        for slot in 0..8 {
            let address = guest_addr::HostPhysAddr::new(table + slot * 8);
            to.set(address.as_u64(), from.memory.read(address).unwrap());
        }
    }
}
