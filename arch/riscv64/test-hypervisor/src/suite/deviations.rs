//! Where QEMU is known not to do what the manual says.

use core::sync::atomic::AtomicU64;

use test_hypervisor_kit::{Action, Deviation, Outcome, Surprise, Way};

pub(super) static DEVIATIONS: [Deviation; 2] = [
    Deviation {
        what: "QEMU 7.2 faults on guest-physical addresses in the upper half of an x4 mode",
        manual: "Privileged Architecture 20250508, \"Guest Physical Address Translation\": the address \
                 is zero-extended, and all of its 41, 50 or 59 bits are translated",
        explains: upper_half_faults,
        seen: AtomicU64::new(0),
    },
    Deviation {
        what: "QEMU (7.2 and 10.0) checks R for HLVX instead of X",
        manual: "Privileged Architecture 20250508, \"Hypervisor Virtual-Machine Load and Store \
                 Instructions\": execute permission takes the place of read permission",
        explains: hlvx_checks_read,
        seen: AtomicU64::new(0),
    },
];

fn upper_half_faults(surprise: &Surprise) -> bool {
    let upper_half = surprise.probe.address.as_u64() >> (surprise.input_bits - 1) == 1;
    upper_half && !is_fault(surprise.expected) && is_fault(surprise.hardware)
}

/// Where the two permissions differ, one answer is a fault and the other none.
fn hlvx_checks_read(surprise: &Surprise) -> bool {
    let Surprise {
        probe,
        expected,
        hardware,
        ..
    } = *surprise;
    let is_hlvx = probe.action == Action::Execute && probe.way == Way::Instruction;
    is_hlvx && is_fault(expected) != is_fault(hardware)
}

const fn is_fault(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fault(_))
}
