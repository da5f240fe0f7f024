//! What a machine does, kind by kind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use std::sync::{Arc, mpsc};
use std::thread;

use common::*;
use guest_addr::GuestPhysRange;
use guest_vm::{FaultOutcome, IVC_DEVICE_TYPE, MapType, SetupWarning, Vm, VmError, VmHal};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, LeafPolicy, Level, Scope};
use region_planner::Origin;
use simulated_host::{Access, Permissions, Placement, SimulatedHost};

const RAM: u64 = 0x8000_0000;
const IVC: u64 = 0x4000_0000;

fn is_send_and_sync<T: Send + Sync>() {}

#[test]
fn machine_can_be_shared() {
    is_send_and_sync::<TestVm<Riscv64>>();
    is_send_and_sync::<TestVm<Aarch64>>();
    is_send_and_sync::<TestVm<X86>>();
    is_send_and_sync::<TestVm<Amd>>();
}

fn device_flag_leaves_a_memory_region_out<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(
            RAM,
            0x2000,
            RWX | MappingFlags::DEVICE | MappingFlags::UNCACHED,
            MapType::Identical,
        ),
        ram(RAM, 0x1000, RWX, MapType::Alloc),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    let [SetupWarning::DeviceFlagInMemoryRegion { gpa: start, .. }] =
        vm.setup_report().warnings.as_slice()
    else {
        panic!("one warning")
    };
    assert_eq!(*start, gpa(RAM));
    assert!(walk(&vm, &host, RAM).is_some_and(|(at, _)| at != RAM));
    assert_eq!(walk(&vm, &host, RAM + 0x1000), None);
    shut_down(vm, &host);
}

fn identical_memory_is_reserved_zeroed_and_given_back<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        // The second page belongs to both; the second region keeps what it holds.
        ram(RAM, 0x1800, RW, MapType::Identical),
        ram(RAM + 0x1800, 0x1800, RW, MapType::Identical).with_kept_contents(),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    assert_eq!(
        host.reserved_regions(),
        [host_range(RAM, 0x2000), host_range(RAM + 0x2000, 0x1000)]
    );
    let zero = [0, 0x1000, 0x2000].map(|page| host.memory().read(hpa(RAM + page)) == Some(0));
    assert_eq!(zero, [true, false, false]);
    // Unmapping does not give it back, dropping does.
    vm.unmap_region(gpa(RAM), 0x3000).unwrap();
    assert_eq!(host.reserved_regions().len(), 2);
    shut_down(vm, &host);
}

fn identical_memory_that_is_taken_is_mapped_with_a_warning<B: Backend>() {
    let host = host::<B>();
    host.refuse_region(host_range(RAM + 0x1000, 0x1000));
    assert!(host.memory().add(hpa(RAM), 2, 0x5555));
    let vm = vm_with::<B>(&host, ram(RAM, 0x2000, RW, MapType::Identical));
    let expected = SetupWarning::IdenticalNotReserved {
        name: "ram".into(),
        host: host_range(RAM, 0x2000),
    };
    assert_eq!(vm.setup_report().warnings, [expected]);
    assert_eq!(walk(&vm, &host, RAM + 0x1008).unwrap().0, RAM + 0x1008);
    assert_eq!(host.memory().read(hpa(RAM)), Some(0x5555));
    shut_down(vm, &host);
    assert_eq!(host.memory().read(hpa(RAM)), Some(0x5555));
}

fn allocated_memory_takes_blocks_where_it_may<B: Backend>() {
    let host = host::<B>();
    let region = ram(RAM + 0x1f_f000, 0x20_2000, RW, MapType::Alloc);
    let vm = vm_with::<B>(&host, region);
    assert_eq!(vm.statistics().leaves[..2], [2, 1]);
    // Part of a block comes back by itself.
    let frames = host.simulated_frames().outstanding_count();
    vm.unmap_region(gpa(RAM + 0x20_1000), 0x3000).unwrap();
    assert_eq!(host.simulated_frames().outstanding_count(), frames - 3 + 1);
    shut_down(vm, &host);

    let mut config = config::<B>();
    config.memory_regions = vec![ram(RAM, 0x20_0000, RWX, MapType::Alloc)];
    config.leaf_policy = LeafPolicy::HARDWARE.with_largest_executable(Level::PAGE_4K);
    let vm = Vm::new(config, host.clone()).unwrap();
    assert_eq!(vm.statistics().leaves[..2], [512, 0]);
    shut_down(vm, &host);
}

