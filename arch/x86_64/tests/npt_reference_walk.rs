//! Tables of NPT made of encoded entries, walked by the reference walker from nCR3 down.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use std::collections::BTreeMap;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Leaf, Level};
use nested_paging_x86_64::npt::{Capabilities, Mode, Npt, Pat};
use reference_mmu::npt::Features;
use reference_mmu::{Access, GuestMode, NestedMmu, PhysicalMemory};

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
fn tables(format: &Npt, address: GuestPhysAddr, level: Level, leaf: Leaf) -> Memory {
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
fn guest_addresses(format: &Npt) -> impl Iterator<Item = GuestPhysAddr> {
    let bits = (0..format.geometry().input_bits()).map(|bit| GuestPhysAddr::new(1 << bit));
    [GuestPhysAddr::ZERO, format.geometry().last_guest()]
        .into_iter()
        .chain(bits)
}

fn check(format: &Npt, address: GuestPhysAddr, level: Level, flags: MappingFlags) {
    let size = format.geometry().entry_size(level);
    let start = HostPhysAddr::new(1 << 45);
    let leaf = Leaf {
        address: start,
        flags,
    };
    let memory = tables(format, address, level, leaf);
    let ncr3 = format.ncr3(table(format.geometry().root_level()));
    let mmu = reference_mmu::npt::Npt::new(ncr3, features(format)).unwrap();
    for (access, needed) in [
        (Access::Read, MappingFlags::READ),
        (Access::Write, MappingFlags::WRITE),
        (Access::Execute(GuestMode::User), MappingFlags::EXECUTE),
        (
            Access::Execute(GuestMode::Supervisor),
            MappingFlags::EXECUTE,
        ),
    ] {
        let walk = mmu.walk(&memory, address, access);
        // Nothing above the leaf is ever written: A is preset there.
        let mut written = walk.steps.iter().filter(|step| step.update.is_some());
        assert!(written.all(|step| step.level == level.number() + 1));
        let found = walk.outcome.ok();
        assert_eq!(
            found.is_some(),
            flags.contains(needed),
            "{flags} {access:?} at {address}"
        );
        let Some(found) = found else { continue };
        let expected = start.as_u64() + address.as_u64() % size;
        assert_eq!((found.address.as_u64(), found.page_size), (expected, size));
        let memory_type = found.attributes.memory_type;
        match flags.intersection(MappingFlags::MEMORY_TYPE) {
            MappingFlags::DEVICE => assert_eq!(memory_type, 0, "UC"),
            MappingFlags::UNCACHED => assert!([1, 7].contains(&memory_type), "UC- or WC"),
            _ => assert_eq!(memory_type, 6, "WB"),
        }
    }
}

fn features(format: &Npt) -> Features {
    let machine = format.capabilities();
    Features {
        max_phys_addr: 46,
        five_levels: format.mode() == Mode::Npt5,
        no_execute: true,
        page_1g: machine.largest_leaf() >= Level::BLOCK_1G,
        pat: machine.pat().bits(),
    }
}

fn check_all(format: &Npt) {
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
    for pat in [
        Pat::RESET,
        Pat::new(0x0407_0506_0007_0106),
        Pat::new(0x0007_0406_0001_0406),
    ] {
        for (mode, tracking) in [(Mode::Npt4, false), (Mode::Npt4, true), (Mode::Npt5, true)] {
            let capabilities = Capabilities::common()
                .with_physical_address_bits(46)
                .with_pat(pat)
                .with_accessed_dirty_tracking(tracking);
            check_all(&Npt::new(mode, capabilities).unwrap());
        }
    }
}
