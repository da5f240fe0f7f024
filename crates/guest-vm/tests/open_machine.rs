//! What a hypervisor asks of a machine, and changes in it, while the machine runs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use common::*;
use guest_addr::GuestPhysRange;
use guest_vm::{
    AddressOwner, Contents, FaultOutcome, IVC_DEVICE_TYPE, MapType, Occupant, Population, Vm,
    VmError,
};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, MapError};
use simulated_host::Failure;

const RAM: u64 = 0x8000_0000;
const IVC: u64 = 0x4000_0000;
const HOST: u64 = 0x10_0000;

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(gpa(start), size).unwrap()
}

/// Nobody could say what a machine has: `NotMapped` left open whether an emulated device has the address.
fn every_address_has_a_known_owner<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        lazy(RAM, 0x3000, RW),
        // Another window: no part of the one before.
        lazy(RAM + 0x3000, 0x1000, RW).with_population(Population::OnFirstUse { around: 0x1_0000 }),
    ];
    config.passthrough_regions = vec![device(0x1000_0000, HOST, PAGE)];
    config.emulated_regions = vec![
        emulated(IVC, 0x2000, IVC_DEVICE_TYPE),
        emulated(0x2000_0100, 0x40, 7),
        emulated(0x2000_0800, 0x1000, 8),
    ];
    let vm = Vm::new(config, host.clone()).unwrap();
    let (channel, _) = vm.alloc_ivc_channel(PAGE).unwrap();

    let found: Vec<_> = vm.regions().unwrap();
    let summary: Vec<_> = found
        .iter()
        .map(|region| (region.guest, region.occupant))
        .collect();
    let expected = [
        (range(0x1000_0000, PAGE), Occupant::Linear),
        (range(0x2000_0000, 0x2000), Occupant::Emulated),
        (channel, Occupant::IvcChannel),
        (range(RAM, 0x3000), Occupant::Allocated),
        (range(RAM + 0x3000, 0x1000), Occupant::Allocated),
    ];
    assert_eq!(summary, expected);
    assert_eq!(found[0].host, Some(hpa(HOST)));
    assert_eq!(found[0].flags, MappingFlags::PASSTHROUGH);
    let mut visited = Vec::new();
    vm.visit_regions(range(0x1000_0800, RAM), |region| visited.push(region));
    assert_eq!(visited, found);

    let region = vm.region_at(gpa(RAM + 0x1234)).unwrap();
    assert_eq!(region.bytes_from(gpa(RAM + 0x1234)), Some(0x3000 - 0x1234));
    assert_eq!(region.bytes_from(gpa(RAM + 0x3000)), None);
    assert_eq!(vm.occupant(gpa(RAM)), Some(AddressOwner::Region(region)));
    let device_at = |address| match vm.occupant(gpa(address)) {
        Some(AddressOwner::Device(device)) => Some((device.index, device.device_type)),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(device_at(0x2000_013f), Some((1, 7)));
    assert_eq!(device_at(0x2000_17ff), Some((2, 8)));
    // The same page, and no byte of a device; and nothing at all.
    assert_eq!(device_at(0x2000_0140), None);
    assert_eq!(device_at(0x3000_0000), None);
    assert_eq!(
        vm.format().geometry().input_bits(),
        B::format().geometry().input_bits()
    );
    assert!(Arc::ptr_eq(vm.hal(), &host));
    shut_down(vm, &host);
}

