//! Faults and copies that run at once, beside each other and beside changes.
#![expect(
    clippy::unwrap_used,
    reason = "clippy does not see that generic functions are tests"
)]

#[macro_use]
mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::*;
use guest_vm::{FaultOutcome, MemoryRegion, Population, VmError};
use simulated_host::Failure;

const RAM: u64 = 0x8000_0000;
const BLOCK: u64 = 0x20_0000;

fn around(start: u64, size: u64, around: u64) -> MemoryRegion<'static> {
    lazy(start, size, RW).with_population(Population::OnFirstUse { around })
}

fn fault<B: Backend>(vm: &TestVm<B>, address: u64) -> FaultOutcome {
    vm.handle_page_fault(gpa(address), WRITE).unwrap()
}

/// As many vCPUs as a large guest has, each at its own random pages of the same memory.
#[test]
fn sixty_four_cpus_fill_each_page_once() {
    const PAGES: u64 = 300;
    let host = host::<X86>();
    let vm = vm_with::<X86>(&host, lazy(RAM, PAGES * PAGE, RW));
    let (filled, most_retries) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for cpu in 0..64_u64 {
            let (vm, filled, most_retries) = (&vm, &filled, &most_retries);
            scope.spawn(move || {
                let mut random = cpu + 1;
                for _ in 0..PAGES / 4 {
                    // Knuth's generator for 64 bits.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(cpu);
                    let page = (random >> 33) % PAGES;
                    let mut retries = 0;
                    while fault::<X86>(vm, RAM + page * PAGE) == FaultOutcome::Retry {
                        retries += 1;
                    }
                    most_retries.fetch_max(retries, Ordering::Relaxed);
                    filled.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let counted = vm.fault_statistics();
    assert_eq!(counted.filled + counted.spurious, filled.into_inner());
    assert_eq!(counted.filled * PAGE, vm.statistics().mapped_bytes);
    assert_eq!(counted.filled_4k, counted.filled);
    // Each page that is mapped has a frame, and each table, and nothing else is out.
    let out = host.simulated_frames().outstanding_count() as u64;
    assert_eq!(out, counted.filled + vm.statistics().table_frames);
    // No writer came, so none was told to try again.
    assert_eq!((most_retries.into_inner(), counted.retries), (0, 0));
    shut_down(vm, &host);
}

/// Under a lock that readers can enter while a writer waits, it might wait for ever.
#[test]
fn a_change_gets_in_while_readers_keep_coming() {
    let host = host::<X86>();
    assert!(host.memory().add(hpa(0x10_0000), 1, 0));
    let vm = vm_with::<X86>(&host, ram(RAM, PAGE, RW, guest_vm::MapType::Alloc));
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    vm.read_from_guest(gpa(RAM), &mut [0; 8]).unwrap();
                }
            });
        }
        for _ in 0..200 {
            vm.map_region(gpa(RAM + 0x1_0000), hpa(0x10_0000), PAGE, RW)
                .unwrap();
            vm.unmap_region(gpa(RAM + 0x1_0000), PAGE).unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
    });
    shut_down(vm, &host);
}

/// Copies fill what they need beside faults of the same pages, and nothing that was written is lost.
#[test]
fn copies_and_faults_fill_the_same_blocks() {
    let host = host::<X86>();
    let vm = vm_with::<X86>(&host, around(RAM, 4 * BLOCK, BLOCK));
    thread::scope(|scope| {
        for cpu in 0..4_u64 {
            let vm = &vm;
            scope.spawn(move || {
                for step in 0..32 {
                    let at = RAM + step * (4 * BLOCK / 32);
                    // From the middle of a block into the next.
                    vm.write_to_guest(gpa(at + cpu * 8), &cpu.to_ne_bytes())
                        .unwrap();
                    vm.read_from_guest(gpa(at), &mut [0; 0x3000]).unwrap();
                    while fault::<X86>(vm, at) == FaultOutcome::Retry {}
                }
            });
        }
    });
    for step in 0..32 {
        let mut words = [0; 32];
        let at = gpa(RAM + step * (4 * BLOCK / 32));
        vm.read_from_guest(at, &mut words).unwrap();
        let expected: Vec<u8> = (0..4_u64).flat_map(u64::to_ne_bytes).collect();
        assert_eq!(words, expected[..]);
    }
    shut_down(vm, &host);
}

