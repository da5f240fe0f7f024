//! In which order memory is cleaned, linked, unlinked, invalidated and given back.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use common::*;
use guest_vm::{FaultOutcome, IVC_DEVICE_TYPE, MapType, Vm};
use nested_page_table::{Change, Scope};
use simulated_host::{Event, SimulatedHost};

const RAM: u64 = 0x8000_0000;
const HOST: u64 = 0x10_0000;

/// The events from now on, with the page at `address` watched.
fn watch<B: Backend>(vm: &TestVm<B>, host: &SimulatedHost, address: u64) {
    let register = vm.address_space_id().root_register;
    host.machine().log_events();
    host.machine().watch_page(register, gpa(address));
}

/// Where the events stand that `is_meant` names. There has to be one at least.
#[track_caller]
fn places(events: &[Event], is_meant: impl Fn(&Event) -> bool) -> Vec<usize> {
    let numbered = events.iter().enumerate();
    let places: Vec<_> = numbered
        .filter(|(_, event)| is_meant(event))
        .map(|(n, _)| n)
        .collect();
    assert!(!places.is_empty(), "none of {events:x?}");
    places
}

/// Fails unless all events of one kind come before all of the next.
#[track_caller]
fn expect_order(events: &[Event], kinds: &[&dyn Fn(&Event) -> bool]) {
    let places: Vec<_> = kinds.iter().map(|kind| places(events, kind)).collect();
    for pair in places.windows(2) {
        assert!(
            pair[0].last() < pair[1].first(),
            "{places:?} in {events:x?}"
        );
    }
}

fn is_cleaned(event: &Event) -> bool {
    matches!(event, Event::Cleaned(_))
}

fn is_synchronised(event: &Event) -> bool {
    matches!(event, Event::Synchronised(_))
}

fn is_linked(event: &Event) -> bool {
    matches!(event, Event::Linked { .. })
}

fn is_unlinked(event: &Event) -> bool {
    matches!(event, Event::Unlinked { .. })
}

fn is_stored(event: &Event) -> bool {
    matches!(event, Event::Stored { .. })
}

fn is_invalidated(event: &Event) -> bool {
    matches!(event, Event::Invalidated(_))
}

fn is_freed(range: guest_addr::HostPhysRange) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Freed(freed) if freed.overlaps(&range))
}

fn a_region_is_cleaned_before_it_is_linked<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(HOST), 2, 0));
    let vm = Vm::new(config::<B>(), host.clone()).unwrap();
    watch::<B>(&vm, &host, RAM + PAGE);
    vm.map_region(gpa(RAM), hpa(HOST), 0x2000, RWX).unwrap();
    let events = host.machine().take_events();
    expect_order(&events, &[&is_cleaned, &is_synchronised, &is_linked]);
    shut_down(vm, &host);
}

fn a_page_is_cleaned_before_it_is_linked<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RWX));
    watch::<B>(&vm, &host, RAM);
    vm.handle_page_fault(gpa(RAM), READ).unwrap();
    let events = host.machine().take_events();
    expect_order(&events, &[&is_cleaned, &is_synchronised, &is_linked]);
    // And so are pages that a copy fills: every one before the first is linked.
    watch::<B>(&vm, &host, RAM + 0x1000);
    vm.read_from_guest(gpa(RAM + 0x1000), &mut [0; 0x3000])
        .unwrap();
    let events = host.machine().take_events();
    assert_eq!(places(&events, is_cleaned).len(), 3);
    expect_order(&events, &[&is_cleaned, &is_linked]);
    shut_down(vm, &host);
}

fn a_channel_is_cleaned_before_it_is_linked<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.emulated_regions = vec![emulated(RAM, PAGE, IVC_DEVICE_TYPE)];
    let vm = Vm::new(config, host.clone()).unwrap();
    watch::<B>(&vm, &host, RAM);
    let (_, channel) = vm.alloc_ivc_channel(PAGE).unwrap();
    let events = host.machine().take_events();
    expect_order(&events, &[&is_cleaned, &is_linked]);
    let frames = channel.host();
    drop(channel);
    vm.release_ivc_channel(gpa(RAM)).unwrap();
    let events = host.machine().take_events();
    expect_order(&events, &[&is_unlinked, &is_invalidated, &is_freed(frames)]);
    shut_down(vm, &host);
}

fn a_copy_is_cleaned_after_it_was_made<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, PAGE, RWX, MapType::Alloc));
    let (frame, _) = walk(&vm, &host, RAM).unwrap();
    host.machine().log_events();
    host.machine().watch_word(hpa(frame + 0x10));
    vm.write_to_guest(gpa(RAM + 0x10), &[0x42; 8]).unwrap();
    let events = host.machine().take_events();
    let is_dropped = |event: &Event| matches!(event, Event::StaleLinesDropped(_));
    expect_order(
        &events,
        &[&is_dropped, &is_stored, &is_cleaned, &is_synchronised],
    );
    shut_down(vm, &host);
}

fn frames_come_back_after_the_invalidation<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x2000, RW, MapType::Alloc));
    let frames = [RAM, RAM + 0x1000].map(|at| host_range(walk(&vm, &host, at).unwrap().0, PAGE));
    watch::<B>(&vm, &host, RAM);
    vm.unmap_region(gpa(RAM), PAGE).unwrap();
    let events = host.machine().take_events();
    expect_order(
        &events,
        &[&is_unlinked, &is_invalidated, &is_freed(frames[0])],
    );
    let register = vm.address_space_id().root_register;
    host.machine().watch_page(register, gpa(RAM + 0x1000));
    host.machine().retire(register);
    drop(vm);
    let events = host.machine().take_events();
    let freed = places(&events, is_freed(frames[1]));
    let before = &events[..freed[0]];
    expect_order(before, &[&is_unlinked, &is_invalidated]);
}

/// A spurious fault asked for an invalidation of what is fresh, which is none on CPUs that remember no absence.
fn a_spurious_fault_asks_for_what_was_raised<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, PAGE, RW, MapType::Alloc));
    host.machine().log_events();
    let outcome = vm.handle_page_fault(gpa(RAM), WRITE);
    assert_eq!(outcome, Ok(FaultOutcome::Spurious));
    let events = host.machine().take_events();
    let [Event::Invalidated(request)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(request.scope(), Scope::Local);
    let changes = request.ranges().iter().map(|range| range.change);
    assert_eq!(changes.collect::<Vec<_>>(), [Change::Raised]);
}

on_every_backend! {
    a_region_is_cleaned_before_it_is_linked,
    a_page_is_cleaned_before_it_is_linked,
    a_channel_is_cleaned_before_it_is_linked,
    a_copy_is_cleaned_after_it_was_made,
    frames_come_back_after_the_invalidation,
    a_spurious_fault_asks_for_what_was_raised,
}
