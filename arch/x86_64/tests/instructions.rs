//! The exact instructions for representative requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use nested_page_table::{
    AddressSpaceId, Change, Format, InvalidatedRange, Invalidation, Level, Scope,
};
use nested_paging_x86_64::{Capabilities, Ept, Instruction, Mode};

const EPTP: u64 = 0x1234_501e;

fn format(capabilities: Capabilities) -> Ept {
    Ept::new(Mode::Ept4, capabilities).unwrap()
}

fn space() -> AddressSpaceId {
    let root = HostPhysAddr::new(0x1234_5000);
    let root_register = format(Capabilities::common()).root_register(root, 9);
    AddressSpaceId {
        vmid: 9,
        root_register,
    }
}

fn range(size: u64, tables: bool, change: Change) -> Vec<Instruction> {
    let range = GuestPhysRange::from_start_size(GuestPhysAddr::ZERO, size).unwrap();
    let level = (!tables).then_some(Level::PAGE_4K);
    let changed = InvalidatedRange {
        range,
        level,
        tables,
        change,
    };
    let request = Invalidation::range(space(), Scope::AllCpus, changed);
    format(Capabilities::common())
        .instructions(&request)
        .collect()
}

/// Peers execute INVLPG or reload CR3, which concern the host's own page tables.
#[test]
fn peer_bug_x1_removed_mappings_take_one_invept_of_the_context() {
    let single = [Instruction::InveptSingle { eptp: EPTP }];
    for size in [0x1000, 1 << 30, u64::MAX] {
        for tables in [false, true] {
            assert_eq!(range(size, tables, Change::Removed), single);
        }
    }
    // Not demanded, but done where somebody asks: it saves the guest one violation.
    assert_eq!(range(0x1000, false, Change::Raised), single);
}

#[test]
fn fresh_mappings_take_nothing() {
    assert_eq!(range(0x1000, false, Change::Fresh), []);
    assert_eq!(range(0x1000, true, Change::Fresh), []);
}

#[test]
fn everything_takes_one_invept_of_the_context() {
    for scope in [Scope::Local, Scope::AllCpus] {
        let request = Invalidation::everything(space(), scope);
        let format = format(Capabilities::common());
        let instructions: Vec<_> = format.instructions(&request).collect();
        assert_eq!(instructions, [Instruction::InveptSingle { eptp: EPTP }]);
    }
}

#[test]
fn a_machine_without_single_context_invept_forgets_all_contexts() {
    let request = Invalidation::everything(space(), Scope::Local);
    let format = format(Capabilities::new());
    let instructions: Vec<_> = format.instructions(&request).collect();
    assert_eq!(instructions, [Instruction::InveptAll]);
}

#[test]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn off_the_target_executing_does_nothing() {
    let request = Invalidation::everything(space(), Scope::Local);
    // SAFETY: off bare-metal x86-64 nothing is executed.
    unsafe { format(Capabilities::common()).invalidate(&request) };
}
