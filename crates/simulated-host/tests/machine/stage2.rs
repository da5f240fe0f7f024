//! TLBI, DSB, ISB and VTTBR_EL2: what each of them is needed for, and break-before-make.

use crate::common::{
    Arch, DATA, GPA, OTHER_ROOT, R, RW, Rig, SPARE, SPARE_1, TABLE_0, TABLE_1, names,
    stage2_sequence,
};
use guest_addr::GuestPhysAddr;
use simulated_host::{Dsb, Source, Stage2Tlb, TlbInstruction, Tlbi, Violation};

const LEVEL_3: u64 = 0b0111 << 44;
const LEVEL_2: u64 = 0b0110 << 44;

fn touched() -> Rig {
    let rig = Rig::new(Arch::Aarch64);
    rig.touch();
    rig
}

fn unmapped() -> Rig {
    let rig = touched();
    rig.set_page(0);
    rig
}

/// IPAS2E1IS and VMALLE1IS for the page, as KVM does it.
fn right() -> Vec<TlbInstruction> {
    let operations = [(Tlbi::Ipas2E1Is, GPA >> 12), (Tlbi::VmallE1Is, 0)];
    stage2_sequence(Rig::new(Arch::Aarch64).register, &operations)
}

fn found_after(instructions: &[TlbInstruction]) -> Vec<Violation> {
    let rig = unmapped();
    rig.run(instructions);
    rig.check()
}

#[test]
fn the_right_sequence_is_enough() {
    assert_eq!(found_after(&right()), []);
}

#[test]
fn without_any_one_instruction_something_is_wrong() {
    let expected: [(usize, &[&str]); 9] = [
        (0, &["StoresNotOrdered"]),
        // Without the VMID, it is that of another address space.
        (1, &["Stale"]),
        (2, &["Stale", "VttbrNotSynchronised"]),
        (3, &["Stale"]),
        // Both take effect at the second DSB, the combined entry first: it comes back.
        (4, &["Stale"]),
        (5, &["Stale"]),
        (6, &["NotCompleted", "Stale"]),
        (7, &["VttbrNotRestored"]),
        // The exception return to the guest synchronises the context.
        (8, &[]),
    ];
    assert_eq!(right().len(), expected.len());
    for (index, expected) in expected {
        let mut instructions = right();
        let removed = instructions.remove(index);
        let found = found_after(&instructions);
        assert_eq!(names(&found), expected, "without {removed:?}: {found:?}");
    }
}

#[test]
fn tlbi_by_ipa_leaves_combined_entries() {
    let register = touched().register;
    let found = found_after(&stage2_sequence(register, &[(Tlbi::Ipas2E1Is, GPA >> 12)]));
    let combined = |found: &Violation| {
        matches!(
            found,
            Violation::Stale {
                source: Source::Combined,
                ..
            }
        )
    };
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(combined), "{found:?}");
}

#[test]
fn each_operation_has_its_reach() {
    let page = GPA >> 12;
    let tail = (Tlbi::VmallE1Is, 0);
    let range = |first: u64, num: u64, scale: u64, ttl: u64| {
        1 << 46 | scale << 44 | num << 39 | ttl << 37 | first
    };
    let cases: [(&[(Tlbi, u64)], bool); 19] = [
        (&[(Tlbi::VmallS12E1Is, 0)], true),
        (&[(Tlbi::AllE1Is, 0)], true),
        (&[(Tlbi::Ipas2E1Is, page | LEVEL_3), tail], true),
        (&[(Tlbi::Ipas2Le1Is, page), tail], true),
        (&[(Tlbi::Ripas2E1Is, range(4, 0, 0, 0)), tail], true),
        (&[(Tlbi::Ripas2E1Is, range(4, 0, 0, 3)), tail], true),
        (&[(Tlbi::Ripas2E1Is, range(0, 2, 0, 0)), tail], true),
        (&[(Tlbi::Ripas2E1Is, range(0, 0, 1, 0)), tail], true),
        (&[(Tlbi::Ripas2E1Is, range(0, 1, 0, 0)), tail], false),
        (&[(Tlbi::Ripas2E1Is, range(6, 31, 3, 0)), tail], false),
        (&[(Tlbi::Ripas2E1Is, range(0, 31, 3, 2)), tail], false),
        (&[(Tlbi::Ipas2E1Is, page + 1), tail], false),
        // The address unshifted.
        (&[(Tlbi::Ipas2E1Is, GPA), tail], false),
        (&[(Tlbi::Ipas2E1Is, page | LEVEL_2), tail], false),
        (&[(Tlbi::VmallE1Is, 0)], false),
        // One CPU only.
        (&[(Tlbi::VmallS12E1, 0)], false),
        (&[(Tlbi::AllE1, 0)], false),
        (&[(Tlbi::Ipas2E1, page), tail], false),
        (&[(Tlbi::Ipas2E1Is, page), (Tlbi::VmallE1, 0)], false),
    ];
    for (operations, right) in cases {
        let found = found_after(&stage2_sequence(touched().register, operations));
        let expected: &[&str] = if right { &[] } else { &["Stale"] };
        assert_eq!(names(&found), expected, "{operations:x?}: {found:?}");
    }
}