fn runs_that_come_back_whole_are_single_frames<B: Backend>() {
    let host: Arc<SimulatedHost<false>> = Arc::new(B::host(Placement::FromZero));
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(RAM, 0x20_1000, RW, MapType::Alloc),
        lazy(RAM + 0x40_0000, 0x20_0000, RW),
    ];
    config.emulated_regions = vec![emulated(IVC, 0x10000, IVC_DEVICE_TYPE)];
    let vm = Vm::new(config, host.clone()).unwrap();
    vm.write_to_guest(gpa(RAM + 0x40_0000), &[1; 0x20_0000])
        .unwrap();
    vm.unmap_region(gpa(RAM + 0x1000), 0x5000).unwrap();
    let (_, channel) = vm.alloc_ivc_channel(0x3001).unwrap();
    assert_eq!(channel.size(), 0x4000);
    drop(channel);
    shut_down(vm, &host);
}

fn unmap_crosses_regions_of_every_kind<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(RAM, 0x2000, RW, MapType::Alloc),
        ram(RAM + 0x2000, 0x2000, RW, MapType::Reserved),
        lazy(RAM + 0x5000, 0x2000, RW),
    ];
    config.emulated_regions = vec![emulated(RAM + 0x4000, 0x1000, 1)];
    let vm = Vm::new(config, host.clone()).unwrap();
    vm.map_region(gpa(RAM + 0x8000), hpa(0x1000), 0x2000, RW)
        .unwrap();
    vm.unmap_region(gpa(RAM + 0x1000), 0x8000).unwrap();
    let mapped: Vec<_> = (0..10)
        .filter(|page| walk(&vm, &host, RAM + page * PAGE).is_some())
        .collect();
    assert_eq!(mapped, [0, 9]);
    // What was unmapped is free, and the emulated device is not.
    vm.map_region(gpa(RAM + 0x5000), hpa(0), 0x4000, RW)
        .unwrap();
    let error = vm
        .map_region(gpa(RAM + 0x2000), hpa(0), 0x3000, RW)
        .unwrap_err();
    let VmError::Occupied { existing, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(existing.start(), gpa(RAM + 0x4000));
    shut_down(vm, &host);
}

fn stale_read_only_translation_is_a_spurious_fault<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x4000, READ, MapType::Alloc));
    let register = vm.address_space_id().root_register;
    let write = |cpu| {
        host.machine()
            .access(cpu, register, gpa(RAM), Permissions::WRITE)
    };
    assert_eq!(write(1), Access::Fault);
    host.run_on(1);
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Denied)
    );
    vm.protect_region(gpa(RAM), 0x1000, RW).unwrap();
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Spurious)
    );
    assert!(matches!(write(1), Access::Allowed(_)));
    let fetch = vm.handle_page_fault(gpa(RAM), MappingFlags::EXECUTE);
    assert_eq!(fetch, Ok(FaultOutcome::Denied));
    shut_down(vm, &host);
}

// A hypervisor may leave fresh mappings to the fault handler: then each CPU has to be rid of the
// absent entry that it remembers, at whatever level.
fn spurious_fault_forgets_absent_entries_of_every_level<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000_0000, RW));
    let register = vm.address_space_id().root_register;
    host.sabotage(|request, instructions| {
        if request.scope() == Scope::AllCpus {
            instructions.clear();
        }
    });
    for page in [RAM, RAM + 0x1000, RAM + 0x20_0000] {
        for cpu in 0..CPUS {
            host.machine().touch(cpu, register, gpa(page));
        }
        assert_eq!(
            vm.handle_page_fault(gpa(page), WRITE),
            Ok(FaultOutcome::Filled)
        );
        for cpu in 0..CPUS {
            host.run_on(cpu);
            assert_eq!(
                vm.handle_page_fault(gpa(page), WRITE),
                Ok(FaultOutcome::Spurious)
            );
            let access = host
                .machine()
                .access(cpu, register, gpa(page), Permissions::WRITE);
            assert!(matches!(access, Access::Allowed(_)));
        }
    }
    host.sabotage(|_, _| {});
    shut_down(vm, &host);
}

