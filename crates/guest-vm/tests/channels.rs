//! Channels that several machines share.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::*;
use guest_addr::GuestPhysRange;
use guest_vm::{GuestUse, IVC_DEVICE_TYPE, Vm, VmError};
use nested_page_table::{Format, MapError};
use simulated_host::{Failure, SimulatedHost};

const IVC: u64 = 0x4000_0000;
/// Where the peer maps a channel.
const PEER: u64 = 0x5000_0000;

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(gpa(start), size).unwrap()
}

fn machine<B: Backend>(host: &Arc<SimulatedHost>, vmid: u16) -> TestVm<B> {
    let mut config = config::<B>();
    config.vmid = vmid;
    config.emulated_regions = vec![
        // Whole pages of the range alone can hold channels.
        emulated(IVC + 0x800, 0x4000, IVC_DEVICE_TYPE),
        emulated(IVC + 0x2800, 0x100, 1),
    ];
    Vm::new(config, host.clone()).unwrap()
}

/// Every CPU sees all that the machine maps.
fn touch<F: Format>(vm: &Vm<F, Arc<SimulatedHost>>, host: &SimulatedHost) {
    host.machine()
        .touch_all(vm.address_space_id().root_register);
}

fn end<F: Format>(vm: Vm<F, Arc<SimulatedHost>>, host: &SimulatedHost) {
    host.machine().retire(vm.address_space_id().root_register);
    drop(vm);
}

fn read<F: Format>(vm: &Vm<F, Arc<SimulatedHost>>, address: u64) -> [u8; 5] {
    let mut bytes = [0; 5];
    vm.read_from_guest(gpa(address), &mut bytes).unwrap();
    bytes
}

fn channel_is_shared_with_a_peer<B: Backend>() {
    let host = host::<B>();
    let (owner, peer) = (machine::<B>(&host, 1), machine::<B>(&host, 2));
    let (guest, channel) = owner.alloc_ivc_channel(1).unwrap();
    assert_eq!(guest, range(IVC + 0x1000, 0x1000));
    assert_eq!(channel.size(), 0x1000);
    peer.map_ivc_channel(gpa(PEER), &channel, READ).unwrap();
    drop(channel);
    owner.write_to_guest(guest.start(), b"hello").unwrap();
    assert_eq!(&read(&peer, PEER), b"hello");
    assert_eq!(walk(&peer, &host, PEER).unwrap().1, permissions_of(READ));
    let hosts = [walk(&owner, &host, IVC + 0x1000), walk(&peer, &host, PEER)];
    assert_eq!(hosts[0].unwrap().0, hosts[1].unwrap().0);

    assert_eq!(
        owner.alloc_ivc_channel(0x1001).unwrap_err(),
        VmError::NoIvcSpace { size: 0x2000 }
    );
    let (second, _) = owner.alloc_ivc_channel(0x1000).unwrap();
    assert_eq!(second, range(IVC + 0x3000, 0x1000));
    let refused = VmError::IvcChannelInRange {
        requested: range(IVC, 0x4000),
        channel: guest,
    };
    assert_eq!(owner.unmap_region(gpa(IVC), 0x4000), Err(refused));
    assert_eq!(owner.protect_region(gpa(IVC), 0x4000, READ), Err(refused));
    assert!(peer.unmap_region(gpa(PEER), 0x1000).is_err());

    touch(&owner, &host);
    touch(&peer, &host);
    peer.release_ivc_channel(gpa(PEER)).unwrap();
    owner.release_ivc_channel(guest.start()).unwrap();
    let none = |address| Err(VmError::NoIvcChannel { address });
    assert_eq!(
        owner.release_ivc_channel(guest.start()),
        none(guest.start())
    );
    assert_eq!(peer.release_ivc_channel(gpa(PEER)), none(gpa(PEER)));
    assert_clean(&host);
    // A new channel there holds nothing of the old one.
    let (third, channel) = owner.alloc_ivc_channel(0x1000).unwrap();
    assert_eq!(third, guest);
    assert_eq!(read(&owner, IVC + 0x1000), [0; 5]);
    drop(channel);
    end(peer, &host);
    shut_down(owner, &host);
}

/// The owner released a channel, or was dropped, and its frames were free while the peer mapped them.
fn frames_stay_out_for_the_last_that_maps_them<B: Backend>() {
    // Who lets go first, and whether by a release or because the machine ends.
    for (owner_first, by_drop) in [(true, true), (true, false), (false, true), (false, false)] {
        let host = host::<B>();
        let (owner, peer) = (machine::<B>(&host, 1), machine::<B>(&host, 2));
        let (guest, channel) = owner.alloc_ivc_channel(0x1000).unwrap();
        peer.map_ivc_channel(gpa(PEER), &channel, RW).unwrap();
        let frames = channel.host();
        drop(channel);
        touch(&owner, &host);
        touch(&peer, &host);
        let (first, last, at) = match owner_first {
            true => ((owner, guest.start()), peer, PEER),
            false => ((peer, gpa(PEER)), owner, guest.start().as_u64()),
        };
        if by_drop {
            end(first.0, &host);
        } else {
            first.0.release_ivc_channel(first.1).unwrap();
            end(first.0, &host);
        }
        assert!(host.simulated_frames().is_any_out(frames));
        last.write_to_guest(gpa(at), b"still").unwrap();
        assert_eq!(&read(&last, at), b"still");
        touch(&last, &host);
        last.release_ivc_channel(gpa(at)).unwrap();
        assert!(!host.simulated_frames().is_any_out(frames));
        shut_down(last, &host);
    }
}

