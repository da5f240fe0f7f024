//! HFENCE.GVMA with each combination of operands.

use crate::common::{Arch, DATA, GPA, R, RW, Rig, TABLE_0, TABLE_1, names};
use simulated_host::{RiscvTlb, Source, TlbInstruction, Violation};

fn hfence(rs1: Option<u64>, rs2: Option<u64>) -> [TlbInstruction; 1] {
    [TlbInstruction::HfenceGvma { rs1, rs2 }]
}

/// One hart, touched, with the page unmapped since.
fn unmapped() -> Rig {
    let rig = Rig::with_model(Arch::Riscv, Box::new(RiscvTlb::new(1, 14, false)));
    rig.touch();
    rig.set_page(0);
    rig
}

#[test]
fn each_operand_narrows() {
    let cases = [
        (None, None, true),
        (None, Some(3), true),
        (Some(GPA >> 2), None, true),
        (Some(GPA >> 2), Some(3), true),
        (Some((GPA | 0xffc) >> 2), Some(3), true),
        (None, Some(4), false),
        // The value 0 is a VMID and an address like any other.
        (None, Some(0), false),
        (Some(0), Some(3), false),
        (Some((GPA + 0x1000) >> 2), Some(3), false),
        (Some((GPA - 4) >> 2), Some(3), false),
        // The address unshifted, which is what SBI wants.
        (Some(GPA), Some(3), false),
        (Some(GPA >> 2), Some(4), false),
    ];
    for (rs1, rs2, right) in cases {
        let rig = unmapped();
        rig.run(&hfence(rs1, rs2));
        let found = rig.check();
        assert_eq!(found.is_empty(), right, "{rs1:?} {rs2:?}: {found:?}");
    }
}

#[test]
fn an_address_leaves_pointers_to_tables() {
    let rig = unmapped();
    rig.set(TABLE_1, 0);
    for gpa in (0..0x20_0000).step_by(0x1000) {
        rig.run(&hfence(Some(gpa >> 2), Some(3)));
    }
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
    assert!(
        !found.is_empty() && found.iter().all(through_table),
        "{found:?}"
    );
    rig.run(&hfence(None, Some(3)));
    rig.assert_clean();
}

/// Linking a table changes a non-leaf entry: that nothing was there is remembered all the same.
#[test]
fn an_address_leaves_the_absence_of_a_table_that_was_linked() {
    let rig = unmapped();
    rig.set_page(rig.page(RW));
    rig.set(TABLE_1, 0);
    rig.run(&hfence(None, Some(3)));
    rig.touch();
    rig.set(TABLE_1, Arch::Riscv.pointer(TABLE_0));
    rig.run(&hfence(Some(GPA >> 2), Some(3)));
    assert_eq!(names(&rig.check()), ["Spurious"]);
    rig.run(&hfence(None, Some(3)));
    rig.assert_clean();
}

#[test]
fn an_address_leaves_a_block_that_became_a_table() {
    let rig = unmapped();
    rig.set(TABLE_1, Arch::Riscv.leaf(1, DATA, RW));
    rig.run(&hfence(None, Some(3)));
    rig.touch();
    rig.set(TABLE_1, Arch::Riscv.pointer(TABLE_0));
    rig.run(&hfence(Some(0), Some(3)));
    assert_eq!(names(&rig.check()), ["Stale"]);
    rig.run(&hfence(None, Some(3)));
    rig.assert_clean();
}

#[test]
fn a_split_with_the_same_meaning_is_not_stale_until_a_part_changes() {
    let rig = unmapped();
    rig.set(TABLE_1, Arch::Riscv.leaf(1, DATA, RW));
    rig.run(&hfence(None, Some(3)));
    rig.touch();
    for page in 0..512 {
        let leaf = Arch::Riscv.leaf(0, DATA + page * 0x1000, RW);
        rig.set(TABLE_0 + page * 8, leaf);
    }
    rig.set(TABLE_1, Arch::Riscv.pointer(TABLE_0));
    rig.assert_clean();
    rig.set(TABLE_0 + 511 * 8, 0);
    let found = rig.check();
    let at_the_end = |found: &Violation| matches!(found, Violation::Stale { gpa, .. } if gpa.as_u64() == 0x1f_f000);
    assert!(
        !found.is_empty() && found.iter().all(at_the_end),
        "{found:?}"
    );
}

#[test]
fn a_spurious_fault_does_not_hide_a_stale_use() {
    let rig = unmapped();
    rig.set(TABLE_1, Arch::Riscv.leaf(1, DATA, R));
    rig.run(&hfence(None, Some(3)));
    rig.touch();
    rig.set(TABLE_0, Arch::Riscv.leaf(0, DATA, RW));
    rig.set(TABLE_1, Arch::Riscv.pointer(TABLE_0));
    let found = rig.check();
    assert!(
        matches!(found[..], [Violation::Stale { gpa, .. }] if gpa.as_u64() == 0x1000),
        "{found:?}"
    );
}

#[test]
fn vmids_are_as_wide_as_the_hart_has_them() {
    // VMIDLEN is 0: every address space has the same tag, and rs2 does not tell them apart.
    let rig = Rig::with_model(Arch::Riscv, Box::new(RiscvTlb::new(1, 0, false)));
    rig.touch();
    rig.set_page(0);
    rig.run(&hfence(None, Some(77)));
    rig.assert_clean();
}

#[test]
fn reserved_operand_bits_are_reported() {
    for (rs1, rs2) in [(Some(1 << 57), None), (None, Some(1 << 14))] {
        let rig = unmapped();
        rig.run(&hfence(rs1, rs2));
        assert_eq!(names(&rig.violations.take()), ["ReservedOperand"]);
    }
}
