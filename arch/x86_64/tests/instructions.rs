//! The exact instructions for representative requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use nested_page_table::{
    AddressSpaceId, Change, Format, InvalidatedRange, Invalidation, InvalidationFailed, Level,
    Scope,
};
use nested_paging_x86_64::{Capabilities, Ept, Instruction, InstructionFailed, Mode, VmFail};

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

/// INVEPT types 1 and 2, and descriptors of the EPTP and a word of zero. (SDM 3C, "INVEPT".)
#[test]
fn operands_are_those_of_the_manual() {
    let single = Instruction::InveptSingle { eptp: EPTP };
    assert_eq!(single.operands(), (1, [0x1234_501e, 0]));
    assert_eq!(Instruction::InveptAll.operands(), (2, [0, 0]));
}

#[test]
fn a_failure_says_which_instruction_and_how() {
    let failed = |instruction, how| InstructionFailed { instruction, how };
    let single = failed(Instruction::InveptSingle { eptp: EPTP }, VmFail::Valid);
    assert_eq!(
        single.to_string(),
        "INVEPT of the EPTP 0x1234501e: VMfailValid (ZF is 1): VMCS field 4400H holds the reason"
    );
    let all = failed(Instruction::InveptAll, VmFail::Invalid);
    assert_eq!(
        all.to_string(),
        "INVEPT of all contexts: VMfailInvalid (CF is 1): there is no current VMCS"
    );
    assert_eq!(InvalidationFailed::from(single), InvalidationFailed);
}

/// An instruction that silently did nothing would leave translations that its caller believes to be
/// gone.
#[test]
#[should_panic = "nested-paging-x86-64 executes instructions on bare-metal x86-64 only"]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn a_hosted_program_that_invalidates_ends_with_a_message() {
    let request = Invalidation::everything(space(), Scope::Local);
    // SAFETY: nothing is executed here.
    let _ = unsafe { format(Capabilities::common()).invalidate(&request) };
}

#[test]
#[should_panic = "nested-paging-x86-64 executes instructions on bare-metal x86-64 only"]
#[expect(unsafe_code, reason = "detection is unsafe")]
fn a_hosted_program_that_detects_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    let _ = unsafe { Capabilities::detect() };
}
