//! INVEPT with each type and descriptor.

use crate::common::{Arch, OTHER_ROOT, ROOT, Rig, names};
use simulated_host::{EptTlb, TlbInstruction};

fn unmapped() -> Rig {
    let rig = Rig::with_model(Arch::Ept, Box::new(EptTlb::new(1)));
    rig.touch();
    rig.set_page(0);
    rig
}

fn invept(kind: u64, descriptor: [u64; 2]) -> TlbInstruction {
    TlbInstruction::Invept { kind, descriptor }
}

#[test]
fn only_the_right_eptp_or_all() {
    let eptp = ROOT | 0x1e;
    let cases = [
        (invept(1, [eptp, 0]), true),
        (invept(2, [0, 0]), true),
        // The tag is the root's address alone: accessed and dirty flags are no part of it.
        (invept(1, [eptp | 1 << 6, 0]), true),
        (invept(1, [OTHER_ROOT | 0x1e, 0]), false),
        (TlbInstruction::Invvpid, false),
    ];
    for (instruction, right) in cases {
        let rig = unmapped();
        rig.run(&[instruction]);
        let found = names(&rig.check());
        let expected: &[&str] = if right { &[] } else { &["Stale"] };
        assert_eq!(found, expected, "{instruction:?}");
    }
}

#[test]
fn an_instruction_that_fails_forgets_nothing() {
    let eptp = ROOT | 0x1e;
    for (kind, descriptor) in [
        (0, [eptp, 0]),
        (3, [eptp, 0]),
        (1, [eptp, 1]),
        (2, [0, 1]),
        // The bare root, without memory type and walk length.
        (1, [ROOT, 0]),
        (1, [eptp | 1, 0]),
        (1, [eptp | 1 << 8, 0]),
    ] {
        let rig = unmapped();
        rig.run(&[invept(kind, descriptor)]);
        let found = names(&rig.check());
        assert_eq!(
            found,
            ["ReservedOperand", "Stale"],
            "{kind} {descriptor:#x?}"
        );
    }
}