fn device_memory_is_not_copied<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![lazy(RAM, 0x1000, RW)];
    config.passthrough_regions = vec![device(RAM + 0x1000, 0x1000, 0x1000)];
    let vm = Vm::new(config, host.clone()).unwrap();
    let refused = VmError::DeviceMemory {
        address: gpa(RAM + 0x1000),
    };
    assert_eq!(vm.write_to_guest(gpa(RAM + 0xfff), &[1, 2]), Err(refused));
    assert_eq!(
        vm.read_from_guest(gpa(RAM + 0xfff), &mut [1, 2]),
        Err(refused)
    );
    assert_eq!(walk(&vm, &host, RAM), None);
    // No bytes are nowhere.
    assert_eq!(vm.write_to_guest(gpa(RAM + 0x1000), &[]), Ok(()));
}

fn caches_are_made_ready_for_the_guest<B: Backend>() {
    let host = host::<B>();
    assert!(host.memory().add(hpa(0x10_0000), 2, 0));
    let vm = Vm::new(config::<B>(), host.clone()).unwrap();
    vm.map_region(gpa(RAM), hpa(0x10_0000), 0x2000, RW).unwrap();
    assert_eq!(host.cleaned(), [host_range(0x10_0000, 0x2000)]);
    assert_eq!(host.synchronised(), []);
    vm.write_to_guest(gpa(RAM + 0x10), &[1; 0x20]).unwrap();
    assert_eq!(host.cleaned().last(), Some(&host_range(0x10_0010, 0x20)));
    // Memory that becomes executable, and what is written to it then.
    vm.protect_region(gpa(RAM + 0x1000), 0x1000, RWX).unwrap();
    assert_eq!(host.synchronised(), [host_range(0x10_1000, 0x1000)]);
    vm.write_to_guest(gpa(RAM + 0x1000), &[1]).unwrap();
    assert_eq!(host.synchronised().last(), Some(&host_range(0x10_1000, 1)));
    // Devices have no caches.
    let cleaned = host.cleaned().len();
    vm.map_region(
        gpa(RAM + 0x2000),
        hpa(0x20_0000),
        0x1000,
        MappingFlags::PASSTHROUGH,
    )
    .unwrap();
    assert_eq!(host.cleaned().len(), cleaned);
}

fn device_tree_region_gives_way<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    let wide = device(RAM - 0x1000, RAM - 0x1000, 0x5000);
    config.passthrough_regions = vec![wide.with_origin(Origin::DeviceTree)];
    config.memory_regions = vec![ram(RAM, 0x1000, RW, MapType::Alloc)];
    config.emulated_regions = vec![emulated(RAM + 0x1000, 0x1000, 1)];
    let vm = Vm::new(config, host.clone()).unwrap();
    let flags = |address| vm.translate(gpa(address)).map(|leaf| leaf.flags);
    let seen = [0, 1, 2, 3].map(|page| flags(RAM - 0x1000 + page * PAGE));
    let device = Some(MappingFlags::PASSTHROUGH);
    assert_eq!(seen, [device, Some(RW), None, device]);
}

fn copies_of_every_alignment_arrive<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RW));
    // Every alignment to a cache line, and sizes of less than a word to more than a line.
    for offset in 0xfbe..0x1002 {
        for size in (0..40).chain(56..140).chain([0x1000, 0x1003, 0x2001]) {
            let data: Vec<u8> = (0..size).map(|n| (n + offset) as u8 | 1).collect();
            vm.write_to_guest(gpa(RAM), &[0; 0x4000]).unwrap();
            vm.write_to_guest(gpa(RAM + offset as u64), &data).unwrap();
            let mut all = vec![0xee; 0x4000];
            vm.read_from_guest(gpa(RAM), &mut all).unwrap();
            assert!(all[..offset].iter().all(|&byte| byte == 0));
            assert_eq!(all[offset..offset + size], data);
            assert!(all[offset + size..].iter().all(|&byte| byte == 0));
            let mut part = vec![0; size];
            vm.read_from_guest(gpa(RAM + offset as u64), &mut part)
                .unwrap();
            assert_eq!(part, data);
        }
    }
}

fn cpus_that_fault_together_get_one_frame<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4_0000, RW));
    let fault = |page: u64| loop {
        match vm.handle_page_fault(gpa(RAM + page * PAGE), WRITE).unwrap() {
            FaultOutcome::Retry => thread::yield_now(),
            outcome => return outcome,
        }
    };
    let filled: usize = thread::scope(|scope| {
        let cpus = [(); 4].map(|()| {
            scope.spawn(|| {
                (0..64)
                    .filter(|page| fault(*page) == FaultOutcome::Filled)
                    .count()
            })
        });
        cpus.map(|cpu| cpu.join().unwrap()).into_iter().sum()
    });
    assert_eq!(filled, 64);
    assert_eq!(vm.statistics().mapped_bytes, 64 * PAGE);
    shut_down(vm, &host);
}

