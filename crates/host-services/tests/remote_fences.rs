//! Requests as calls of the firmware. (SBI 2.0, chapter "RFENCE Extension".)

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use guest_addr::{GuestPhysAddr, GuestPhysRange};
use host_services::sbi::{Call, HartMask, remote_fence_i, remote_fences};
use nested_page_table::{AddressSpaceId, Change, InvalidatedRange, Invalidation, Level, Scope};

const SPACE: AddressSpaceId = AddressSpaceId {
    vmid: 0x123,
    root_register: 0x8123_0000_0008_0000,
};
const HARTS: HartMask = HartMask {
    base: 4,
    bits: 0b101,
};

fn changed(start: u64, size: u64, tables: bool) -> InvalidatedRange {
    InvalidatedRange {
        range: GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap(),
        level: (!tables).then_some(Level::PAGE_4K),
        tables,
        change: Change::Removed,
    }
}

fn calls(request: &Invalidation) -> Vec<Call> {
    remote_fences(request, HARTS).collect()
}

const fn fence(start: u64, size: u64) -> Call {
    Call {
        extension: 0x5246_4e43,
        function: 3,
        arguments: [0b101, 4, start, size, 0x123],
    }
}

#[test]
fn a_range_of_leaves_is_fenced_by_address() {
    let request = Invalidation::range(SPACE, Scope::AllCpus, changed(0x8000_3000, 0x5000, false));
    assert_eq!(calls(&request), [fence(0x8000_3000, 0x5000)]);
}

#[test]
fn tables_and_requests_for_everything_fence_the_whole_vmid() {
    let tables = Invalidation::range(SPACE, Scope::AllCpus, changed(0x8000_0000, 0x20_0000, true));
    let everything = Invalidation::everything(SPACE, Scope::AllCpus);
    for request in [tables, everything] {
        assert_eq!(calls(&request), [fence(0, 0)]);
    }
}

#[test]
fn instructions_are_fenced_without_addresses() {
    let call = Call {
        extension: 0x5246_4e43,
        function: 0,
        arguments: [0b101, 4, 0, 0, 0],
    };
    assert_eq!(remote_fence_i(HARTS), call);
}

#[test]
fn a_mask_holds_harts_less_than_64_apart() {
    let mask = |base, bits| Some(HartMask { base, bits });
    assert_eq!(HartMask::of([]), None);
    assert_eq!(HartMask::of([5]), mask(5, 1));
    assert_eq!(HartMask::of([6, 4]), mask(4, 0b101));
    assert_eq!(HartMask::of([4, 6, 4]), mask(4, 0b101));
    assert_eq!(HartMask::of([64, 1]), mask(1, 1 << 63 | 1));
    assert_eq!(HartMask::of([1, 64]), mask(1, 1 << 63 | 1));
    assert_eq!(HartMask::of([0, 64]), None);
    assert_eq!(HartMask::of([64, 0]), None);
    assert_eq!(HartMask::of([70, 60, 2]), None);
    assert_eq!(HartMask::of([0, u64::MAX]), None);
    assert_eq!(HartMask::of([u64::MAX]), mask(u64::MAX, 1));
}
