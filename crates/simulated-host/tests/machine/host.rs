//! The host as tables and virtual machines use it.

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use guest_vm::VmHal;
use nested_page_table::{AddressSpaceId, HostFrames, Invalidation, Scope, TableHost};
use simulated_host::{Event, Placement, SimulatedHost, Violation};

use crate::common::{ARCHES, Arch, RW, names};

fn host(arch: Arch) -> SimulatedHost {
    let convert = move |request: &Invalidation| arch.forget(request.space().root_register);
    SimulatedHost::new(
        Placement::BelowBits(47),
        arch.model(3),
        arch.walker(),
        convert,
    )
}

fn range(base: HostPhysAddr, size: u64) -> HostPhysRange {
    HostPhysRange::from_start_size(base, size).unwrap()
}

/// A root whose first entry is a block of 1 GiB, touched by all CPUs, and then not there. EPT has a
/// level more.
fn unmapped(host: &SimulatedHost, arch: Arch) -> u64 {
    let frames = TableHost::frames(host);
    let root = frames.alloc_zeroed(4, 0x4000).unwrap();
    let register = arch.register(root.as_u64(), 1);
    let leaf = arch.leaf(2, 1 << 30, RW);
    let mut entry = root;
    if arch.is_x86() {
        entry = frames.alloc_zeroed(1, 0x1000).unwrap();
        assert!(host.memory().write(root, arch.pointer(entry.as_u64())));
    }
    assert!(host.memory().write(entry, leaf));
    let walks = host.machine().touch_all(register);
    assert!(walks.len() >= 512);
    assert_eq!(walks[0].size(), 1 << 30);
    let last_byte = (1 << host.machine().input_bits()) - 1;
    assert_eq!(walks.last().unwrap().last(), GuestPhysAddr::new(last_byte));
    assert!(host.memory().write(entry, 0));
    register
}

fn request(register: u64, scope: Scope) -> Invalidation {
    let space = AddressSpaceId {
        vmid: 1,
        root_register: register,
    };
    Invalidation::everything(space, scope)
}

#[test]
fn requests_reach_the_cpus_that_they_address() {
    for arch in ARCHES {
        let host = host(arch);
        let register = unmapped(&host, arch);
        let local = request(register, Scope::Local);
        host.run_on(1);
        TableHost::invalidate(&host, &local).unwrap();
        host.machine().check();
        let left = host.take_violations().len();
        assert_eq!(left, if arch == Arch::Aarch64 { 0 } else { 2 }, "{arch:?}");
        let all = request(register, Scope::AllCpus);
        VmHal::invalidate(&host, &all).unwrap();
        host.machine().check();
        assert_eq!(host.violations(), []);
        assert_eq!(host.requests(), [local, all]);
    }
}

#[test]
fn sabotage_is_noticed() {
    for arch in ARCHES {
        let host = host(arch);
        let register = unmapped(&host, arch);
        host.sabotage(|_, instructions| instructions.clear());
        TableHost::invalidate(&host, &request(register, Scope::AllCpus)).unwrap();
        host.machine().check();
        assert_eq!(names(&host.take_violations()), ["Stale"], "{arch:?}");
    }
}

#[test]
fn regions_are_reserved_once_and_given_back_whole() {
    let host = host(Arch::Riscv);
    let base = HostPhysAddr::new(0x8000_0000);
    let refused = HostPhysAddr::new(0x9000_0000);
    host.refuse_region(range(refused, 0x1000));
    assert!(!host.alloc_memory_region_at(refused, 0x20_0000));
    assert!(host.alloc_memory_region_at(base, 0x4000));
    assert!(!host.alloc_memory_region_at(HostPhysAddr::new(0x8000_3000), 0x4000));
    assert!(!host.alloc_memory_region_at(HostPhysAddr::new(0x8000_4800), 0x1000));
    assert!(!host.alloc_memory_region_at(base, 0));
    assert_eq!(host.reserved_regions(), [range(base, 0x4000)]);
    assert_ne!(
        host.memory().read(base),
        Some(0),
        "contents are unspecified"
    );
    let frame = VmHal::frames(&host).alloc(1, 0x1000).unwrap();
    assert!(
        !host.alloc_memory_region_at(frame, 0x1000),
        "the allocator's"
    );
    host.dealloc_memory_region_at(base, 0x3000);
    assert_eq!(
        host.take_violations(),
        [Violation::RegionNotReserved { base, size: 0x3000 }]
    );
    host.dealloc_memory_region_at(base, 0x4000);
    assert!(host.alloc_memory_region_at(base, 0x2000), "free again");
    assert_eq!(host.violations(), []);
}