fn fault_does_not_wait_for_a_long_operation<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x2000, RW, MapType::Alloc));
    let (started, wait_for_start) = mpsc::channel();
    let (finish, wait_for_finish) = mpsc::channel();
    host.sabotage(move |_, _| {
        started.send(()).unwrap();
        wait_for_finish.recv().unwrap();
    });
    thread::scope(|scope| {
        let unmapped = scope.spawn(|| vm.unmap_region(gpa(RAM + PAGE), PAGE));
        wait_for_start.recv().unwrap();
        assert_eq!(
            vm.handle_page_fault(gpa(RAM), WRITE),
            Ok(FaultOutcome::Retry)
        );
        finish.send(()).unwrap();
        assert_eq!(unmapped.join().unwrap(), Ok(()));
    });
    host.sabotage(|_, _| {});
    assert_eq!(
        vm.handle_page_fault(gpa(RAM), WRITE),
        Ok(FaultOutcome::Spurious)
    );
    assert_eq!(vm.fault_statistics().retries, 1);
}

/// The lock was held meanwhile: a callback that called the machine waited for itself.
fn a_visitor_may_call_the_machine_and_panic<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x10_0000, RW));
    for page in 0..100 {
        vm.handle_page_fault(gpa(RAM + page * 2 * PAGE), READ)
            .unwrap();
    }
    let all = GuestPhysRange::from_start_size(gpa(RAM), 0x10_0000).unwrap();
    let mut seen = Vec::new();
    vm.visit(all, |leaf| {
        assert_eq!(vm.translate(leaf.guest.start()), Some(leaf));
        if leaf.guest.start() != gpa(RAM) {
            vm.unmap_region(leaf.guest.start(), leaf.guest.size())
                .unwrap();
        }
        seen.push((leaf.guest.start().as_u64() - RAM) / PAGE);
    });
    assert_eq!(seen, (0..100).map(|page| 2 * page).collect::<Vec<_>>());
    assert_eq!(vm.statistics().mapped_bytes, PAGE);
    let visit = || vm.visit(all, |_| panic!("a visitor gives up"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(visit)).is_err());
    vm.write_to_guest(gpa(RAM), b"goes on").unwrap();
    shut_down(vm, &host);
}

/// What a guest stores with its caches off was hidden by a line in the hypervisor's cache, or lost when the line was
/// written back.
fn stores_behind_the_cache_are_seen_and_kept<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, ram(RAM, 0x2000, RW, MapType::Alloc));
    let (frame, _) = walk(&vm, &host, RAM).unwrap();
    let read = || {
        let mut word = [0; 8];
        vm.read_from_guest(gpa(RAM + 0x40), &mut word).unwrap();
        u64::from_le_bytes(word)
    };
    host.store_behind_cache(hpa(frame + 0x40), 0x1111);
    assert_eq!(read(), 0x1111);
    host.store_behind_cache(hpa(frame + 0x40), 0x2222);
    vm.write_to_guest(gpa(RAM + 0x48), b"beside").unwrap();
    assert_eq!(read(), 0x2222);
    shut_down(vm, &host);
}

fn abstraction_may_be_borrowed_or_shared<B: Backend>() {
    fn root<F: Format>(format: F, hal: impl VmHal) -> bool {
        let vm = Vm::new(guest_vm::VmConfig::new(1, "borrower", format), hal).unwrap();
        vm.page_table_root().is_aligned_4k()
    }
    let host = host::<B>();
    assert!(root(B::format(), &*host));
    assert!(root(B::format(), host));
}

on_every_backend! {
    device_flag_leaves_a_memory_region_out,
    identical_memory_is_reserved_zeroed_and_given_back,
    identical_memory_that_is_taken_is_mapped_with_a_warning,
    allocated_memory_takes_blocks_where_it_may,
    runs_that_come_back_whole_are_single_frames,
    unmap_crosses_regions_of_every_kind,
    stale_read_only_translation_is_a_spurious_fault,
    spurious_fault_forgets_absent_entries_of_every_level,
    device_memory_is_not_copied,
    caches_are_made_ready_for_the_guest,
    device_tree_region_gives_way,
    copies_of_every_alignment_arrive,
    cpus_that_fault_together_get_one_frame,
    fault_does_not_wait_for_a_long_operation,
    a_visitor_may_call_the_machine_and_panic,
    stores_behind_the_cache_are_seen_and_kept,
    abstraction_may_be_borrowed_or_shared,
}
