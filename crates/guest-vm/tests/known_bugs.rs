//! Mistakes that hypervisors made at this layer, each as a test.
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
use guest_vm::{FaultOutcome, MapType, SetupError, Vm, VmError};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, MapError, Scope};
use simulated_host::Failure;

const RAM: u64 = 0x8000_0000;

fn kind(error: impl Into<AxError>) -> AxErrorKind {
    AxErrorKind::try_from(error.into()).unwrap()
}

// Populating failed half way: frames stayed mapped, nobody owned them, or one was lost.
fn a4_a5_failed_population_leaks_frames<B: Backend>() {
    // 2 MiB and 8 KiB: a block and pages, on both sides of a table's edge.
    let region = ram(RAM + 0x1f_e000, 0x20_4000, RWX, MapType::Alloc);
    let mut refused = 0;
    for k in 1.. {
        let host = host::<B>();
        let mut config = config::<B>();
        config.memory_regions = vec![region];
        host.simulated_frames().fail_at(k, Failure::FromThenOn);
        let result = Vm::new(config, host.clone());
        assert_clean(&host);
        match result {
            Ok(_) => break,
            Err(error) => assert_eq!(kind(error), AxErrorKind::NoMemory),
        }
        assert_eq!(
            host.simulated_frames().outstanding_count(),
            0,
            "allocation {k}"
        );
        refused += 1;
    }
    assert!(refused > 4, "only {refused} allocations could fail");
}

// The same at run time: pages that were absent are absent again, and the others untouched.
fn a4_failed_lazy_population_leaves_pages_behind<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x60_0000, RW));
    vm.write_to_guest(gpa(RAM + 0x40_1000), b"mine").unwrap();
    for k in 1.. {
        let frames = host.simulated_frames().outstanding_count();
        host.simulated_frames().fail_at(k, Failure::FromThenOn);
        // A page, a block, a page, and a page behind one that is there.
        let result = vm.write_to_guest(gpa(RAM + 0x1f_f000), &[7; 0x20_4000]);
        host.simulated_frames().fail_at(0, Failure::Once);
        assert_clean(&host);
        if result.is_ok() {
            assert!(k > 5);
            break;
        }
        assert_eq!(kind(result.unwrap_err()), AxErrorKind::NoMemory);
        assert_eq!(host.simulated_frames().outstanding_count(), frames);
        assert_eq!(walk(&vm, &host, RAM + 0x1f_f000), None);
        let mut mine = [0; 4];
        vm.read_from_guest(gpa(RAM + 0x40_1000), &mut mine).unwrap();
        assert_eq!(&mine, b"mine");
    }
    shut_down(vm, &host);
}

// Two vCPUs fault on one page: the second got a new frame, and the guest's data was gone.
fn a7_second_fault_replaces_the_page<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x10_0000, RW));
    let register = vm.address_space_id().root_register;
    // Both CPUs have seen that nothing is there.
    for cpu in 0..CPUS {
        host.machine().touch(cpu, register, gpa(RAM));
    }
    host.run_on(0);
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Filled)
    );
    vm.write_to_guest(gpa(RAM), b"data").unwrap();
    let (calls, there) = (host.simulated_frames().calls(), walk(&vm, &host, RAM));
    let requests = host.requests().len();

    host.run_on(1);
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Spurious)
    );
    assert_eq!(host.simulated_frames().calls(), calls, "a frame was taken");
    assert_eq!(walk(&vm, &host, RAM), there);
    let mut data = [0; 4];
    vm.read_from_guest(gpa(RAM), &mut data).unwrap();
    assert_eq!(&data, b"data");
    // This CPU alone was made to forget the page.
    let [request] = &host.requests()[requests..] else {
        panic!("one request")
    };
    assert_eq!(request.scope(), Scope::Local);
    assert_eq!(request.space(), vm.address_space_id());
    assert!(
        request
            .ranges()
            .iter()
            .all(|changed| changed.range.contains(gpa(RAM)))
    );
    assert_clean(&host);
}