fn memory_comes_and_goes_at_run_time<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x2000, RW));
    let more = gpa(RAM + 0x10_0000);
    vm.add_memory(more, 0x40_0000, RW, PAGE).unwrap();
    assert_eq!(vm.handle_page_fault(more, WRITE), Ok(FaultOutcome::Filled));
    vm.write_to_guest(more, b"more").unwrap();
    // All of it at once, as far as it is not there, in leaves of 2 MiB where they fit.
    let all = range(RAM, 0x60_0000);
    vm.populate_range(all).unwrap();
    assert_eq!(vm.statistics().mapped_bytes, 0x40_2000);
    let calls = host.simulated_frames().calls();
    vm.populate_range(all).unwrap();
    assert_eq!(host.simulated_frames().calls(), calls);
    let mut word = [0; 4];
    vm.read_from_guest(more, &mut word).unwrap();
    assert_eq!(&word, b"more");
    // What is refused changes nothing.
    let regions = vm.regions().unwrap();
    let occupied = vm.add_memory(gpa(RAM + 0x1000), 0x2000, RW, PAGE);
    assert!(matches!(occupied, Err(VmError::Occupied { .. })));
    let unaligned = vm.add_memory(gpa(0x800), PAGE, RW, PAGE);
    assert!(matches!(
        unaligned,
        Err(VmError::Map(MapError::Unaligned { .. }))
    ));
    let device = vm.add_memory(gpa(0), PAGE, MappingFlags::PASSTHROUGH, PAGE);
    assert!(matches!(device, Err(VmError::DeviceMemory { .. })));
    let write_only = vm.add_memory(gpa(0), PAGE, WRITE, PAGE);
    assert!(matches!(write_only, Err(VmError::Map(MapError::Flags(_)))));
    let wide = vm.add_memory(gpa(1 << 60), PAGE, RW, PAGE);
    assert!(matches!(
        wide,
        Err(VmError::Map(MapError::GuestTooWide { .. }))
    ));
    assert_eq!(vm.regions().unwrap(), regions);
    // The middle goes, and comes back empty.
    vm.unmap_region(gpa(RAM + 0x10_0000), 0x1000).unwrap();
    assert_eq!(
        vm.handle_page_fault(more, READ),
        Ok(FaultOutcome::NotMapped)
    );
    vm.add_memory(more, PAGE, RW, PAGE).unwrap();
    vm.read_from_guest(more, &mut word).unwrap();
    assert_eq!(word, [0; 4]);
    assert_eq!(vm.regions().unwrap(), regions);
    shut_down(vm, &host);
}

/// Frames that are missing: pages that were populated stay, none is lost, and the rest can be asked for again.
fn a_population_that_fails_goes_on_later<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM + 0x1f_c000, 0x8000, RW));
    for k in 1.. {
        host.simulated_frames().fail_at(k, Failure::Once);
        let populated = vm.populate_range(range(RAM, 0x40_0000));
        host.simulated_frames().fail_at(0, Failure::Once);
        let (frames, counted) = (host.simulated_frames().outstanding_count(), vm.statistics());
        let mapped = counted.mapped_bytes / PAGE;
        assert_eq!(frames as u64, mapped + counted.table_frames);
        if populated.is_ok() {
            assert_eq!(mapped, 8);
            assert!(k > 8, "only {k} allocations");
            break;
        }
        vm.unmap_region(gpa(RAM + 0x1f_c000), 0x8000).unwrap();
        vm.add_memory(gpa(RAM + 0x1f_c000), 0x8000, RW, PAGE)
            .unwrap();
    }
    shut_down(vm, &host);
}

