//! Every kind of stale use is noticed on every architecture, and the right invalidation ends it.

use crate::common::{
    ARCHES, Arch, DATA, GPA, OTHER_ROOT, R, ROOT, RW, Rig, SPARE, TABLE_0, TABLE_1, names,
};
use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use simulated_host::{
    Access, FrameObserver, Permissions, RiscvTlb, Source, TlbInstruction, Violation,
};

fn range(base: u64, size: u64) -> HostPhysRange {
    HostPhysRange::from_start_size(HostPhysAddr::new(base), size).unwrap()
}

/// Touches, changes with `change`, expects only violations named `expected` on both CPUs,
/// invalidates, and expects none. On AArch64 a change of a valid entry breaks it first.
fn stale_until_forgotten(arch: Arch, expected: &str, change: impl Fn(&Rig)) {
    let rig = Rig::new(arch);
    rig.touch();
    rig.assert_clean();
    change(&rig);
    let found = rig.check();
    assert_eq!(names(&found), [expected], "{arch:?}: {found:?}");
    rig.forget();
    rig.assert_clean();
    rig.touch();
    rig.assert_clean();
}

#[test]
fn an_unmapped_page_is_stale() {
    for arch in ARCHES {
        stale_until_forgotten(arch, "Stale", |rig| rig.set_page(0));
    }
}

#[test]
fn a_permission_taken_away_is_stale() {
    for arch in ARCHES {
        stale_until_forgotten(arch, "Stale", |rig| rig.set_page(rig.page(R)));
    }
}

#[test]
fn another_address_is_stale() {
    for arch in [Arch::Riscv, Arch::Ept, Arch::Npt] {
        stale_until_forgotten(arch, "Stale", |rig| {
            rig.set_page(arch.leaf(0, DATA + 0x1000, RW));
        });
    }
}

#[test]
fn another_memory_type_is_stale() {
    for arch in [Arch::Riscv, Arch::Ept, Arch::Npt] {
        stale_until_forgotten(arch, "Stale", |rig| {
            rig.set_page(arch.uncached(rig.page(RW)));
        });
    }
}

#[test]
fn an_unmapped_block_is_stale_all_over() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.set(TABLE_1 + 8, arch.leaf(1, DATA, RW));
        rig.machine
            .touch(1, rig.register, GuestPhysAddr::new(0x3f_f000));
        rig.set(TABLE_1 + 8, 0);
        let found = rig.check();
        assert!(
            matches!(found[..], [Violation::Stale { cpu: 1, .. }]),
            "{found:?}"
        );
        rig.forget();
        rig.assert_clean();
    }
}

#[test]
fn both_cpus_are_compared() {
    for arch in [Arch::Riscv, Arch::Ept, Arch::Npt] {
        let rig = Rig::new(arch);
        rig.touch();
        rig.set_page(0);
        rig.machine.execute(0, &arch.forget(rig.register));
        let found = rig.check();
        assert!(!found.is_empty());
        let on_cpu_1 = |found: &Violation| matches!(found, Violation::Stale { cpu: 1, .. });
        assert!(found.iter().all(on_cpu_1), "{found:?}");
    }
}

#[test]
fn a_store_after_the_invalidation_is_noticed() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.touch();
        rig.forget();
        rig.set_page(0);
        assert_eq!(names(&rig.check()), ["Stale"], "{arch:?}");
    }
}

/// RISC-V without Svvptc may cache that nothing was there; the others never do.
#[test]
fn a_fresh_mapping() {
    let expected = [
        (Arch::Riscv, vec!["Spurious"]),
        (Arch::Aarch64, vec![]),
        (Arch::Ept, vec![]),
        (Arch::Npt, vec![]),
    ];
    for (arch, expected) in expected {
        let rig = Rig::new(arch);
        rig.set_page(0);
        rig.touch();
        rig.set_page(rig.page(RW));
        assert_eq!(names(&rig.check()), expected, "{arch:?}");
        rig.forget();
        rig.assert_clean();
    }
    let rig = Rig::with_model(Arch::Riscv, Box::new(RiscvTlb::new(2, 14, true)));
    rig.set_page(0);
    rig.touch();
    rig.set_page(rig.page(RW));
    rig.assert_clean();
}

/// A raised permission may wait on x86 only: the fault that it costs drops the translation.
#[test]
fn a_raised_permission() {
    let gpa = GuestPhysAddr::new(GPA);
    for (arch, attempts) in [
        (Arch::Riscv, 3),
        (Arch::Aarch64, 3),
        (Arch::Ept, 1),
        (Arch::Npt, 1),
    ] {
        let rig = Rig::new(arch);
        rig.set_page(rig.page(R));
        rig.touch();
        rig.set_page(rig.page(RW));
        let found = names(&rig.check());
        assert_eq!(found.is_empty(), arch.is_x86(), "{arch:?}: {found:?}");
        let write = || rig.machine.access(0, rig.register, gpa, Permissions::WRITE);
        for _ in 0..attempts {
            assert_eq!(write(), Access::Fault, "{arch:?}");
        }
        if !arch.is_x86() {
            rig.forget();
        }
        assert_eq!(
            write(),
            Access::Allowed(HostPhysAddr::new(DATA)),
            "{arch:?}"
        );
        assert_eq!(rig.violations.take(), []);
    }
}