/// A handle counts like a mapping: the channel can be mapped as long as there is one.
fn a_handle_keeps_the_channel<B: Backend>() {
    let host = host::<B>();
    let owner = machine::<B>(&host, 1);
    let (guest, channel) = owner.alloc_ivc_channel(0x1000).unwrap();
    owner.write_to_guest(guest.start(), b"hello").unwrap();
    end(owner, &host);
    let peer = machine::<B>(&host, 2);
    peer.map_ivc_channel(gpa(PEER), &channel.clone(), RW)
        .unwrap();
    assert_eq!(&read(&peer, PEER), b"hello");
    peer.release_ivc_channel(gpa(PEER)).unwrap();
    assert!(host.simulated_frames().is_any_out(channel.host()));
    drop(channel);
    shut_down(peer, &host);
}

fn what_cannot_be_mapped_counts_for_nothing<B: Backend>() {
    let host = host::<B>();
    let (owner, peer) = (machine::<B>(&host, 1), machine::<B>(&host, 2));
    let (_, channel) = owner.alloc_ivc_channel(0x1000).unwrap();
    let map = |at, flags| peer.map_ivc_channel(gpa(at), &channel, flags);
    assert!(matches!(
        map(PEER + 8, RW),
        Err(VmError::Map(MapError::Unaligned { .. }))
    ));
    assert!(matches!(
        map(PEER, WRITE),
        Err(VmError::Map(MapError::Flags(_)))
    ));
    assert!(matches!(
        map(IVC + 0x2000, RW),
        Err(VmError::Occupied { .. })
    ));
    assert!(matches!(map(u64::MAX, RW), Err(VmError::Range(_))));
    host.simulated_frames().fail_at(1, Failure::FromThenOn);
    assert!(matches!(
        map(PEER, RW),
        Err(VmError::Map(MapError::OutOfMemory { .. }))
    ));
    host.simulated_frames().fail_at(0, Failure::Once);
    host.restrict_grants();
    let refused = VmError::NotGranted {
        range: channel.host(),
        r#use: GuestUse::IvcChannel,
    };
    assert_eq!(map(PEER, RW), Err(refused));
    assert_eq!(peer.translate(gpa(PEER)), None);
    host.grant(channel.host(), GuestUse::IvcChannel);
    map(PEER, RW).unwrap();
    peer.release_ivc_channel(gpa(PEER)).unwrap();
    let frames = channel.host();
    drop(channel);
    end(owner, &host);
    assert!(!host.simulated_frames().is_any_out(frames));
    shut_down(peer, &host);
}

/// An `invalidate` that unwound left a channel mapped to frames that were given back.
fn an_unwinding_host_leaves_no_channel_without_frames<B: Backend>() {
    let host = host::<B>();
    let vm = machine::<B>(&host, 1);
    let unwind = |operation: &dyn Fn()| {
        host.sabotage(|_, _| panic!("a CPU does not answer"));
        let result = catch_unwind(AssertUnwindSafe(operation));
        host.sabotage(|_, _| {});
        result.is_err()
    };
    // A fresh mapping asks for an invalidation on RISC-V alone.
    let fresh = B::format().rules().fresh_needs_invalidation;
    assert_eq!(unwind(&|| drop(vm.alloc_ivc_channel(0x1000))), fresh);
    let mapped = walk(&vm, &host, IVC + 0x1000);
    let (frame, _) = mapped.expect("it was mapped before the host was asked");
    let frames = host_range(frame, 0x1000);
    assert!(host.simulated_frames().is_any_out(frames));
    vm.write_to_guest(gpa(IVC + 0x1000), b"hello").unwrap();
    assert_eq!(&read(&vm, IVC + 0x1000), b"hello");

    touch(&vm, &host);
    let release = || vm.release_ivc_channel(gpa(IVC + 0x1000));
    assert!(unwind(&|| _ = release()));
    assert!(host.simulated_frames().is_any_out(frames));
    assert_eq!(release(), Ok(()));
    assert!(!host.simulated_frames().is_any_out(frames));
    shut_down(vm, &host);
}

on_every_backend! {
    channel_is_shared_with_a_peer,
    frames_stay_out_for_the_last_that_maps_them,
    a_handle_keeps_the_channel,
    what_cannot_be_mapped_counts_for_nothing,
    an_unwinding_host_leaves_no_channel_without_frames,
}