/// A fault took one page where the region and the allocator had 2 MiB.
fn a_fault_fills_two_mebibytes_or_a_page<B: Backend>() {
    let host = host::<B>();
    // The last block is not whole.
    let vm = vm_with::<B>(&host, around(RAM, 3 * BLOCK - PAGE, BLOCK));
    assert_eq!(fault::<B>(&vm, RAM + 5 * PAGE), FaultOutcome::Filled);
    assert_eq!(vm.statistics().mapped_bytes, BLOCK);
    assert_eq!(vm.translate(gpa(RAM)).unwrap().guest.size(), BLOCK);
    assert_eq!(fault::<B>(&vm, RAM), FaultOutcome::Spurious);
    // The allocator has no run.
    host.simulated_frames().fail_at(1, Failure::Once);
    assert_eq!(fault::<B>(&vm, RAM + BLOCK), FaultOutcome::Filled);
    assert_eq!(vm.translate(gpa(RAM + BLOCK)).unwrap().guest.size(), PAGE);
    // Then a table is in the way of the block.
    assert_eq!(fault::<B>(&vm, RAM + BLOCK + PAGE), FaultOutcome::Filled);
    // The region has not all of the block.
    assert_eq!(fault::<B>(&vm, RAM + 2 * BLOCK), FaultOutcome::Filled);
    assert_eq!(vm.statistics().mapped_bytes, BLOCK + 3 * PAGE);
    let counted = vm.fault_statistics();
    assert_eq!((counted.filled_2m, counted.filled_4k), (1, 3));
    shut_down(vm, &host);
}

/// Pages around the one that faulted are filled as far as region and allocator have them.
fn a_fault_fills_pages_around_its_own<B: Backend>() {
    let host = host::<B>();
    // Begins in the middle of 64 KiB.
    let vm = vm_with::<B>(&host, around(RAM + 0x8000, 0x2_8000, 0x1_0000));
    assert_eq!(fault::<B>(&vm, RAM + 0xf000), FaultOutcome::Filled);
    assert_eq!(vm.statistics().mapped_bytes, 0x8000);
    assert_eq!(vm.translate(gpa(RAM + 0x1_0000)), None);
    // The page itself, and two around it: that there are no more is no error.
    host.simulated_frames().fail_at(4, Failure::FromThenOn);
    assert_eq!(fault::<B>(&vm, RAM + 0x1_5000), FaultOutcome::Filled);
    host.simulated_frames().fail_at(0, Failure::Once);
    assert_eq!(vm.statistics().mapped_bytes, 0x8000 + 3 * PAGE);
    assert!(vm.translate(gpa(RAM + 0x1_5000)).is_some());
    // What is there is left alone.
    assert_eq!(fault::<B>(&vm, RAM + 0x1_6000), FaultOutcome::Filled);
    assert_eq!(vm.statistics().mapped_bytes, 0x1_8000);
    let counted = vm.fault_statistics();
    assert_eq!((counted.filled, counted.filled_4k), (3, 24));
    shut_down(vm, &host);
}

/// The pages that an unmap removed and could not invalidate were never filled again: each fault met what it had left.
fn a_fault_finishes_a_removal_that_failed<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x4000, RW));
    vm.write_to_guest(gpa(RAM), &[1; 0x4000]).unwrap();
    host.fail_invalidations(100);
    vm.unmap_region(gpa(RAM), 0x4000).unwrap_err();
    // The memory is the guest's still. Nothing can be filled where a CPU may use the old page.
    let refused = vm.handle_page_fault(gpa(RAM), WRITE);
    assert!(matches!(refused, Err(VmError::Unmap(_))), "{refused:?}");
    host.fail_invalidations(0);
    assert_eq!(fault::<B>(&vm, RAM), FaultOutcome::Retry);
    assert_eq!(fault::<B>(&vm, RAM), FaultOutcome::Filled);
    let mut byte = [1];
    vm.read_from_guest(gpa(RAM + 0x3000), &mut byte).unwrap();
    assert_eq!(byte, [0]);
    shut_down(vm, &host);
}

/// With a reserve, a fault needs no frame of the allocator for tables, and the reserve comes back with the machine.
fn a_fault_takes_tables_from_the_reserve<B: Backend>() {
    let host = host::<B>();
    let vm = vm_with::<B>(&host, lazy(RAM, 0x1_0000_0000, RW));
    vm.refill_table_frames(5).unwrap();
    vm.refill_table_frames(3).unwrap();
    assert_eq!(vm.table_frames_in_reserve(), 5);
    let tables = |vm: &TestVm<B>| vm.statistics().table_frames;
    let before = tables(&vm);
    for far in [0, 0x4000_0000] {
        // The page, and nothing else.
        host.simulated_frames().fail_at(2, Failure::FromThenOn);
        assert_eq!(fault::<B>(&vm, RAM + far), FaultOutcome::Filled);
        host.simulated_frames().fail_at(0, Failure::Once);
    }
    let taken = (tables(&vm) - before) as usize;
    assert!(taken >= 3, "only {taken} tables");
    assert_eq!(vm.table_frames_in_reserve(), 5 - taken);
    vm.refill_table_frames(usize::MAX).unwrap();
    assert_eq!(vm.table_frames_in_reserve(), 16);
    shut_down(vm, &host);
}

on_every_backend! {
    a_fault_takes_tables_from_the_reserve,
    a_fault_fills_two_mebibytes_or_a_page,
    a_fault_fills_pages_around_its_own,
    a_fault_finishes_a_removal_that_failed,
}
