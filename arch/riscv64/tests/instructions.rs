//! The exact fences for representative requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use nested_page_table::{
    AddressSpaceId, Change, Format, InvalidatedRange, Invalidation, Level, Scope,
};
use nested_paging_riscv64::{Capabilities, GStage, Instruction, Mode, fence_i};

fn format() -> GStage {
    GStage::new(Mode::Sv48x4, Capabilities::common()).unwrap()
}

fn space() -> AddressSpaceId {
    let root_register = format().root_register(HostPhysAddr::new(0x8000_0000), 7);
    AddressSpaceId {
        vmid: 7,
        root_register,
    }
}

fn range(start: u64, size: u64, level: Option<Level>, tables: bool) -> Vec<Instruction> {
    let range = GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap();
    let change = Change::Removed;
    let changed = InvalidatedRange {
        range,
        level,
        tables,
        change,
    };
    let request = Invalidation::range(space(), Scope::AllCpus, changed);
    format().instructions(&request).collect()
}

fn fence(rs1: Option<u64>) -> Instruction {
    Instruction::HfenceGvma { rs1, rs2: Some(7) }
}

/// The whole VMID: rs1 is the register x0, not a register that holds zero.
fn whole() -> Vec<Instruction> {
    vec![fence(None)]
}

/// Peers execute HFENCE.VVMA, or pass addresses unshifted; H's n/v note: registers of value zero.
#[test]
fn peer_bug_r2_one_leaf_is_one_fence_at_the_address_shifted_by_two() {
    assert_eq!(
        range(0x1000, 0x1000, Some(Level::PAGE_4K), false),
        [fence(Some(0x400))]
    );
    assert_eq!(
        range(0, 0x1000, Some(Level::PAGE_4K), false),
        [fence(Some(0))]
    );
    assert_eq!(
        range(0x4000_0000, 1 << 30, Some(Level::BLOCK_1G), false),
        [fence(Some(0x1000_0000))]
    );
}

#[test]
fn a_range_takes_one_fence_for_each_leaf() {
    let fences = range(0x20_0000, 3 << 21, Some(Level::BLOCK_2M), false);
    let expected = [0x20_0000, 0x40_0000, 0x60_0000].map(|gpa: u64| fence(Some(gpa / 4)));
    assert_eq!(fences, expected);
    let unknown = range(0x20_0000, 0x2000, None, false);
    assert_eq!(unknown, [fence(Some(0x8_0000)), fence(Some(0x8_0400))]);
}

#[test]
fn a_range_that_is_not_aligned_fences_every_leaf_it_touches() {
    let fences = range(0x3f_f000, 0x2000, Some(Level::BLOCK_2M), false);
    assert_eq!(fences, [fence(Some(0x8_0000)), fence(Some(0x10_0000))]);
}

#[test]
fn more_than_64_leaves_fence_the_whole_vmid() {
    let pages = |count: u64| range(0x8000_0000, count << 12, Some(Level::PAGE_4K), false);
    assert_eq!(GStage::MAX_ADDRESS_FENCES, 64);
    let last = fence(Some((0x8000_0000 + 63 * 0x1000) / 4));
    assert_eq!((pages(64).len(), pages(64).last()), (64, Some(&last)));
    assert_eq!(pages(65), whole());
    assert_eq!(range(0, u64::MAX, None, false), whole());
    assert_eq!(range(0, 1 << 21, None, false), whole());
}

/// A fence by address covers leaf entries only.
#[test]
fn a_changed_table_fences_the_whole_vmid() {
    assert_eq!(range(0x1000, 0x1000, None, true), whole());
    assert_eq!(range(0x1000, 0x1000, Some(Level::PAGE_4K), true), whole());
}

#[test]
fn everything_fences_the_whole_vmid() {
    for scope in [Scope::Local, Scope::AllCpus] {
        let request = Invalidation::everything(space(), scope);
        let fences: Vec<_> = format().instructions(&request).collect();
        assert_eq!(fences, whole());
    }
}

#[test]
fn the_last_page_of_all_is_fenced() {
    let fences = range(u64::MAX - 0xfff, 0x1000, Some(Level::PAGE_4K), false);
    assert_eq!(fences, [fence(Some(0x3fff_ffff_ffff_fc00))]);
}

/// Bits of rs2 above the machine's VMID are to be zero.
#[test]
fn the_vmid_has_only_the_bits_of_the_machine() {
    let narrow = GStage::new(Mode::Sv39x4, Capabilities::new().with_vmid_bits(2)).unwrap();
    let request = Invalidation::everything(space(), Scope::Local);
    let fences: Vec<_> = narrow.instructions(&request).collect();
    assert_eq!(
        fences,
        [Instruction::HfenceGvma {
            rs1: None,
            rs2: Some(3)
        }]
    );
}

/// A fence that silently did nothing would leave translations that its caller believes to be gone.
#[test]
#[should_panic = "nested-paging-riscv64 executes instructions on bare-metal RISC-V only"]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn a_hosted_program_that_executes_a_fence_ends_with_a_message() {
    let request = Invalidation::everything(space(), Scope::Local);
    // SAFETY: nothing is executed here.
    unsafe { format().invalidate(&request) };
}

#[test]
#[should_panic = "nested-paging-riscv64 executes instructions on bare-metal RISC-V only"]
#[expect(unsafe_code, reason = "the instructions are unsafe to execute")]
fn a_hosted_program_that_synchronises_instructions_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    unsafe { fence_i() };
}

#[test]
#[should_panic = "nested-paging-riscv64 executes instructions on bare-metal RISC-V only"]
#[expect(unsafe_code, reason = "detection is unsafe")]
fn a_hosted_program_that_detects_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    let _ = unsafe { Capabilities::detect() };
}
