//! The laws of `Format` for AMD's nested paging, over every capability, level and combination of flags.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must fail"
)]

mod hardware;

use guest_addr::HostPhysAddr;
use hardware::{Seen, SeenLeaf, all_flags, effective_types, formats, hardware_sees, level};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Leaf, Note};
use nested_page_table::{LeafPolicy, Level};
use nested_paging_x86_64::npt::Npt;
use proptest::prelude::*;

const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;

/// Lowest, highest, one bit each, and both halves.
fn addresses(format: &Npt, size: u64) -> Vec<u64> {
    let width = format.capabilities().physical_address_bits();
    let end = 1 << width;
    let mut addresses = vec![0, end - size, 0xaaaa_aaaa_aaaa_a000, 0x5555_5555_5555_5000];
    addresses.extend((12..width).map(|bit| 1_u64 << bit));
    for address in &mut addresses {
        *address &= (end - 1) & !(size - 1);
    }
    addresses
}

fn for_each_leaf(mut check: impl FnMut(&Npt, Level, Leaf)) {
    for format in formats() {
        for level in format.geometry().largest_leaf().up_to() {
            for address in addresses(&format, format.geometry().entry_size(level)) {
                let address = HostPhysAddr::new(address);
                all_flags()
                    .filter(|&flags| format.check_flags(flags).is_ok())
                    .for_each(|flags| check(&format, level, Leaf { address, flags }));
            }
        }
    }
}

/// Nothing can be present and unreadable; UNCACHED needs UC- or WC among the first entries of the PAT.
#[test]
fn flags_are_refused_in_the_documented_order() {
    for format in formats() {
        let types = [1, 2, 3].map(|index| format.capabilities().pat().bits() >> (8 * index) & 0xff);
        let has_uncached = types.contains(&7) || types.contains(&1);
        for bits in 0..0x80 {
            let flags = MappingFlags::from_bits_retain(bits);
            let expected = match flags.validate() {
                Err(error) => Err(error),
                Ok(_) if bits & 1 == 0 => Err(FlagsError::ExecuteOnlyUnsupported { flags }),
                Ok(_) if bits & 0x20 != 0 && !has_uncached => {
                    Err(FlagsError::UncachedUnsupported { flags })
                }
                Ok(_) => Ok(()),
            };
            assert_eq!(format.check_flags(flags), expected, "{flags}");
        }
    }
}

/// What `bits`, which the format made, decode to, by both ways. (Law 6.)
fn decode_made(format: &Npt, level: Level, bits: u64) -> Entry {
    let entry = format.decode(level, bits);
    assert_eq!(format.decode_own(level, bits), entry, "{bits:#x}");
    entry
}

#[test]
fn every_leaf_decodes_to_itself_and_means_to_the_hardware_what_it_says() {
    let mut leaves = 0;
    for_each_leaf(|format, level, leaf| {
        let bits = format.encode_leaf(level, leaf);
        assert_eq!(decode_made(format, level, bits), Entry::Leaf(leaf));
        let attributes = format.leaf_attributes(level, leaf.flags);
        assert_eq!(bits, attributes | format.address_bits(leaf.address));
        let machine = format.capabilities();
        let tracking = machine.accessed_dirty_tracking();
        let has = |flag| leaf.flags.contains(flag);
        let Seen::Leaf(seen) = hardware_sees(&machine, level.number(), bits) else {
            panic!("{bits:#x} is no leaf");
        };
        let expected = SeenLeaf {
            address: leaf.address.as_u64(),
            write: has(MappingFlags::WRITE),
            execute: has(MappingFlags::EXECUTE),
            memory_type: seen.memory_type,
            accessed: !tracking,
            dirty: !tracking && has(MappingFlags::WRITE),
            ignored: u64::from(has(MappingFlags::USER)) << 52
                | u64::from(has(MappingFlags::DEVICE)) << 53
                | u64::from(has(MappingFlags::UNCACHED)) << 54,
        };
        assert_eq!(seen, expected);
        let possible: &[u64] = match leaf.flags & MappingFlags::MEMORY_TYPE {
            MappingFlags::DEVICE => &[0],
            MappingFlags::UNCACHED => &[7, 1],
            _ => &[6],
        };
        assert!(possible.contains(&seen.memory_type), "{seen:?}");
        assert_eq!(format.is_accessed(bits), expected.accessed);
        assert_eq!(format.is_dirty(bits), expected.dirty);
        let accessed = format.with_accessed(bits);
        assert_eq!(decode_made(format, level, accessed), Entry::Leaf(leaf));
        assert!(format.is_accessed(accessed));
        assert_eq!(format.is_dirty(accessed), expected.dirty);
        leaves += 1;
    });
    assert!(leaves > 10_000, "{leaves}");
}

