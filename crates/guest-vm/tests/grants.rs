//! Host memory that a guest gets only if the host says so.
#![cfg(feature = "arceos")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use axerrno::{AxError, AxErrorKind};
use common::*;
use guest_vm::{
    GuestUse, HostMemoryKind, MapType, MemoryRegion, PassthroughRegion, SetupError, Vm, VmConfig,
    VmError,
};
use mapping_flags::MappingFlags;
use simulated_host::SimulatedHost;

const RAM: u64 = 0x8000_0000;
const MAPPED_RAM: GuestUse = GuestUse::MapRegion(HostMemoryKind::Ram);
const MAPPED_DEVICE: GuestUse = GuestUse::MapRegion(HostMemoryKind::Device);
const PASSED_RAM: GuestUse = GuestUse::Passthrough(HostMemoryKind::Ram);
const PASSED_DEVICE: GuestUse = GuestUse::Passthrough(HostMemoryKind::Device);

/// Safe code mapped any address, and wrote there: `soundness`.
fn a_region_that_is_not_granted_is_not_mapped<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(0x10_0000), 4, 0x5555));
    host.grant(host_range(0x10_0000, 0x2000), MAPPED_RAM);
    let vm = Vm::new(config::<B>(), host.clone()).unwrap();
    let map = |start, size, flags| vm.map_region(gpa(RAM), hpa(start), size, flags);
    for (start, size, flags, r#use) in [
        (0x10_1000, 0x2000, RW, MAPPED_RAM),
        (0xf_f000, 0x2000, RW, MAPPED_RAM),
        (0x10_0000, 0x1000, MappingFlags::PASSTHROUGH, MAPPED_DEVICE),
        (0x10_2000, 0x1000, READ | MappingFlags::UNCACHED, MAPPED_RAM),
    ] {
        let range = host_range(start, size);
        let refused = VmError::NotGranted { range, r#use };
        assert_eq!(map(start, size, flags), Err(refused));
        assert_eq!(AxErrorKind::from(refused), AxErrorKind::PermissionDenied);
        assert_eq!(vm.translate(gpa(RAM)), None);
    }
    assert_eq!(
        host.cleaned(),
        [],
        "nothing was done to what is not granted"
    );
    map(0x10_0000, 0x2000, RW).unwrap();
    vm.write_to_guest(gpa(RAM), &[1]).unwrap();
    assert_eq!(
        vm.write_to_guest(gpa(RAM + 0x2000), &[1]),
        Err(VmError::NotMapped {
            address: gpa(RAM + 0x2000)
        })
    );
    shut_down(vm, &host);
}

/// Frames of the allocator are never granted, whatever a configuration asks for.
fn frames_of_the_allocator_are_not_granted<B: Backend>() {
    let host = host::<B>();
    let vm = Vm::new(config::<B>(), host.clone()).unwrap();
    let root = vm.page_table_root();
    let error = vm.map_region(gpa(RAM), root, PAGE, RW).unwrap_err();
    assert!(matches!(error, VmError::NotGranted { .. }), "{error}");
    shut_down(vm, &host);
}

fn regions() -> Vec<MemoryRegion<'static>> {
    vec![
        ram(RAM, 0x1800, RW, MapType::Identical),
        ram(RAM + 0x10_0000, 0x1000, RW, MapType::Reserved),
    ]
}

fn devices() -> Vec<PassthroughRegion<'static>> {
    vec![
        device(0x1000_0000, 0x2000_0000, 0x1000),
        // One mapping with the device before: each is asked for by itself.
        device(0x1000_1000, 0x2000_1000, 0x80),
        device(0x1100_0000, 0x2100_0000, 0x1000).with_flags(RW),
    ]
}

fn machine<B: Backend>(
    host: &std::sync::Arc<SimulatedHost>,
) -> Result<TestVm<B>, SetupError<'static>> {
    let mut config: VmConfig<'_, B::Format> = config::<B>();
    config.memory_regions = regions();
    config.passthrough_regions = devices();
    Vm::new(config, host.clone())
}

/// What the configuration asks for.
fn needed() -> [(guest_addr::HostPhysRange, GuestUse); 5] {
    [
        (host_range(0x2000_0000, 0x1000), PASSED_DEVICE),
        (host_range(0x2000_1000, 0x1000), PASSED_DEVICE),
        (host_range(0x2100_0000, 0x1000), PASSED_RAM),
        (host_range(RAM, 0x2000), GuestUse::IdenticalRam),
        (host_range(RAM + 0x10_0000, 0x1000), GuestUse::ReservedRam),
    ]
}

fn every_region_of_the_configuration_is_asked_for<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(RAM + 0x10_0000), 1, 0));
    assert!(host.memory().add(hpa(0x2100_0000), 1, 0));
    for (range, r#use) in needed() {
        host.grant(range, r#use);
    }
    let vm = machine::<B>(&host).unwrap();
    assert_eq!(host.asked_for(), needed());
    shut_down(vm, &host);
}

fn a_configuration_is_refused_for_one_region<B: Backend>() {
    for missing in needed() {
        let host = host::<B>();
        assert!(host.memory().add(hpa(RAM + 0x10_0000), 1, 0));
        assert!(host.memory().add(hpa(0x2100_0000), 1, 0));
        host.restrict_grants();
        for (range, r#use) in needed() {
            if (range, r#use) != missing {
                host.grant(range, r#use);
            }
        }
        let error = machine::<B>(&host).unwrap_err();
        let (range, r#use) = missing;
        let refused = VmError::NotGranted { range, r#use };
        let SetupError::Region { reason, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(reason, refused);
        assert_eq!(
            AxError::from(AxErrorKind::from(error)),
            AxError::PermissionDenied
        );
        assert_eq!(host.simulated_frames().outstanding_count(), 0);
        assert_eq!(host.reserved_regions(), []);
        assert_clean(&host);
    }
}

/// Memory that the host refused to reserve was mapped, whoever used it: `soundness`.
fn identical_memory_that_is_not_free_is_asked_for_again<B: Backend>() {
    for approved in [false, true] {
        let host = host::<B>();
        let range = host_range(RAM, 0x1000);
        host.refuse_region(range);
        host.grant(range, GuestUse::IdenticalRam);
        if approved {
            host.grant(range, GuestUse::UnreservedIdenticalRam);
        }
        let mut config = config::<B>();
        config.memory_regions = vec![ram(RAM, 0x1000, RW, MapType::Identical)];
        match Vm::new(config, host.clone()) {
            Ok(vm) => {
                assert!(approved);
                assert_eq!(vm.setup_report().warnings.len(), 1);
                shut_down(vm, &host);
            }
            Err(error) => {
                assert!(!approved);
                assert!(error.to_string().contains("not reserved"), "{error}");
                assert_eq!(host.simulated_frames().outstanding_count(), 0);
            }
        }
    }
}

on_every_backend! {
    a_region_that_is_not_granted_is_not_mapped,
    frames_of_the_allocator_are_not_granted,
    every_region_of_the_configuration_is_asked_for,
    a_configuration_is_refused_for_one_region,
    identical_memory_that_is_not_free_is_asked_for_again,
}