#[test]
fn operands_that_invalidate_nothing_are_reported() {
    for (operation, xt) in [
        (Tlbi::Ipas2E1Is, GPA >> 12 | 0b1011 << 44),
        (Tlbi::Ripas2E1Is, 0),
        (Tlbi::Ripas2E1Is, 2 << 46),
        // A hint of level 2 with an address that no block there has.
        (Tlbi::Ripas2E1Is, 1 << 46 | 2 << 37 | 1),
    ] {
        let found = found_after(&stage2_sequence(touched().register, &[(operation, xt)]));
        assert_eq!(
            names(&found),
            ["ReservedOperand", "Stale"],
            "{operation:?} {xt:#x}"
        );
    }
}

#[test]
fn the_vmid_decides() {
    let other = Arch::Aarch64.register(OTHER_ROOT, 4);
    let found = found_after(&stage2_sequence(other, &[(Tlbi::VmallS12E1Is, 0)]));
    assert_eq!(names(&found), ["Stale"]);
    // The root does not.
    let same = Arch::Aarch64.register(OTHER_ROOT, 3);
    let found = found_after(&stage2_sequence(same, &[(Tlbi::VmallS12E1Is, 0)]));
    assert_eq!(found, []);
}

#[test]
fn vmids_of_eight_bits_ignore_the_rest() {
    let rig = Rig::with_model(Arch::Aarch64, Box::new(Stage2Tlb::new(1, 8)));
    rig.touch();
    rig.set_page(0);
    let other = Arch::Aarch64.register(OTHER_ROOT, 0x103);
    rig.run(&stage2_sequence(other, &[(Tlbi::VmallS12E1Is, 0)]));
    rig.assert_clean();
}

#[test]
fn a_local_sequence_serves_one_cpu() {
    let rig = Rig::with_model(Arch::Aarch64, Box::new(Stage2Tlb::new(1, 16)));
    rig.touch();
    rig.set_page(0);
    rig.run(&[
        TlbInstruction::Dsb(Dsb::NshSt),
        TlbInstruction::WriteVttbr(rig.register),
        TlbInstruction::Isb,
        TlbInstruction::Tlbi {
            operation: Tlbi::VmallS12E1,
            xt: 0,
        },
        TlbInstruction::Dsb(Dsb::Nsh),
        TlbInstruction::RestoreVttbr,
        TlbInstruction::Isb,
    ]);
    // Walkers of other CPUs may not see the store yet, which a local operation need not wait for.
    rig.assert_clean();
}

/// VTCR_EL2 is written before VTTBR_EL2 each time, and one ISB serves both.
#[test]
fn the_other_machines_vtcr_is_switched_to_and_back() {
    let vtcr = 0x8002_3558;
    let register = Rig::new(Arch::Aarch64).register;
    let operations = [(Tlbi::VmallS12E1Is, 0)];
    let mut right = stage2_sequence(register, &operations);
    right.insert(1, TlbInstruction::WriteVtcr(vtcr));
    right.insert(right.len() - 2, TlbInstruction::WriteVtcr(0));
    let found = |removed: Option<usize>| {
        let model = Stage2Tlb::new(1, 16).with_vtcr(vtcr);
        let rig = Rig::with_model(Arch::Aarch64, Box::new(model));
        rig.touch();
        rig.set_page(0);
        let mut instructions = right.clone();
        removed.map(|index| instructions.remove(index));
        rig.run(&instructions);
        names(&rig.check())
    };
    assert_eq!(found(None), [""; 0]);
    assert_eq!(found(Some(1)), ["WrongVtcr"]);
    assert_eq!(found(Some(right.len() - 3)), ["VtcrNotRestored"]);
}

/// The DSB of the errata waits for nothing of its own broadcast, and for everything of the one before.
#[test]
fn late_completion_takes_another_broadcast() {
    let register = Rig::new(Arch::Aarch64).register;
    let found = |operations: &[(Tlbi, u64)]| {
        let model = Stage2Tlb::new(1, 16).with_late_completion();
        let rig = Rig::with_model(Arch::Aarch64, Box::new(model));
        rig.touch();
        rig.set_page(0);
        rig.run(&stage2_sequence(register, operations));
        names(&rig.check())
    };
    let (page, stage_1) = ((Tlbi::Ipas2E1Is, GPA >> 12), (Tlbi::VmallE1Is, 0));
    assert_eq!(found(&[page, stage_1]), ["Stale"]);
    assert_eq!(found(&[page, stage_1, (Tlbi::ValE2Is, 0)]), [""; 0]);
    assert_eq!(found(&[(Tlbi::VmallS12E1Is, 0)]), ["Stale"]);
    assert_eq!(found(&[(Tlbi::VmallS12E1Is, 0), stage_1]), [""; 0]);
    // What stays on the CPU is complete at once, and repeats no broadcast.
    assert_eq!(found(&[(Tlbi::VmallS12E1, 0)]), [""; 0]);
}

