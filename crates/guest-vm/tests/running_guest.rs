//! What happens beside a guest that runs, and what is not ignored without a word.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use common::*;
use guest_vm::{
    FaultOutcome, IVC_DEVICE_TYPE, MapType, Population, RegionSetting, SetupError, SetupWarning,
    Vm, VmError,
};
use mapping_flags::MappingFlags;
use nested_page_table::{InvalidationFailed, UnmapError};
use simulated_host::Failure;

const RAM: u64 = 0x8000_0000;

/// A copy linked pages one by one. When a later frame was missing it took back those that the guest could see,
/// with what the guest had stored there.
fn no_store_of_the_guest_is_lost<B: Backend>() {
    let host = host::<B>();
    // Pages on both sides of a leaf table, the second of which is missing.
    let start = RAM + 0x1f_e000;
    let vm = vm_with::<B>(&host, lazy(RAM, 0x40_0000, RW));
    vm.handle_page_fault(gpa(RAM), WRITE).unwrap();
    for k in 1.. {
        host.simulated_frames().fail_at(k, Failure::FromThenOn);
        let result = vm.read_from_guest(gpa(start), &mut [0; 0x4000]);
        host.simulated_frames().fail_at(0, Failure::Once);
        // The guest stores to every page that it can see now.
        for page in 0..4 {
            let seen = walk(&vm, &host, start + page * PAGE);
            if let Some((frame, _)) = seen {
                assert!(k > 4, "page {page} was linked before all frames were there");
                assert!(host.memory().write(hpa(frame), 0x4200 + page));
            }
        }
        if result.is_ok() {
            assert!(k > 5, "only {k} allocations");
            break;
        }
    }
    for page in 0..4 {
        let mut word = [0; 8];
        let at = gpa(start + page * PAGE);
        vm.read_from_guest(at, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 0x4200 + page, "its store is gone");
    }
    shut_down(vm, &host);
}

/// A fault by no access was called spurious, or filled a page.
fn a_fault_by_no_access_is_an_error<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, PAGE, RW));
    for access in [
        MappingFlags::empty(),
        MappingFlags::USER,
        MappingFlags::DEVICE,
    ] {
        let address = gpa(RAM + 8);
        let refused = VmError::NoAccess { address, access };
        assert_eq!(vm.handle_page_fault(address, access), Err(refused));
    }
    assert_eq!(vm.translate(gpa(RAM)), None);
    assert_eq!(vm.fault_statistics().failed, 3);
}

fn settings_that_mean_nothing_are_warned_of<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(RAM + 0x3000), 1, 0));
    let mut config = config::<B>();
    let region = |page: u64, kind| ram(RAM + page * PAGE, PAGE, RW, kind);
    config.memory_regions = vec![
        region(0, MapType::Alloc).with_kept_contents(),
        region(1, MapType::Alloc).with_population(Population::ON_FIRST_USE),
        region(2, MapType::Identical).with_population(Population::ON_FIRST_USE),
        region(3, MapType::Reserved).with_population(Population::ON_FIRST_USE),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    let warnings = &vm.setup_report().warnings;
    let settings: Vec<_> = warnings
        .iter()
        .map(|warning| match warning {
            SetupWarning::SettingWithoutEffect {
                setting, map_type, ..
            } => (*setting, *map_type),
            other => panic!("{other}"),
        })
        .collect();
    let expected = [
        (RegionSetting::KeepContents, MapType::Alloc),
        (RegionSetting::OnFirstUse, MapType::Identical),
        (RegionSetting::OnFirstUse, MapType::Reserved),
    ];
    assert_eq!(settings, expected);
    shut_down(vm, &host);
}

/// Two live machines had one VMID, and used each other's cached translations.
fn a_vmid_belongs_to_one_machine<B: Backend>() {
    let host = host::<B>();
    let first = Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap();
    let second = Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap_err();
    assert_eq!(second, SetupError::VmidInUse { vmid: 5 });
    shut_down(first, &host);
    // It is free again, and so it is after a machine that could not be set up.
    host.simulated_frames().fail_at(1, Failure::Once);
    assert!(Vm::<B::Format, _>::new(config::<B>(), host.clone()).is_err());
    shut_down(
        Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap(),
        &host,
    );
}

/// A VMID with translations that nobody could invalidate is no other machine's.
fn a_vmid_that_is_not_invalidated_stays_taken<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, PAGE, RW, MapType::Alloc));
    host.fail_invalidations(usize::MAX);
    drop(vm);
    host.fail_invalidations(0);
    let again = Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap_err();
    assert_eq!(again, SetupError::VmidInUse { vmid: 5 });
}

