//! The registers and descriptors of this crate, walked by a transcription of the manual.

use std::collections::HashMap;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::{MappingFlags, MemoryType};
use nested_page_table::{Entry, Format, Leaf, Level};
use nested_paging_aarch64::{Capabilities, Mode, PhysicalAddressRange, Stage2};
use reference_mmu::aarch64::{Features, Stage2 as ReferenceStage2};
use reference_mmu::{Access, GuestMode, MemoryKind, NestedMmu, PhysicalMemory};

use crate::common::{accepted_flags, formats};

const ROOT: HostPhysAddr = HostPhysAddr::new(0x8001_0000);
const VMID: u16 = 0x5a;

/// Words by address. All other memory reads as zero.
struct Memory(HashMap<u64, u64>);

impl PhysicalMemory for Memory {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        Some(self.0.get(&address.as_u64()).copied().unwrap_or(0))
    }
}

/// The machine that `capabilities` describe, in the terms of the walker.
fn reference(format: &Stage2) -> ReferenceStage2 {
    let capabilities = format.capabilities();
    let features = Features {
        pa_range: capabilities.physical_address_range().field() as u8,
        force_write_back: capabilities.forced_write_back(),
        execute_never_extended: capabilities.user_execute_control(),
        vmid16: capabilities.vmid_bits() == 16,
        hardware_access_flag: capabilities.accessed_tracking(),
        hardware_dirty_state: capabilities.dirty_tracking(),
    };
    ReferenceStage2::new(format.vttbr(ROOT, VMID), format.vtcr(), features).unwrap()
}

/// A table in which nothing but `address` has a leaf, at `level`.
fn one_leaf(format: &Stage2, address: GuestPhysAddr, level: Level, leaf: Leaf) -> Memory {
    let geometry = format.geometry();
    let (mut words, mut table) = (HashMap::new(), ROOT);
    let mut current = geometry.root_level();
    loop {
        let entry = table.as_u64() + 8 * geometry.index(current, address) as u64;
        if current == level {
            words.insert(entry, format.encode_leaf(level, leaf));
            return Memory(words);
        }
        table = HostPhysAddr::new(0x9000_0000 + (u64::from(current.number()) << 12));
        words.insert(entry, format.encode_table(table));
        current = current.below().unwrap();
    }
}

fn kind(flags: MappingFlags) -> MemoryKind {
    match flags.memory_type() {
        MemoryType::WriteBack => MemoryKind::WriteBack,
        MemoryType::Uncached => MemoryKind::Uncached,
        MemoryType::Device => MemoryKind::Device,
    }
}

/// Whether `leaf` at `level` under `address` is what the walker finds, for every kind of access.
fn assert_walk(format: &Stage2, address: GuestPhysAddr, level: Level, leaf: Leaf) {
    let memory = one_leaf(format, address, level, leaf);
    let mmu = reference(format);
    let has = |flag| leaf.flags.contains(flag);
    let any_mode = has(MappingFlags::USER) || !format.capabilities().user_execute_control();
    for (access, allowed) in [
        (Access::Read, has(MappingFlags::READ)),
        (Access::Write, has(MappingFlags::WRITE)),
        (
            Access::Execute(GuestMode::Supervisor),
            has(MappingFlags::EXECUTE),
        ),
        (
            Access::Execute(GuestMode::User),
            has(MappingFlags::EXECUTE) && any_mode,
        ),
    ] {
        let walk = mmu.walk(&memory, address, access);
        let Ok(found) = walk.outcome else {
            assert!(
                !allowed,
                "{format:?} {leaf:?} {access:?} {:?}",
                walk.outcome
            );
            continue;
        };
        assert!(allowed, "{leaf:?} {access:?}");
        let offset = address.as_u64() & (format.geometry().entry_size(level) - 1);
        assert_eq!(found.address.as_u64(), leaf.address.as_u64() + offset);
        assert_eq!(found.page_size, format.geometry().entry_size(level));
        assert_eq!(found.kind, kind(leaf.flags));
        assert_eq!(found.attributes.shareability, 3);
        let step = walk.steps.last().unwrap();
        let after = step.update.unwrap_or(step.value);
        assert_eq!(format.decode(level, after), Entry::Leaf(leaf));
        assert!(format.is_accessed(after));
        assert_eq!(
            format.is_dirty(after),
            access == Access::Write || format.is_dirty(step.value)
        );
    }
}

#[test]
fn every_leaf_of_every_format_is_what_the_manual_makes_of_it() {
    let address = GuestPhysAddr::new(0x1234_5678_9abc);
    for format in formats() {
        for level in format.geometry().largest_leaf().up_to() {
            for flags in accepted_flags() {
                let address_of_leaf = HostPhysAddr::new(0xffff_c000_0000);
                let leaf = Leaf {
                    address: address_of_leaf,
                    flags,
                };
                assert_walk(&format, address, level, leaf);
            }
        }
    }
}

#[test]
fn every_mode_translates_its_first_and_its_last_byte_and_nothing_after() {
    use PhysicalAddressRange::{Bits32, Bits36, Bits40, Bits42, Bits44, Bits48};
    for range in [Bits32, Bits36, Bits40, Bits42, Bits44, Bits48] {
        for bits in 32..=range.bits() {
            let capabilities = Capabilities::new().with_physical_address_range(range);
            let format = Stage2::new(Mode::ipa(bits).unwrap(), capabilities).unwrap();
            let last = format.geometry().last_guest();
            for level in format.geometry().largest_leaf().up_to() {
                let size = format.geometry().entry_size(level);
                let leaf = Leaf {
                    address: HostPhysAddr::new((1 << range.bits()) - size),
                    flags: MappingFlags::READ_WRITE,
                };
                assert_walk(&format, GuestPhysAddr::ZERO, level, leaf);
                assert_walk(&format, last, level, leaf);
                let memory = one_leaf(&format, GuestPhysAddr::ZERO, level, leaf);
                let after = last.checked_add(1).unwrap();
                let walk = reference(&format).walk(&memory, after, Access::Read);
                assert!(walk.outcome.is_err(), "ipa{bits} wraps");
            }
        }
    }
}