// Guests got frames with the host's or another guest's data.
fn a8_frames_are_not_zeroed<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(RAM, 0x20_3000, RW, MapType::Alloc),
        lazy(RAM + 0x100_0000, 0x10_0000, RW),
        ram(RAM + 0x200_0000, 0x3000, RW, MapType::Identical),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    vm.handle_page_fault(gpa(RAM + 0x100_0000), READ).unwrap();
    for (start, size) in [(0, 0x20_3000), (0x100_0000, 0x2000), (0x200_0000, 0x3000)] {
        let mut bytes = vec![1; size];
        vm.read_from_guest(gpa(RAM + start), &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
    // What hardware reaches was cleaned from the caches too.
    host.machine()
        .touch_all(vm.address_space_id().root_register);
    assert_clean(&host);
}

// GPA below HPA: the difference overflowed.
fn a9_guest_address_below_host_address<B: Backend>() {
    let host = host::<B>();
    let vm = Vm::new(config::<B>(), host.clone()).unwrap();
    vm.map_region(gpa(0), hpa(0x9_0000_0000), 0x20_0000, RW)
        .unwrap();
    vm.map_region(gpa(0x9_0000_0000), hpa(0), 0x20_0000, RW)
        .unwrap();
    assert_eq!(walk(&vm, &host, 0x1234).unwrap().0, 0x9_0000_1234);
    assert_eq!(walk(&vm, &host, 0x9_0000_1234).unwrap().0, 0x1234);
}

// Sizes that overflow panicked.
fn a10_size_overflow_is_an_error<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, PAGE, RW));
    let top = gpa(u64::MAX - 0xfff);
    for (start, size) in [(top, 0x2000), (gpa(RAM), u64::MAX), (gpa(RAM), 0)] {
        let error = kind(vm.map_region(start, hpa(0), size, RW).unwrap_err());
        assert_eq!(error, AxErrorKind::InvalidInput);
        let error = kind(vm.unmap_region(start, size).unwrap_err());
        assert_eq!(error, AxErrorKind::InvalidInput);
        let error = kind(vm.protect_region(start, size, READ).unwrap_err());
        assert_eq!(error, AxErrorKind::InvalidInput);
    }
    // The last page of the space is legal as a range, and beyond every table.
    let error = vm.map_region(top, hpa(0), PAGE, RW).unwrap_err();
    assert!(
        matches!(error, VmError::Map(MapError::GuestTooWide { .. })),
        "{error}"
    );
    let error = vm
        .map_region(gpa(0), hpa(u64::MAX - 0xfff), PAGE, RW)
        .unwrap_err();
    assert!(
        matches!(error, VmError::Map(MapError::HostTooWide { .. })),
        "{error}"
    );
    assert_eq!(
        kind(vm.alloc_ivc_channel(u64::MAX).unwrap_err()),
        AxErrorKind::InvalidInput
    );
    assert!(vm.read_from_guest(gpa(u64::MAX), &mut [0; 2]).is_err());
    assert_eq!(
        vm.handle_page_fault(gpa(u64::MAX), READ),
        Ok(FaultOutcome::NotMapped)
    );
    assert_eq!(vm.translate(gpa(u64::MAX)), None);
}

// Reads past the end of a region panicked, or were let through.
fn a11_a12_access_past_the_end_of_a_region<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x2000, RW));
    let mut bytes = [1; 0x1001];
    let end = gpa(RAM + 0x2000);
    assert_eq!(
        vm.read_from_guest(gpa(RAM + 0x1000), &mut bytes),
        Err(VmError::NotMapped { address: end }),
    );
    assert_eq!(bytes, [1; 0x1001], "nothing is copied");
    assert_eq!(
        vm.write_to_guest(end, b"x"),
        Err(VmError::NotMapped { address: end })
    );
    assert_eq!(
        walk(&vm, &host, RAM + 0x1000),
        None,
        "nothing was populated"
    );
    vm.read_from_guest(gpa(RAM + 0x1000), &mut bytes[..0x1000])
        .unwrap();
    let leaf = vm.translate(gpa(RAM + 0x1fff)).unwrap();
    assert_eq!(leaf.guest.last(), gpa(RAM + 0x1fff));
}