fn words_are_loaded_stored_and_exchanged<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x2000, READ));
    let at = |offset| gpa(RAM + offset);
    // The page is absent, and the guest may not write: neither binds the host.
    vm.store(at(0x10), 0x1122_3344_5566_7788_u64, Ordering::Release)
        .unwrap();
    assert_eq!(
        vm.load::<u64>(at(0x10), Ordering::Acquire),
        Ok(0x1122_3344_5566_7788)
    );
    vm.store(at(0x12), 0xaabb_u16, Ordering::SeqCst).unwrap();
    vm.store(at(0x17), 0xcc_u8, Ordering::Relaxed).unwrap();
    let word = vm.load::<u64>(at(0x10), Ordering::SeqCst).unwrap();
    let mut bytes = 0x1122_3344_5566_7788_u64.to_ne_bytes();
    bytes[2..4].copy_from_slice(&0xaabb_u16.to_ne_bytes());
    bytes[7] = 0xcc;
    assert_eq!(word.to_ne_bytes(), bytes);
    assert_eq!(
        vm.compare_exchange(at(0x12), 0xaabb_u16, 0x1234),
        Ok(Ok(0xaabb))
    );
    assert_eq!(
        vm.compare_exchange(at(0x12), 0xaabb_u16, 0x9999),
        Ok(Err(0x1234))
    );
    assert_eq!(vm.compare_exchange(at(0x17), 0xcc_u8, 0xdd), Ok(Ok(0xcc)));
    bytes[2..4].copy_from_slice(&0x1234_u16.to_ne_bytes());
    bytes[7] = 0xdd;
    assert_eq!(
        vm.load::<u64>(at(0x10), Ordering::Relaxed)
            .unwrap()
            .to_ne_bytes(),
        bytes
    );
    let misaligned = VmError::Misaligned {
        address: at(0x12),
        size: 4,
    };
    assert_eq!(vm.load::<u32>(at(0x12), Ordering::Relaxed), Err(misaligned));
    let nothing = VmError::NotMapped {
        address: at(0x2000),
    };
    assert_eq!(vm.store(at(0x2000), 1_u8, Ordering::Relaxed), Err(nothing));
    shut_down(vm, &host);
}

/// Device models on several CPUs take turns by a word beside others, and pass data on by an index.
#[test]
fn exchanges_and_ordered_words_hold_between_cpus() {
    const ROUNDS: u16 = 2000;
    let host = host::<X86>();
    let vm = vm_with::<X86>(&host, lazy(RAM, 0x2000, RW));
    let (lock, neighbour, count) = (gpa(RAM + 2), gpa(RAM), gpa(RAM + 8));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    while vm.compare_exchange(lock, 0_u16, 1).unwrap().is_err() {
                        thread::yield_now();
                    }
                    let before = vm.load::<u32>(count, Ordering::Relaxed).unwrap();
                    vm.store(count, before + 1, Ordering::Relaxed).unwrap();
                    vm.store(lock, 0_u16, Ordering::Release).unwrap();
                }
            });
        }
        // Changes the bytes beside the lock all the time.
        scope.spawn(|| {
            for round in 0..ROUNDS {
                vm.store(neighbour, round, Ordering::Relaxed).unwrap();
            }
        });
    });
    assert_eq!(
        vm.load::<u32>(count, Ordering::Relaxed),
        Ok(2 * u32::from(ROUNDS))
    );
    assert_eq!(vm.load::<u16>(neighbour, Ordering::Relaxed), Ok(ROUNDS - 1));
    // A ring: its entry is there when its index is.
    let (index, entry) = (gpa(RAM + 0x102), gpa(RAM + 0x1000));
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=ROUNDS {
                vm.write_to_guest(entry, &[number as u8; 64]).unwrap();
                vm.store(index, number, Ordering::Release).unwrap();
                while vm.load::<u16>(index, Ordering::Acquire).unwrap() != 0 {
                    thread::yield_now();
                }
            }
        });
        for number in 1..=ROUNDS {
            while vm.load::<u16>(index, Ordering::Acquire).unwrap() != number {
                thread::yield_now();
            }
            let mut bytes = [0; 64];
            vm.read_from_guest(entry, &mut bytes).unwrap();
            assert_eq!(bytes, [number as u8; 64]);
            vm.store(index, 0_u16, Ordering::Release).unwrap();
        }
    });
    shut_down(vm, &host);
}

