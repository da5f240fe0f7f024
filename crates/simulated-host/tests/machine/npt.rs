//! VMRUN with each ASID and TLB_CONTROL, and INVLPGA.

use guest_addr::GuestPhysAddr;

use crate::common::{ASID, Arch, GPA, OTHER_ROOT, ROOT, Rig, names};
use simulated_host::{NptTlb, TlbInstruction};

fn unmapped() -> Rig {
    let rig = Rig::with_model(Arch::Npt, Box::new(NptTlb::new(1, |_| ASID)));
    rig.touch();
    rig.set_page(0);
    rig
}

fn vmrun(asid: u32, tlb_control: u8) -> TlbInstruction {
    TlbInstruction::Vmrun { asid, tlb_control }
}

#[test]
fn only_the_right_asid_or_all() {
    let invlpga = TlbInstruction::Invlpga {
        address: GPA,
        asid: ASID,
    };
    let cases = [
        (vmrun(ASID, 3), true),
        (vmrun(ASID, 1), true),
        (vmrun(ASID + 1, 1), true),
        (vmrun(ASID + 1, 3), false),
        (vmrun(ASID, 0), false),
        // A global page of the guest keeps the combined translation.
        (vmrun(ASID, 7), false),
        // It takes a guest-virtual address, not this one.
        (invlpga, false),
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
fn a_vmrun_that_fails_forgets_nothing() {
    for (asid, tlb_control) in [(0, 1), (0, 3), (ASID, 2), (ASID, 4), (ASID, 5), (ASID, 8)] {
        let rig = unmapped();
        rig.run(&[vmrun(asid, tlb_control)]);
        let found = names(&rig.check());
        assert_eq!(found, ["ReservedOperand", "Stale"], "{asid} {tlb_control}");
    }
}

/// Two guests with one ASID find each other's translations; with two they do not.
#[test]
fn the_asid_alone_is_the_tag() {
    for (other, stale) in [(ASID, true), (ASID + 1, false)] {
        let asid_of = move |n_cr3| if n_cr3 == OTHER_ROOT { other } else { ASID };
        let rig = Rig::with_model(Arch::Npt, Box::new(NptTlb::new(1, asid_of)));
        rig.touch();
        rig.machine.retire(ROOT);
        rig.machine.touch(0, OTHER_ROOT, GuestPhysAddr::new(0));
        assert_eq!(!names(&rig.check()).is_empty(), stale, "{other}");
    }
}