// Host-physical addresses were used as pointers: these frames lie where no pointer can be.
fn a13_physical_address_is_no_pointer<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x3000, RW, MapType::Alloc));
    let text: Vec<u8> = (0..0x1803).map(|n| n as u8 | 1).collect();
    vm.write_to_guest(gpa(RAM + 0xffd), &text).unwrap();
    for (n, byte) in text.iter().enumerate() {
        let (at, _) = walk(&vm, &host, RAM + 0xffd + n as u64).unwrap();
        let word = host.memory().read(hpa(at & !7)).unwrap();
        assert_eq!(word.to_le_bytes()[(at & 7) as usize], *byte);
    }
}

// Every error became BadState.
fn a14_errors_say_what_is_wrong<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x2000, RW));
    let map =
        |start, to, size, flags| kind(vm.map_region(gpa(start), hpa(to), size, flags).unwrap_err());
    assert_eq!(map(0x800, 0x800, PAGE, RW), AxErrorKind::InvalidInput);
    assert_eq!(map(0, 0x800, PAGE, RW), AxErrorKind::InvalidInput);
    assert_eq!(
        map(0, 0, PAGE, MappingFlags::empty()),
        AxErrorKind::InvalidInput
    );
    assert_eq!(
        map(0, 0, PAGE, MappingFlags::DEVICE | RWX),
        AxErrorKind::InvalidInput
    );
    // Memory that is not populated yet is in use all the same.
    assert_eq!(map(RAM + 0x1000, 0, 0x2000, RW), AxErrorKind::AlreadyExists);
    host.simulated_frames().fail_at(1, Failure::FromThenOn);
    assert_eq!(map(0, 0, PAGE, RW), AxErrorKind::NoMemory);
    assert_eq!(
        kind(vm.handle_page_fault(gpa(RAM), READ).unwrap_err()),
        AxErrorKind::NoMemory
    );
    let mut byte = [0];
    assert_eq!(
        kind(vm.read_from_guest(gpa(0), &mut byte).unwrap_err()),
        AxErrorKind::NotFound
    );
    assert_eq!(
        kind(vm.release_ivc_channel(gpa(RAM)).unwrap_err()),
        AxErrorKind::NotFound
    );
}

// The result of protect was ignored, and unmap unwrapped.
fn a15_protect_and_unmap_report_failure<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x20_0000, RW, MapType::Alloc));
    let (before, frames) = (
        walk(&vm, &host, RAM),
        host.simulated_frames().outstanding_count(),
    );
    host.simulated_frames().fail_at(1, Failure::FromThenOn);
    // One page of a 2 MiB leaf: the split needs a table.
    let error = vm.protect_region(gpa(RAM), PAGE, READ).unwrap_err();
    assert_eq!(kind(error), AxErrorKind::NoMemory);
    let error = vm.unmap_region(gpa(RAM), PAGE).unwrap_err();
    assert_eq!(kind(error), AxErrorKind::NoMemory);
    assert_eq!(walk(&vm, &host, RAM), before);
    assert_eq!(host.simulated_frames().outstanding_count(), frames);
    // The regions were left alone too: the whole comes back.
    host.simulated_frames().fail_at(0, Failure::Once);
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Spurious)
    );
    vm.unmap_region(gpa(RAM), 0x20_0000).unwrap();
    vm.map_region(gpa(RAM), hpa(0), 0x20_0000, RW).unwrap();
    shut_down(vm, &host);
}

