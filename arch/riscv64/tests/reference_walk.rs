//! Tables made of encoded entries, walked by the reference walker from the register down.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use std::collections::BTreeMap;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Leaf, Level};
use nested_paging_riscv64::{Capabilities, GStage, Mode};
use reference_mmu::riscv::Features;
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
fn tables(format: &GStage, address: GuestPhysAddr, level: Level, leaf: Leaf) -> Memory {
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
fn guest_addresses(format: &GStage) -> impl Iterator<Item = GuestPhysAddr> {
    let bits = (0..format.geometry().input_bits()).map(|bit| GuestPhysAddr::new(1 << bit));
    [GuestPhysAddr::ZERO, format.geometry().last_guest()]
        .into_iter()
        .chain(bits)
}

fn check(format: &GStage, address: GuestPhysAddr, level: Level, flags: MappingFlags) {
    let size = format.geometry().entry_size(level);
    let (start, features) = (HostPhysAddr::new(1 << 55), features(format));
    let memory = tables(
        format,
        address,
        level,
        Leaf {
            address: start,
            flags,
        },
    );
    let hgatp = format.hgatp(table(format.geometry().root_level()), 0x1234);
    let mmu = reference_mmu::riscv::GStage::new(hgatp, features).unwrap();
    let walk = |access| mmu.walk(&memory, address, access).outcome.ok();
    let expected_address = start.as_u64() + address.as_u64() % size;
    for (access, flag) in [
        (Access::Read, MappingFlags::READ),
        (Access::Write, MappingFlags::WRITE),
        (Access::Execute(GuestMode::User), MappingFlags::EXECUTE),
        (
            Access::Execute(GuestMode::Supervisor),
            MappingFlags::EXECUTE,
        ),
    ] {
        let found: Option<Translation<_>> = walk(access);
        assert_eq!(
            found.is_some(),
            flags.contains(flag),
            "{flags} {access:?} at {address}"
        );
        let Some(found) = found else { continue };
        assert_eq!(
            (found.address.as_u64(), found.page_size),
            (expected_address, size)
        );
        let device = flags.contains(MappingFlags::DEVICE) && features.pbmte;
        let uncached = flags.contains(MappingFlags::UNCACHED);
        assert_eq!(
            found.attributes.pbmt,
            2 * u8::from(device) + u8::from(uncached)
        );
        assert!(!found.attributes.napot);
    }
}

fn features(format: &GStage) -> Features {
    Features {
        pbmte: format.capabilities().svpbmt(),
        adue: format.capabilities().accessed_dirty_tracking(),
        ..Features::default()
    }
}

/// Without tracking the walker faults on clear A and D bits, so this also judges what is preset.
#[test]
fn the_hardware_finds_what_was_encoded() {
    for (&mode, extensions) in Mode::AUTO
        .iter()
        .flat_map(|mode| (0..4).map(move |n| (mode, n)))
    {
        let capabilities = Capabilities::common()
            .with_svpbmt(extensions & 1 != 0)
            .with_accessed_dirty_tracking(extensions & 2 != 0);
        let format = GStage::new(mode, capabilities).unwrap();
        for level in format.geometry().largest_leaf().up_to() {
            for flags in (0..0x40).map(MappingFlags::from_bits_retain) {
                if format.check_flags(flags).is_ok() {
                    guest_addresses(&format)
                        .for_each(|address| check(&format, address, level, flags));
                }
            }
        }
    }
}