/// Cached are WB (6), WT (4) and WP (5). There is no ignore-PAT: a guest may combine all of it to WC (1).
#[test]
fn no_choice_of_the_guest_caches_uncached_or_device_memory() {
    for_each_leaf(|format, level, leaf| {
        let bits = format.encode_leaf(level, leaf);
        let Seen::Leaf(seen) = hardware_sees(&format.capabilities(), level.number(), bits) else {
            panic!("{bits:#x} is no leaf");
        };
        let effective = effective_types(seen.memory_type);
        match leaf.flags & MappingFlags::MEMORY_TYPE {
            MappingFlags::DEVICE => assert_eq!(effective, [0, 0, 1, 0]),
            MappingFlags::UNCACHED => assert!(effective.iter().all(|&kind| kind <= 1)),
            _ => assert_eq!(effective, [6, 4, 1, 0]),
        }
    });
}

#[test]
fn tables_decode_to_themselves_and_never_as_leaves() {
    for format in formats() {
        let machine = format.capabilities();
        for number in 1..format.geometry().levels() {
            for address in addresses(&format, 0x1000) {
                let bits = format.encode_table(HostPhysAddr::new(address));
                let table = Entry::Table(HostPhysAddr::new(address));
                assert_eq!(decode_made(&format, level(number), bits), table);
                let seen = hardware_sees(&machine, number, bits);
                assert_eq!(seen, Seen::Table { address });
                // A, user, write, present; the hardware finds A set and adds nothing.
                assert_eq!(bits - address, 0x27);
            }
        }
    }
}

#[test]
fn changed_permissions_change_nothing_else() {
    let permission_bits = 1 << 1 | 1 << 52 | 1 << 63;
    for_each_leaf(|format, level, leaf| {
        if !leaf.address.as_u64().is_power_of_two() {
            return;
        }
        let encoded = format.encode_leaf(level, leaf);
        let tracking = format.capabilities().accessed_dirty_tracking();
        // Without READ they are refused before.
        for permissions in (0..16).map(MappingFlags::from_bits_retain) {
            // The memory type of the new flags must not matter.
            let given = permissions | MappingFlags::UNCACHED;
            for before in [encoded, encoded & !ACCESSED, encoded | ACCESSED | DIRTY] {
                let after = format.with_permissions(level, before, given);
                let dirtied = !tracking && permissions.contains(MappingFlags::WRITE);
                let dirtied = if dirtied { DIRTY } else { 0 };
                assert_eq!(
                    after & !permission_bits,
                    (before | dirtied) & !permission_bits
                );
                let flags = leaf.flags.difference(MappingFlags::PERMISSIONS) | permissions;
                if format.check_flags(flags).is_ok() {
                    assert_eq!(
                        decode_made(format, level, after),
                        Entry::Leaf(Leaf { flags, ..leaf })
                    );
                    let fresh = format.encode_leaf(level, Leaf { flags, ..leaf });
                    assert_eq!(after & permission_bits, fresh & permission_bits);
                }
            }
        }
    });
}

#[test]
fn the_parts_of_a_split_leaf_mean_what_the_leaf_meant() {
    for_each_leaf(|format, level, leaf| {
        let Some(below) = level.below() else { return };
        let part_size = format.geometry().entry_size(below);
        for taken in [0, ACCESSED, ACCESSED | DIRTY] {
            let bits = format.encode_leaf(level, leaf) & !taken;
            let first = format.split_leaf(level, bits);
            for part in [0, 1, 255, 511] {
                let offset = HostPhysAddr::new(part * part_size);
                let address = leaf.address.checked_add(offset.as_u64()).unwrap();
                let part = Leaf { address, ..leaf };
                let bits_of_part = first + format.address_bits(offset);
                assert_eq!(decode_made(format, below, bits_of_part), Entry::Leaf(part));
                assert_eq!(bits_of_part, format.encode_leaf(below, part) & !taken);
            }
        }
    });
}