#[cfg(feature = "zerocopy")]
fn descriptors_are_read_and_written_whole<B: Backend>() {
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    /// A descriptor of a split virtqueue (Virtual I/O Device 1.2, 2.7.5).
    #[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable)]
    #[repr(C)]
    struct Descriptor {
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    }

    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x2000, RW));
    let written: Vec<Descriptor> = (0..300)
        .map(|number| Descriptor {
            address: u64::from(number) << 40,
            length: 7,
            flags: 1,
            next: number + 1,
        })
        .collect();
    vm.write_object(gpa(RAM), &written[..]).unwrap();
    let mut read = vec![Descriptor::default(); 300];
    vm.read_objects(gpa(RAM), &mut read).unwrap();
    assert_eq!(read, written);
    assert_eq!(vm.read_object(gpa(RAM + 16 * 255)), Ok(written[255]));
    shut_down(vm, &host);
}

#[cfg(not(feature = "zerocopy"))]
fn descriptors_are_read_and_written_whole<B: Backend>() {
    assert_eq!(size_of::<B>(), 0);
}

fn pinned_memory_stays_where_it_is<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RW));
    vm.write_to_guest(gpa(RAM + 0xff0), &[9; 0x20]).unwrap();
    let pinned = vm.pin(range(RAM + 0xff0, 0x2020)).unwrap();
    let pieces: Vec<_> = pinned.pieces().collect();
    let bytes: u64 = pieces.iter().map(|piece| piece.size()).sum();
    assert_eq!(bytes, 0x2020);
    let mut next = RAM + 0xff0;
    for piece in &pieces {
        // Each page of a piece is where the hardware finds it.
        let mut offset = 0;
        while offset < piece.size() {
            let found = walk(&vm, &host, next + offset).unwrap().0;
            assert_eq!(found, piece.start().as_u64() + offset);
            offset += PAGE - (next + offset) % PAGE;
        }
        next += piece.size();
    }
    assert!(
        pieces
            .windows(2)
            .all(|pair| !pair[0].is_followed_by(&pair[1]))
    );
    // A change waits until the memory is let go; faults do not.
    thread::scope(|scope| {
        let unmapped = scope.spawn(|| vm.unmap_region(gpa(RAM), 0x4000));
        while vm.handle_page_fault(gpa(RAM), READ) != Ok(FaultOutcome::Retry) {
            assert!(!unmapped.is_finished());
            thread::yield_now();
        }
        assert!(walk(&vm, &host, RAM + 0xff0).is_some());
        drop(pinned);
        assert_eq!(unmapped.join().unwrap(), Ok(()));
    });
    let refused = vm.pin(range(RAM, PAGE)).unwrap_err();
    assert_eq!(refused, VmError::NotMapped { address: gpa(RAM) });
    shut_down(vm, &host);
}

fn a_reboot_clears_memory_or_keeps_it<B: Backend>() {
    let host = host::<B>();
    let mut config = config::<B>();
    config.memory_regions = vec![
        lazy(RAM, 0x4000, RW),
        ram(RAM + 0x10_0000, 0x2000, RW, MapType::Identical),
    ];
    config.emulated_regions = vec![emulated(IVC, 0x2000, IVC_DEVICE_TYPE)];
    let vm = Vm::new(config, host.clone()).unwrap();
    let empty = vm.regions().unwrap();
    let places = [RAM, RAM + 0x3000, RAM + 0x10_1000];
    let read = |place| vm.load::<u64>(gpa(place), Ordering::Relaxed).unwrap();
    for place in places {
        vm.store(gpa(place), place, Ordering::Relaxed).unwrap();
    }
    vm.alloc_ivc_channel(PAGE).unwrap();
    vm.clear(Contents::Kept).unwrap();
    assert_eq!(vm.regions().unwrap(), empty);
    assert_eq!(places.map(read), places);
    vm.protect_region(gpa(RAM), PAGE, READ).unwrap();
    let regions = vm.regions().unwrap();
    vm.clear(Contents::Cleared).unwrap();
    assert_eq!(vm.regions().unwrap(), regions);
    // Two pages of reserved memory are left.
    assert_eq!(vm.statistics().mapped_bytes, 0x2000);
    assert_eq!(places.map(read), [0; 3]);
    shut_down(vm, &host);
}