// Lazy mappings with empty flags panicked, and took every table in advance.
fn a18_lazy_region_costs_nothing_in_advance<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000_0000, RWX));
    let root = B::format().geometry().root_frames() as usize;
    assert_eq!(host.simulated_frames().outstanding_count(), root);
    assert_eq!(vm.statistics().mapped_bytes, 0);
}

// A device was mapped at its guest address, whatever host address it had.
fn v1_device_leads_to_its_host_address<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.passthrough_regions = vec![device(0x1000_0000, 0x2000_0000, 0x1000)];
    let vm = Vm::new(config, host.clone()).unwrap();
    let flags = vm.translate(gpa(0x1000_0000)).unwrap().flags;
    assert_eq!(flags, MappingFlags::PASSTHROUGH);
    let expected = Some((0x2000_0010, permissions_of(RW)));
    assert_eq!(walk(&vm, &host, 0x1000_0010), expected);
}

// Base and length were rounded apart: the tail of an unaligned device was lost.
fn v2_unaligned_device_is_mapped_to_its_end<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.passthrough_regions = vec![device(0x1000_0ff0, 0x2000_0ff0, 0x20)];
    let vm = Vm::new(config, host.clone()).unwrap();
    assert_eq!(walk(&vm, &host, 0x1000_100f).unwrap().0, 0x2000_100f);
    assert_eq!(walk(&vm, &host, 0x1000_2000), None);
    let [warning] = vm.setup_report().warnings.as_slice() else {
        panic!("one warning")
    };
    assert_eq!(warning.code(), "page-exposure");
}

// Removing one device kept only that one.
fn v3_unmapping_one_device_keeps_the_others<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.passthrough_regions = [0, 1, 2]
        .map(|n| device(0x1000_0000 + n * 0x1000, 0x2000_0000 + n * 0x1000, 0x1000))
        .to_vec();
    let vm = Vm::new(config, host.clone()).unwrap();
    vm.unmap_region(gpa(0x1000_1000), 0x1000).unwrap();
    let mapped = [0, 1, 2].map(|n| walk(&vm, &host, 0x1000_0000 + n * 0x1000).is_some());
    assert_eq!(mapped, [true, false, true]);
    assert_clean(&host);
}

// A reserved region was cleared through its guest address as a pointer.
fn v4_reserved_region_is_not_touched<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(RAM), 2, 0x1122_3344));
    let vm = vm_with::<B>(&host, ram(RAM, 0x2000, RW, MapType::Reserved));
    assert_eq!(host.reserved_regions(), []);
    let mut word = [0; 8];
    vm.read_from_guest(gpa(RAM + 0x1ff8), &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 0x1122_3344);
    shut_down(vm, &host);
    assert_eq!(host.memory().read(hpa(RAM)), Some(0x1122_3344));
}

// Host memory was lost when a mapping failed.
fn v5_reserved_memory_comes_back_after_a_failure<B: Backend>() {
    for k in 1.. {
        let host = host::<B>();
        let mut config = config::<B>();
        config.memory_regions = vec![
            ram(RAM, 0x2000, RW, MapType::Identical),
            ram(RAM + 0x10_0000, 0x2000, RW, MapType::Identical),
            ram(RAM + 0x4000_0000, 0x2000, RW, MapType::Identical),
        ];
        host.simulated_frames().fail_at(k, Failure::FromThenOn);
        let result = Vm::new(config, host.clone());
        if let Ok(vm) = result {
            assert_eq!(host.reserved_regions().len(), 3);
            shut_down(vm, &host);
            assert!(k > 3);
            break;
        }
        assert_eq!(host.reserved_regions(), []);
        assert_eq!(host.simulated_frames().outstanding_count(), 0);
        assert_clean(&host);
    }
}