#[test]
fn memory_that_a_guest_reaches_was_cleaned() {
    let arch = Arch::Aarch64;
    let host = host(arch);
    host.machine().require_cleaning();
    let frames = VmHal::frames(&host);
    let root = frames.alloc_zeroed(1, 0x1000).unwrap();
    let block = frames.alloc_zeroed(512, 0x20_0000).unwrap();
    let table = frames.alloc_zeroed(1, 0x1000).unwrap();
    assert!(host.memory().write(root, arch.pointer(table.as_u64())));
    assert!(host.memory().write(table, arch.leaf(1, block.as_u64(), RW)));
    let register = arch.register(root.as_u64(), 1);
    let touch = || {
        host.machine().touch(0, register, GuestPhysAddr::new(0));
        host.take_violations()
    };
    assert_eq!(names(&touch()), ["NotCleaned"]);
    host.clean_data_cache(range(block, 0x1f_f000));
    assert_eq!(names(&touch()), ["NotCleaned"]);
    let last = block.checked_add(0x1f_f000).unwrap();
    host.clean_data_cache(range(last, 0x1000));
    assert_eq!(touch(), []);
    assert_eq!(host.cleaned().len(), 2);
    host.sync_instructions(range(block, 0x1000));
    assert_eq!(host.synchronised(), [range(block, 0x1000)]);
}

/// What no call tells of stands between the events that it happened between.
#[test]
fn events_are_noted_in_order() {
    let arch = Arch::Aarch64;
    let host = host(arch);
    let machine = host.machine();
    let frames = VmHal::frames(&host);
    let root = frames.alloc_zeroed(1, 0x1000).unwrap();
    assert_eq!(machine.take_events(), [], "not switched on");
    machine.log_events();
    let frame = frames.alloc_zeroed(1, 0x1000).unwrap();
    let register = arch.register(root.as_u64(), 1);
    let gpa = GuestPhysAddr::new(0x1000);
    machine.watch_page(register, gpa);
    machine.watch_word(frame);
    assert!(host.memory().write(frame, 7));
    host.clean_data_cache(range(frame, 0x1000));
    assert!(host.memory().write(root, arch.leaf(2, 1 << 30, RW)));
    host.sync_instructions(range(frame, 8));
    assert!(host.memory().write(root, 0));
    let everything = request(register, Scope::AllCpus);
    VmHal::invalidate(&host, &everything).unwrap();
    host.fail_invalidations(1);
    VmHal::invalidate(&host, &everything).unwrap_err();
    host.drop_stale_lines(range(frame, 8));
    // SAFETY: the frame was just handed out, and nobody uses it.
    unsafe { frames.dealloc(frame, 1) };
    let linked = HostPhysAddr::new((1 << 30) + 0x1000);
    let expected = [
        Event::Allocated(range(frame, 0x1000)),
        Event::Stored {
            address: frame,
            value: 7,
        },
        Event::Cleaned(range(frame, 0x1000)),
        Event::Linked { gpa, host: linked },
        Event::Synchronised(range(frame, 8)),
        Event::Unlinked { gpa },
        Event::Invalidated(Box::new(everything)),
        Event::StaleLinesDropped(range(frame, 8)),
        Event::Freed(range(frame, 0x1000)),
    ];
    let events = machine.take_events();
    assert_eq!(events[..expected.len()], expected);
}