/// The flags that stand for what the hardware sees and what the software noted.
fn flags_of(seen: &SeenLeaf) -> MappingFlags {
    [
        (MappingFlags::READ, true),
        (MappingFlags::WRITE, seen.write),
        (MappingFlags::EXECUTE, seen.execute),
        (MappingFlags::USER, seen.ignored & 1 << 52 != 0),
        (MappingFlags::DEVICE, seen.memory_type == 0),
        (MappingFlags::UNCACHED, [1, 7].contains(&seen.memory_type)),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect()
}

fn any_format() -> impl Strategy<Value = Npt> {
    proptest::sample::select(formats())
}

fn any_level() -> impl Strategy<Value = (Npt, u8)> {
    any_format().prop_flat_map(|format| (Just(format), 0..format.geometry().levels()))
}

/// Random words are rarely free of reserved bits: many of the cases are made tamer.
fn any_word() -> impl Strategy<Value = u64> {
    (any::<u64>(), any::<[bool; 4]>()).prop_map(|(word, [narrow, aligned, open, small])| {
        let narrow = if narrow { !(0xfff << 40) } else { u64::MAX };
        let aligned = if aligned {
            !(((1 << 30) - 1) & !0x1fff)
        } else {
            u64::MAX
        };
        let small = if small { !(3 << 7) } else { u64::MAX };
        word & narrow & aligned & small | if open { 5 } else { 0 }
    })
}

/// The note is read back, is absent at every level, and leads a processor that speculates past that nowhere.
fn check_note(format: &Npt, note: Note) {
    let machine = format.capabilities();
    let bits = format.encode_note(note);
    assert_eq!(format.decode_note(bits), Some(note), "{bits:#x}");
    for number in 0..5 {
        assert_eq!(decode_made(format, level(number), bits), Entry::Absent);
        assert_eq!(hardware_sees(&machine, number, bits), Seen::NotPresent);
    }
    // The last 128 GiB of any address space, whatever the processor makes of bits above its width.
    for width in 44..=52 {
        let address = (bits % (1 << width)) & !0xfff;
        assert!(address >= (1 << width) - (1 << 37), "{address:#x}");
    }
}

/// A note of each address bit, with each state.
#[test]
fn notes_are_read_back_and_lead_nowhere() {
    for format in formats() {
        assert_eq!(format.absent(), 0);
        assert_eq!(format.decode_note(0), None);
        for number in 0..5 {
            assert_eq!(decode_made(&format, level(number), 0), Entry::Absent);
        }
        for address in addresses(&format, 0x1000) {
            let address = HostPhysAddr::new(address);
            check_note(&format, Note::Table(address));
            for (accessed, dirty) in [(false, false), (true, false), (false, true), (true, true)] {
                let note = Note::Leaf {
                    address,
                    accessed,
                    dirty,
                };
                check_note(&format, note);
            }
            assert_eq!(format.decode_note(format.encode_table(address)), None);
        }
    }
    for_each_leaf(|format, level, leaf| {
        let bits = format.encode_leaf(level, leaf);
        assert_eq!(format.decode_note(bits), None);
        assert_eq!(format.decode_note(bits ^ (ACCESSED | DIRTY)), None);
    });
}

#[test]
fn no_erratum_limits_leaves_and_user_execution_is_not_restricted() {
    for format in formats() {
        assert_eq!(format.leaf_policy(), LeafPolicy::HARDWARE);
        assert!(!format.restricts_user_execution());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_word_decodes_to_what_the_hardware_makes_of_it(
        (format, number) in any_level(), bits in any_word()
    ) {
        let seen = hardware_sees(&format.capabilities(), number, bits);
        match (seen, format.decode(level(number), bits)) {
            (Seen::NotPresent | Seen::Reserved | Seen::SupervisorOnly, decoded) => {
                prop_assert_eq!(decoded, Entry::Absent);
            }
            (Seen::Table { address }, decoded) => {
                prop_assert_eq!(decoded, Entry::Table(HostPhysAddr::new(address)));
            }
            (Seen::Leaf(seen), Entry::Leaf(leaf)) => {
                prop_assert_eq!(leaf.address.as_u64(), seen.address);
                // Reserved types of the PAT do not exist.
                prop_assert_eq!(leaf.flags, flags_of(&seen));
                prop_assert_eq!(format.is_accessed(bits), seen.accessed);
                prop_assert_eq!(format.is_dirty(bits), seen.dirty);
            }
            (seen, decoded) => prop_assert!(false, "{:?} decodes as {:?}", seen, decoded),
        }
    }

    #[test]
    fn a_word_that_is_not_present_is_absent(format in any_format(), number in 0..5_u8, bits: u64) {
        prop_assert_eq!(format.decode(level(number), bits & !1), Entry::Absent);
    }

    #[test]
    fn address_bits_of_a_sum_are_the_sum(format in any_format(), one: u64, other: u64) {
        let end = 1_u64 << format.capabilities().physical_address_bits();
        let (one, other) = (one & (end / 2 - 0x1000), other & (end / 2 - 0x1000));
        let address = one + other;
        let bits = |address| format.address_bits(HostPhysAddr::new(address));
        prop_assert_eq!(bits(one) + bits(other), bits(address));
        prop_assert_eq!(bits(address), address);
    }

    #[test]
    fn nothing_panics_on_any_word(
        format in any_format(), number in 0..5_u8, bits: u64, flags: u32
    ) {
        let (level, flags) = (level(number), MappingFlags::from_bits_retain(flags));
        format.decode(level, bits);
        format.split_leaf(level, format.with_permissions(level, bits, flags));
        format.leaf_attributes(level, flags);
        format.encode_table(HostPhysAddr::new(bits));
        format.root_register(HostPhysAddr::new(bits), bits as u16);
    }
}