/// The old VMID is invalidated before another machine may have it; faults and changes name the new one from then on.
fn a_machine_gets_another_vmid<B: Backend>() {
    #[expect(unsafe_code, reason = "no CPU is inside the guest")]
    fn set<B: Backend>(vm: &TestVm<B>, vmid: u16) -> Result<(), VmError> {
        // SAFETY: the simulated CPUs walk the register that the test gives them, the current one; nobody had the VMID.
        unsafe { vm.set_vmid(vmid) }
    }

    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RW));
    vm.write_to_guest(gpa(RAM), b"data").unwrap();
    let old = vm.address_space_id();
    assert!(walk(&vm, &host, RAM).is_some());
    // No CPU walks by the old register any more.
    host.machine().retire(old.root_register);
    set::<B>(&vm, 9).unwrap();
    let request = host.requests().pop().unwrap();
    assert_eq!((request.space(), request.covers_everything()), (old, true));
    let new = vm.address_space_id();
    assert_eq!(new.vmid, 9);
    assert!(walk(&vm, &host, RAM).is_some());
    vm.unmap_region(gpa(RAM), PAGE).unwrap();
    assert_eq!(host.requests().pop().unwrap().space(), new);
    assert_eq!(walk(&vm, &host, RAM), None);
    // The one that it had is free, and its own is not.
    let mut config = config::<B>();
    let second = Vm::<B::Format, _>::new(config.clone(), host.clone()).unwrap();
    assert_eq!(set::<B>(&vm, 5), Err(VmError::VmidInUse { vmid: 5 }));
    host.machine()
        .retire(second.address_space_id().root_register);
    drop(second);
    host.fail_invalidations(1);
    assert!(matches!(set::<B>(&vm, 6), Err(VmError::NotInvalidated(_))));
    assert_eq!(vm.address_space_id(), new);
    config.vmid = 6;
    let third = Vm::<B::Format, _>::new(config, host.clone()).unwrap();
    host.machine()
        .retire(third.address_space_id().root_register);
    drop(third);
    shut_down(vm, &host);
}

/// The first mode that holds everything, host addresses and flags included.
#[test]
fn a_mode_is_chosen_that_holds_the_configuration() {
    use nested_paging_riscv64::{Capabilities, GStage, Mode};

    let formats = || {
        [Mode::Sv39x4, Mode::Sv48x4, Mode::Sv57x4]
            .map(|mode| GStage::new(mode, Capabilities::common()).unwrap())
    };
    let chosen = |region, device: Option<_>| {
        let mut config = config::<Riscv64>();
        config.memory_regions = vec![region];
        config.passthrough_regions.extend(device);
        // Emulated devices are mapped nowhere.
        config.emulated_regions = vec![emulated(1 << 60, PAGE, 7)];
        let format = config.choose_format(formats());
        format.map(|format| format.geometry().input_bits())
    };
    let end = 1 << 41;
    assert_eq!(chosen(lazy(end - PAGE, PAGE, RW), None), Some(41));
    assert_eq!(chosen(lazy(end - PAGE, PAGE + 1, RW), None), Some(50));
    assert_eq!(
        chosen(lazy(0, PAGE, RW), Some(device(1 << 50, HOST, 1))),
        Some(59)
    );
    assert_eq!(
        chosen(lazy(0, PAGE, RW), Some(device(0x1000, 1 << 56, 1))),
        None
    );
    assert_eq!(chosen(lazy(0, PAGE, WRITE), None), None);
}

on_every_backend! {
    a_machine_gets_another_vmid,
    every_address_has_a_known_owner,
    memory_comes_and_goes_at_run_time,
    a_population_that_fails_goes_on_later,
    words_are_loaded_stored_and_exchanged,
    descriptors_are_read_and_written_whole,
    pinned_memory_stays_where_it_is,
    a_reboot_clears_memory_or_keeps_it,
}