#[test]
fn a_broadcast_needs_barriers_of_its_domain() {
    let mut weak = right();
    weak[0] = TlbInstruction::Dsb(Dsb::NshSt);
    assert_eq!(names(&found_after(&weak)), ["StoresNotOrdered"]);
    let mut weak = right();
    weak[6] = TlbInstruction::Dsb(Dsb::Nsh);
    assert_eq!(names(&found_after(&weak)), ["NotCompleted", "Stale"]);
    let mut weak = right();
    weak[6] = TlbInstruction::Dsb(Dsb::IshSt);
    assert_eq!(names(&found_after(&weak)), ["NotCompleted", "Stale"]);
}

/// A table entry is remembered for every page below it: all of them have to be named.
#[test]
fn an_unlinked_table_needs_its_whole_range() {
    let tail = (Tlbi::VmallE1Is, 0);
    let whole = 1 << 46 | 7 << 39 | 1 << 44;
    for (operation, right) in [
        ((Tlbi::Ipas2E1Is, 0), false),
        ((Tlbi::Ripas2Le1Is, whole), false),
        ((Tlbi::Ripas2E1Is, whole), true),
    ] {
        let rig = Rig::new(Arch::Aarch64);
        rig.set_page(0);
        rig.touch();
        rig.set(TABLE_1, 0);
        rig.run(&stage2_sequence(rig.register, &[operation, tail]));
        rig.assert_clean();
        rig.set(TABLE_0 + 511 * 8, rig.page(R));
        assert_eq!(rig.check().is_empty(), right, "{operation:x?}");
    }
}

fn broken(change: impl Fn(&Rig)) -> Vec<String> {
    let rig = touched();
    change(&rig);
    // The software invalidates afterwards, so that nothing is stale in the end.
    rig.forget();
    names(&rig.check())
}

#[test]
fn valid_entries_must_be_broken_first() {
    let arch = Arch::Aarch64;
    let other_address = |rig: &Rig| rig.set_page(arch.leaf(0, DATA + 0x1000, RW));
    let other_type = |rig: &Rig| rig.set_page(arch.uncached(rig.page(RW)));
    let table_to_block = |rig: &Rig| rig.set(TABLE_1, arch.leaf(1, DATA, RW));
    let other_table = |rig: &Rig| rig.set(TABLE_1, arch.pointer(SPARE));
    assert_eq!(broken(other_address), ["BreakBeforeMake"]);
    assert_eq!(broken(other_type), ["BreakBeforeMake"]);
    assert_eq!(broken(table_to_block), ["BreakBeforeMake"]);
    assert_eq!(broken(other_table), ["BreakBeforeMake"]);
    assert_eq!(broken(|rig| rig.set_page(rig.page(R))), [""; 0]);
    assert_eq!(broken(|rig| rig.set_page(0)), [""; 0]);
}

#[test]
fn an_empty_table_must_be_broken_before_a_block_replaces_it() {
    let arch = Arch::Aarch64;
    let rig = Rig::new(arch);
    rig.set_page(0);
    rig.touch();
    rig.set(TABLE_1, arch.leaf(1, DATA, RW));
    rig.forget();
    assert_eq!(names(&rig.check()), ["BreakBeforeMake"]);
    let rig = Rig::new(arch);
    rig.set_page(0);
    rig.touch();
    rig.set(TABLE_1, 0);
    rig.forget();
    rig.set(TABLE_1, arch.leaf(1, DATA, RW));
    rig.touch();
    rig.assert_clean();
}

#[test]
fn a_split_must_break_the_block() {
    let arch = Arch::Aarch64;
    for breaks in [false, true] {
        let rig = Rig::new(arch);
        let entry = TABLE_1 + 8;
        rig.set(entry, arch.leaf(1, DATA, RW));
        rig.machine
            .touch(0, rig.register, GuestPhysAddr::new(0x20_0000));
        for page in 0..512 {
            rig.set(SPARE_1 + page * 8, arch.leaf(0, DATA + page * 0x1000, RW));
        }
        if breaks {
            rig.set(entry, 0);
            rig.forget();
        }
        rig.set(entry, arch.pointer(SPARE_1));
        rig.forget();
        let expected: &[&str] = if breaks { &[] } else { &["BreakBeforeMake"] };
        assert_eq!(names(&rig.check()), expected);
    }
}