/// The memory was unmapped and its invalidation carried out, or there was none, and that of the table failed: CPUs may
/// still have entries of its tables, and the VMID was another machine's all the same.
fn a_vmid_whose_tables_are_not_invalidated_stays_taken<B: Backend>() {
    let host = host::<B>();
    let vm = Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap();
    host.fail_invalidations(usize::MAX);
    drop(vm);
    host.fail_invalidations(0);
    let again = Vm::<B::Format, _>::new(config::<B>(), host.clone()).unwrap_err();
    assert_eq!(again, SetupError::VmidInUse { vmid: 5 });
}

/// A CPU whose register selects another table faults for ever, and nothing showed it.
fn a_fault_that_repeats_for_ever_is_counted<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x3000, READ));
    let fault = |page: u64, access| {
        vm.handle_page_fault(gpa(RAM + page * PAGE), access)
            .unwrap()
    };
    assert_eq!(fault(0, READ), FaultOutcome::Filled);
    for _ in 0..5 {
        assert_eq!(fault(0, READ), FaultOutcome::Spurious);
    }
    assert_eq!(vm.fault_statistics().spurious_in_a_row, 5);
    assert_eq!(fault(1, READ), FaultOutcome::Filled);
    assert_eq!(vm.fault_statistics().spurious_in_a_row, 0);
    fault(0, READ);
    fault(1, READ);
    assert_eq!(fault(0, WRITE), FaultOutcome::Denied);
    assert_eq!(fault(3, READ), FaultOutcome::NotMapped);
    fault(0, READ);
    let counted = vm.fault_statistics();
    assert_eq!((counted.filled, counted.spurious), (2, 8));
    assert_eq!((counted.denied, counted.not_mapped), (1, 1));
    assert_eq!((counted.retries, counted.failed), (0, 0));
    assert_eq!(counted.spurious_in_a_row, 1);
}

/// An `invalidate` that unwound, or failed, left allocated pages that nobody had, or freed them too early.
fn a_failing_host_frees_nothing_that_is_mapped<B: Backend>() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RW));
    let unwinding = |operation: &dyn Fn()| {
        let mut answers = false;
        host.sabotage(move |_, _| assert!(core::mem::replace(&mut answers, true), "no answer"));
        // What comes of it is seen below.
        let _ = catch_unwind(AssertUnwindSafe(operation));
        host.sabotage(|_, _| {});
    };
    unwinding(&|| _ = vm.handle_page_fault(gpa(RAM), WRITE));
    let (frame, _) = walk(&vm, &host, RAM).unwrap_or_else(|| panic!("it was linked"));
    let frame = host_range(frame, PAGE);
    assert!(host.simulated_frames().is_any_out(frame));
    vm.write_to_guest(gpa(RAM), b"hello").unwrap();
    host.machine()
        .touch_all(vm.address_space_id().root_register);
    unwinding(&|| _ = vm.unmap_region(gpa(RAM), PAGE));
    assert!(host.simulated_frames().is_any_out(frame));
    // The next change asks again, and then the frame comes back.
    vm.unmap_region(gpa(RAM), 0x4000).unwrap();
    assert!(!host.simulated_frames().is_any_out(frame));
    shut_down(vm, &host);
}

fn an_invalidation_that_fails_keeps_the_frames<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![ram(RAM, PAGE, RW, MapType::Alloc)];
    config.emulated_regions = vec![emulated(RAM + 0x1000, PAGE, IVC_DEVICE_TYPE)];
    let vm = Vm::new(config, host.clone()).unwrap();
    let (channel, _) = vm.alloc_ivc_channel(PAGE).unwrap();
    let frames = [RAM, RAM + 0x1000].map(|at| host_range(walk(&vm, &host, at).unwrap().0, PAGE));
    let is_out = || frames.map(|frame| host.simulated_frames().is_any_out(frame));
    host.fail_invalidations(100);
    let failed = UnmapError::NotInvalidated(InvalidationFailed);
    assert_eq!(vm.release_ivc_channel(channel.start()), Err(failed.into()));
    let unmapped = vm.unmap_region(gpa(RAM), PAGE).unwrap_err();
    assert!(matches!(unmapped, VmError::Unmap(_)), "{unmapped}");
    assert_eq!(is_out(), [true; 2]);
    host.fail_invalidations(0);
    vm.release_ivc_channel(channel.start()).unwrap();
    assert_eq!(is_out(), [true, false]);
    vm.unmap_region(gpa(RAM), PAGE).unwrap();
    assert_eq!(is_out(), [false; 2]);
    shut_down(vm, &host);
}

on_every_backend! {
    an_invalidation_that_fails_keeps_the_frames,
    no_store_of_the_guest_is_lost,
    a_fault_by_no_access_is_an_error,
    settings_that_mean_nothing_are_warned_of,
    a_vmid_belongs_to_one_machine,
    a_vmid_that_is_not_invalidated_stays_taken,
    a_vmid_whose_tables_are_not_invalidated_stays_taken,
    a_fault_that_repeats_for_ever_is_counted,
    a_failing_host_frees_nothing_that_is_mapped,
}
