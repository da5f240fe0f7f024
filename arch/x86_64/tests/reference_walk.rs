//! Tables made of encoded entries, walked by the reference walker from the register down.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use std::collections::BTreeMap;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Leaf, Level};
use nested_paging_x86_64::{Capabilities, Ept, ExecuteControl, Mode};
use reference_mmu::ept::Features;
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory, Translation};

/// Tables at multiples of 64 KiB; what was not written is zero.
#[derive(Default)]
struct Memory(BTreeMap<u64, u64>);

impl PhysicalMemory for Memory {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        Some(self.0.get(&address.as_u64()).copied().unwrap_or(0))
    }
}

fn table(level: Level) -> HostPhysAddr {
    HostPhysAddr::new(0x8000_0000 + 0x1_0000 * u64::from(level.number()))
}

/// The tables that map `leaf` at `address` with an entry of `level`.
fn tables(format: &Ept, address: GuestPhysAddr, level: Level, leaf: Leaf) -> Memory {
    let mut memory = Memory::default();
    let geometry = format.geometry();
    for at in geometry.root_level().up_to().filter(|&at| at >= level) {
        let entry = match at.below() {
            Some(below) if at > level => format.encode_table(table(below)),
            _ => format.encode_leaf(level, leaf),
        };
        let slot = 8 * geometry.index(at, address) as u64;
        memory.0.insert(table(at).as_u64() + slot, entry);
    }
    memory
}

/// The first and the last byte of the address space, and one bit each.
fn guest_addresses(format: &Ept) -> impl Iterator<Item = GuestPhysAddr> {
    let bits = (0..format.geometry().input_bits()).map(|bit| GuestPhysAddr::new(1 << bit));
    [GuestPhysAddr::ZERO, format.geometry().last_guest()]
        .into_iter()
        .chain(bits)
}

fn check(format: &Ept, address: GuestPhysAddr, level: Level, flags: MappingFlags) {
    let size = format.geometry().entry_size(level);
    let start = HostPhysAddr::new(1 << 45);
    let memory = tables(
        format,
        address,
        level,
        Leaf {
            address: start,
            flags,
        },
    );
    let eptp = format.eptp(table(format.geometry().root_level()));
    let mmu = reference_mmu::ept::Ept::new(eptp, features(format)).unwrap();
    let walk = |access| mmu.walk(&memory, address, access).outcome.ok();
    let expected_address = start.as_u64() + address.as_u64() % size;
    let by_user = format.capabilities().execute_control() == ExecuteControl::ByUser;
    let user = if by_user {
        MappingFlags::USER
    } else {
        MappingFlags::empty()
    };
    for (access, needed) in [
        (Access::Read, MappingFlags::READ),
        (Access::Write, MappingFlags::WRITE),
        (
            Access::Execute(GuestMode::User),
            MappingFlags::EXECUTE | user,
        ),
        (
            Access::Execute(GuestMode::Supervisor),
            MappingFlags::EXECUTE,
        ),
    ] {
        let found: Option<Translation<_>> = walk(access);
        assert_eq!(
            found.is_some(),
            flags.contains(needed),
            "{flags} {access:?} at {address}"
        );
        let Some(found) = found else { continue };
        assert_eq!(
            (found.address.as_u64(), found.page_size),
            (expected_address, size)
        );
        let uncacheable = flags.intersects(MappingFlags::MEMORY_TYPE);
        assert_eq!(
            found.attributes.memory_type,
            if uncacheable { 0 } else { 6 }
        );
        assert_eq!(
            found.attributes.ignore_pat,
            flags.contains(MappingFlags::DEVICE)
        );
    }
}

fn features(format: &Ept) -> Features {
    let machine = format.capabilities();
    Features {
        max_phys_addr: 46,
        execute_only: machine.execute_only(),
        walk_length_5: machine.largest_mode() == Mode::Ept5,
        page_2m: machine.largest_leaf() >= Level::BLOCK_2M,
        page_1g: machine.largest_leaf() >= Level::BLOCK_1G,
        accessed_dirty: machine.accessed_dirty_tracking(),
        mode_based_execute: machine.execute_control() != ExecuteControl::Single,
        violation_exceptions: machine.suppress_ve(),
    }
}

fn check_all(format: &Ept) {
    for level in format.geometry().largest_leaf().up_to() {
        for flags in (0..0x40).map(MappingFlags::from_bits_retain) {
            if format.check_flags(flags).is_ok() {
                guest_addresses(format).for_each(|address| check(format, address, level, flags));
            }
        }
    }
}

#[test]
fn the_hardware_finds_what_was_encoded() {
    let controls = [
        ExecuteControl::Single,
        ExecuteControl::BothModes,
        ExecuteControl::ByUser,
    ];
    for (execute_control, number) in controls.iter().flat_map(|&c| (0..8).map(move |n| (c, n))) {
        let capabilities = Capabilities::common()
            .with_physical_address_bits(46)
            .with_execute_control(execute_control)
            .with_execute_only(number & 1 != 0)
            .with_accessed_dirty_tracking(number & 2 != 0);
        let mode = if number & 4 != 0 {
            Mode::Ept5
        } else {
            Mode::Ept4
        };
        check_all(&Ept::new(mode, capabilities).unwrap());
    }
}