#[test]
fn an_access_through_a_stale_translation_is_reported() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        let gpa = GuestPhysAddr::new(GPA + 0x123);
        let write = || rig.machine.access(1, rig.register, gpa, Permissions::WRITE);
        assert_eq!(write(), Access::Allowed(HostPhysAddr::new(DATA + 0x123)));
        assert_eq!(rig.violations.take(), []);
        rig.set_page(0);
        assert_eq!(write(), Access::Fault);
        assert_eq!(names(&rig.violations.take()), ["Stale"], "{arch:?}");
    }
}

/// A table that is unlinked does no harm while it says the same as the tables or nothing; it does
/// when it is given back, and when its memory gets other contents.
#[test]
fn an_unlinked_table_is_used_as_it_is_now() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.set_page(0);
        rig.touch();
        rig.set(TABLE_1, 0);
        rig.assert_clean();
        rig.set_page(rig.page(R));
        let found = rig.check();
        let through_table = |found: &Violation| {
            matches!(
                found,
                Violation::Stale {
                    source: Source::TableEntry(1),
                    ..
                }
            )
        };
        assert!(found.iter().any(through_table), "{arch:?}: {found:?}");
        rig.machine.before_free(range(TABLE_0, 0x1000));
        assert_eq!(names(&rig.violations.take()), ["FreedWhileTable"]);
        rig.forget();
        rig.machine.before_free(range(TABLE_0, 0x1000));
        rig.assert_clean();
    }
}

/// A pointer high up leads to everything below it, long after the lower entries were forgotten.
#[test]
fn an_unlinked_upper_table_is_used_too() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.touch();
        rig.set(rig.level_2(), 0);
        rig.set_page(0);
        rig.forget();
        rig.assert_clean();
        rig.set(rig.level_2(), arch.pointer(TABLE_1));
        rig.forget();
        rig.touch();
        rig.set(rig.level_2(), 0);
        rig.set(TABLE_1, arch.pointer(SPARE));
        rig.set(SPARE + 5 * 8, arch.leaf(0, DATA, R));
        let found = rig.check();
        let through_table = |found: &Violation| {
            matches!(
                found,
                Violation::Stale {
                    source: Source::TableEntry(2),
                    ..
                }
            )
        };
        assert!(found.iter().any(through_table), "{arch:?}: {found:?}");
        rig.forget();
        rig.assert_clean();
    }
}

#[test]
fn memory_given_back_too_early() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.touch();
        for (base, expected) in [
            (DATA, "FreedWhileMapped"),
            (TABLE_0, "FreedWhileTable"),
            (TABLE_1, "FreedWhileTable"),
            (ROOT, "FreedWhileRoot"),
        ] {
            rig.machine.before_free(range(base, 0x1000));
            let found = names(&rig.violations.take());
            assert_eq!(found, [expected], "{arch:?} {base:#x}");
        }
        rig.machine.before_free(range(DATA + 0x1000, 0x1000));
        rig.machine.before_free(range(SPARE, 0x1000));
        rig.set(ROOT, 0);
        rig.machine.retire(rig.register);
        rig.forget();
        for base in [DATA, TABLE_0, TABLE_1, ROOT] {
            rig.machine.before_free(range(base, 0x1000));
        }
        assert_eq!(rig.violations.take(), [], "{arch:?}");
    }
}

/// A VMID that gets another table finds the old one's translations. The EPT's tag is the root, so
/// there it takes the same root again.
#[test]
fn a_recycled_address_space_id() {
    for arch in ARCHES {
        let rig = Rig::new(arch);
        rig.touch();
        rig.machine.retire(rig.register);
        rig.set(ROOT, 0);
        let next = match arch {
            Arch::Ept => rig.register,
            _ => arch.register(OTHER_ROOT, 3),
        };
        rig.assert_clean();
        rig.machine.touch(0, next, GuestPhysAddr::new(0));
        assert_eq!(names(&rig.check()), ["Stale"], "{arch:?}");
        rig.forget();
        rig.assert_clean();
        if !arch.is_x86() {
            rig.machine
                .touch(0, arch.register(OTHER_ROOT, 4), GuestPhysAddr::new(0));
            rig.assert_clean();
        }
    }
}

#[test]
fn a_foreign_instruction_is_refused() {
    let invept = TlbInstruction::Invept {
        kind: 2,
        descriptor: [0, 0],
    };
    let hfence = TlbInstruction::HfenceGvma {
        rs1: None,
        rs2: None,
    };
    for (arch, foreign) in [
        (Arch::Riscv, invept),
        (Arch::Aarch64, invept),
        (Arch::Ept, hfence),
        (Arch::Npt, invept),
    ] {
        let rig = Rig::new(arch);
        rig.run(&[foreign]);
        assert_eq!(names(&rig.violations.take()), ["UnknownInstruction"]);
    }
}
