//! The exact flushes for representative requests.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use nested_page_table::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Level, Scope};
use nested_paging_x86_64::npt::{Capabilities, Invlpga, Mode, Npt, TlbControl};

const SPACE: AddressSpaceId = AddressSpaceId {
    vmid: 9,
    root_register: 0x1234_5000,
};

fn format(capabilities: Capabilities) -> Npt {
    Npt::new(Mode::Npt4, capabilities).unwrap()
}

fn range(size: u64, tables: bool, change: Change) -> TlbControl {
    let range = GuestPhysRange::from_start_size(GuestPhysAddr::ZERO, size).unwrap();
    let changed = InvalidatedRange {
        range,
        level: (!tables).then_some(Level::PAGE_4K),
        tables,
        change,
    };
    let request = Invalidation::range(SPACE, Scope::AllCpus, changed);
    format(Capabilities::common()).tlb_control(&request)
}

/// Peers execute INVLPGA with a guest-physical address, which the TLB does not know.
#[test]
fn removed_mappings_take_a_flush_of_the_guest() {
    for size in [0x1000, 1 << 30, u64::MAX] {
        for tables in [false, true] {
            assert_eq!(range(size, tables, Change::Removed), TlbControl::Guest);
        }
    }
    // Not demanded, but done where somebody asks: it saves the guest one fault.
    assert_eq!(range(0x1000, false, Change::Raised), TlbControl::Guest);
}

#[test]
fn fresh_mappings_take_nothing() {
    assert_eq!(range(0x1000, false, Change::Fresh), TlbControl::Nothing);
    assert_eq!(range(0x1000, true, Change::Fresh), TlbControl::Nothing);
}

#[test]
fn a_machine_without_flush_by_asid_forgets_everything() {
    for scope in [Scope::Local, Scope::AllCpus] {
        let request = Invalidation::everything(SPACE, scope);
        let control = format(Capabilities::new()).tlb_control(&request);
        assert_eq!(control, TlbControl::All);
        let control = format(Capabilities::common()).tlb_control(&request);
        assert_eq!(control, TlbControl::Guest);
    }
}

/// APM vol. 2, 15.16.1: 00h nothing, 01h the entire TLB, 03h this guest's entries.
#[test]
fn the_bytes_are_those_of_the_manual_and_the_stronger_wins() {
    let all = [TlbControl::Nothing, TlbControl::Guest, TlbControl::All];
    assert_eq!(all.map(TlbControl::bits), [0, 3, 1]);
    for (one, weaker) in all.iter().enumerate() {
        for (other, control) in all.iter().enumerate() {
            assert_eq!(weaker.and(*control), all[one.max(other)]);
        }
    }
    assert_eq!(TlbControl::default(), TlbControl::Nothing);
}

#[test]
#[should_panic = "nested-paging-x86-64 executes instructions on bare-metal x86-64 only"]
#[expect(unsafe_code, reason = "the instruction is unsafe to execute")]
fn a_hosted_program_that_executes_invlpga_ends_with_a_message() {
    let invlpga = Invlpga {
        linear_address: 0x1000,
        asid: 1,
    };
    // SAFETY: nothing is executed here.
    unsafe { invlpga.execute() };
}

#[test]
#[should_panic = "nested-paging-x86-64 executes instructions on bare-metal x86-64 only"]
#[expect(unsafe_code, reason = "detection is unsafe")]
fn a_hosted_program_that_detects_ends_with_a_message() {
    // SAFETY: nothing is executed here.
    let _ = unsafe { Capabilities::detect() };
}
