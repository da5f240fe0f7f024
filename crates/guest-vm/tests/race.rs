//! CPUs of the host that use machines at once. ThreadSanitizer runs this too.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::*;
use guest_vm::{FaultOutcome, IVC_DEVICE_TYPE, Vm};
use simulated_host::SimulatedHost;

const RAM: u64 = 0x8000_0000;
const IVC: u64 = 0x4000_0000;
const PEER: u64 = 0x5000_0000;

fn machine(host: &Arc<SimulatedHost>, vmid: u16) -> TestVm<X86> {
    let mut config = config::<X86>();
    config.vmid = vmid;
    config.memory_regions = vec![lazy(RAM, 0x2_0000, RW)];
    config.emulated_regions = vec![emulated(IVC, 0x4000, IVC_DEVICE_TYPE)];
    Vm::new(config, host.clone()).unwrap()
}

/// Two machines copied to and from memory that they share by volatile accesses, each under its own lock: a
/// data race.
#[test]
fn machines_that_share_a_channel_do_not_race() {
    let host = host::<X86>();
    let (owner, peer) = (machine(&host, 1), machine(&host, 2));
    let (guest, channel) = owner.alloc_ivc_channel(0x2000).unwrap();
    peer.map_ivc_channel(gpa(PEER), &channel, RW).unwrap();
    drop(channel);
    // The aligned words of a copy that begins and ends in the middle of others.
    let (begin, size) = (0xff2, 0x8c);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..2000 {
                let data = [if round % 2 == 0 { 0 } else { 0xff }; 0x8c];
                let start = guest.start().checked_add(begin).unwrap();
                owner.write_to_guest(start, &data).unwrap();
            }
        });
        let mut data = vec![0; size];
        for _ in 0..2000 {
            peer.read_from_guest(gpa(PEER + begin), &mut data).unwrap();
            let is_whole = |word: &[u8]| word.iter().all(|byte| *byte == word[0]);
            assert!(is_whole(&data[..2]), "a word of 2 bytes was torn");
            assert!(is_whole(&data[2..6]), "a word of 4 bytes was torn");
            let mut words = data[6..size - 6].chunks(8);
            assert!(words.all(is_whole), "a word of 8 bytes was torn");
        }
    });
    for vm in [&owner, &peer] {
        host.machine().retire(vm.address_space_id().root_register);
    }
    drop(owner);
    shut_down(peer, &host);
}

#[test]
fn cpus_that_fault_and_copy_the_same_pages_do_not_race() {
    let host = host::<X86>();
    let vm = machine(&host, 1);
    let filled = AtomicUsize::new(0);
    thread::scope(|scope| {
        for cpu in 0..3_u8 {
            let (vm, filled) = (&vm, &filled);
            scope.spawn(move || {
                for page in 0..32 {
                    let at = gpa(RAM + page * PAGE + 8);
                    if cpu == 0 {
                        vm.write_to_guest(at, &[cpu; 24]).unwrap();
                        vm.read_from_guest(at, &mut [0; 40]).unwrap();
                        continue;
                    }
                    let outcome = loop {
                        match vm.handle_page_fault(at, WRITE).unwrap() {
                            FaultOutcome::Retry => thread::yield_now(),
                            outcome => break outcome,
                        }
                    };
                    let is_filled = outcome == FaultOutcome::Filled;
                    filled.fetch_add(usize::from(is_filled), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(filled.into_inner() <= 32, "a page was filled twice");
    assert_eq!(vm.statistics().mapped_bytes, 32 * PAGE);
    shut_down(vm, &host);
}