// The flags of a memory region were ignored: everything was RWX.
fn v6_flags_of_memory_regions_count<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(RAM, PAGE, READ, MapType::Alloc),
        ram(RAM + 0x10_0000, PAGE, RW, MapType::Identical),
        ram(RAM + 0x20_0000, PAGE, RWX, MapType::Reserved),
        lazy(RAM + 0x30_0000, PAGE, READ),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    let denied = vm.handle_page_fault(gpa(RAM + 0x30_0000), WRITE);
    assert_eq!(denied, Ok(FaultOutcome::Denied));
    vm.handle_page_fault(gpa(RAM + 0x30_0000), READ).unwrap();
    for (offset, flags) in [
        (0, READ),
        (0x10_0000, RW),
        (0x20_0000, RWX),
        (0x30_0000, READ),
    ] {
        let (at, granted) = walk(&vm, &host, RAM + offset).unwrap();
        assert_eq!(granted, permissions_of(flags));
        let identity = matches!(offset, 0x10_0000 | 0x20_0000);
        assert_eq!(at == RAM + offset, identity);
    }
}

// A bad configuration, or an unaligned region, stopped the hypervisor.
fn v7_h7_bad_configurations_are_errors<B: Backend>() {
    let host = host::<B>();
    let attempt = |start, size, flags, map_type| {
        let mut config = config::<B>();
        config.memory_regions = vec![guest_vm::MemoryRegion::new(
            "ram",
            gpa(start),
            size,
            flags,
            map_type,
        )];
        config.emulated_regions = vec![emulated(0x1000, PAGE, 1)];
        let result = Vm::new(config, host.clone()).map(drop);
        assert_eq!(host.simulated_frames().outstanding_count(), 0);
        assert_eq!(host.reserved_regions(), []);
        result
    };
    for map_type in [MapType::Alloc, MapType::Identical, MapType::Reserved] {
        let flags = attempt(RAM, PAGE, 0x107, map_type).unwrap_err();
        assert!(matches!(flags, SetupError::Flags { name: "ram", .. }));
        assert_eq!(kind(flags), AxErrorKind::InvalidInput);
        assert_eq!(
            kind(attempt(RAM, 0, 7, map_type).unwrap_err()),
            AxErrorKind::InvalidInput
        );
        assert_eq!(
            kind(attempt(RAM, u64::MAX, 7, map_type).unwrap_err()),
            AxErrorKind::InvalidInput
        );
        assert_eq!(
            kind(attempt(RAM, PAGE, 2, map_type).unwrap_err()),
            AxErrorKind::InvalidInput
        );
        assert_eq!(
            kind(attempt(1 << 60, PAGE, 7, map_type).unwrap_err()),
            AxErrorKind::InvalidInput
        );
        let overlap = attempt(0x1800, PAGE, 7, map_type).unwrap_err();
        assert_eq!(kind(overlap.clone()), AxErrorKind::AlreadyExists);
        assert!(overlap.to_string().contains("emulated"), "{overlap}");
        attempt(RAM + 0x801, 0x1001, 7, map_type).unwrap();
    }
    assert_clean(&host);
}

on_every_backend! {
    a4_a5_failed_population_leaks_frames,
    a4_failed_lazy_population_leaves_pages_behind,
    a7_second_fault_replaces_the_page,
    a8_frames_are_not_zeroed,
    a9_guest_address_below_host_address,
    a10_size_overflow_is_an_error,
    a11_a12_access_past_the_end_of_a_region,
    a13_physical_address_is_no_pointer,
    a14_errors_say_what_is_wrong,
    a15_protect_and_unmap_report_failure,
    a18_lazy_region_costs_nothing_in_advance,
    v1_device_leads_to_its_host_address,
    v2_unaligned_device_is_mapped_to_its_end,
    v3_unmapping_one_device_keeps_the_others,
    v4_reserved_region_is_not_touched,
    v5_reserved_memory_comes_back_after_a_failure,
    v6_flags_of_memory_regions_count,
    v7_h7_bad_configurations_are_errors,
}
