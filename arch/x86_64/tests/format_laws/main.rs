//! The laws of `Format`, over every capability, level and combination of flags.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up must fail"
)]

mod hardware;

use guest_addr::HostPhysAddr;
use hardware::{Seen, SeenLeaf, all_flags, effective_types, formats, hardware_sees, level};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Leaf, Level, Note};
use nested_paging_x86_64::{Ept, ExecuteControl};
use proptest::prelude::*;

/// Lowest, highest, one bit each, and both halves.
fn addresses(format: &Ept, size: u64) -> Vec<u64> {
    let width = format.capabilities().physical_address_bits();
    let end = 1 << width;
    let mut addresses = vec![0, end - size, 0xaaaa_aaaa_aaaa_a000, 0x5555_5555_5555_5000];
    addresses.extend((12..width).map(|bit| 1_u64 << bit));
    for address in &mut addresses {
        *address &= (end - 1) & !(size - 1);
    }
    addresses
}

fn for_each_leaf(mut check: impl FnMut(&Ept, Level, Leaf)) {
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

/// The peer bug X3, among others: WRITE without READ is a misconfiguration at run time.
#[test]
fn flags_are_refused_in_the_documented_order() {
    for format in formats() {
        for bits in 0..0x80 {
            let flags = MappingFlags::from_bits_retain(bits);
            let lacks_execute_only = bits & 1 == 0 && !format.capabilities().execute_only();
            let expected = match flags.validate() {
                Err(error) => Err(error),
                Ok(_) if lacks_execute_only => Err(FlagsError::ExecuteOnlyUnsupported { flags }),
                Ok(_) => Ok(()),
            };
            assert_eq!(format.check_flags(flags), expected, "{flags}");
        }
    }
}

/// What `bits`, which the format made, decode to, by all ways. (Law 6.)
fn decode_made(format: &Ept, level: Level, bits: u64) -> Entry {
    let entry = format.decode(level, bits);
    assert_eq!(format.decode_own(level, bits), entry, "{bits:#x}");
    let leaf = match entry {
        Entry::Leaf(leaf) => Some(leaf),
        Entry::Absent => None,
        Entry::Table(_) => return entry,
    };
    assert_eq!(format.decode_own_leaf(level, bits), leaf, "{bits:#x}");
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
        let execute = has(MappingFlags::EXECUTE);
        let uncacheable = leaf.flags.intersects(MappingFlags::MEMORY_TYPE);
        let by_user = machine.execute_control() == ExecuteControl::ByUser;
        let expected = SeenLeaf {
            address: leaf.address.as_u64(),
            read: has(MappingFlags::READ),
            write: has(MappingFlags::WRITE),
            supervisor_execute: execute,
            user_execute: execute && (!by_user || has(MappingFlags::USER)),
            memory_type: if uncacheable { 0 } else { 6 },
            ignore_pat: has(MappingFlags::DEVICE),
            accessed: !tracking,
            dirty: !tracking && has(MappingFlags::WRITE),
            ignored: u64::from(leaf.flags.bits() >> 3 & 7) << 52,
        };
        assert_eq!(
            hardware_sees(&machine, level.number(), bits),
            Seen::Leaf(expected)
        );
        assert_eq!(bits >> 63 == 1, machine.suppress_ve());
        let other_controls = 1 << 57 | 1 << 58 | 1 << 60 | 1 << 61;
        assert_eq!(
            bits & other_controls,
            0,
            "bits that other controls give a meaning"
        );
        assert_eq!(format.is_accessed(bits), expected.accessed);
        assert_eq!(format.is_dirty(bits), expected.dirty);
        leaves += 1;
    });
    assert!(leaves > 10_000, "{leaves}");
}

/// UC is 0, WC is 1: a guest may combine uncached memory to WC, and a device to nothing but UC.
#[test]
fn no_choice_of_the_guest_caches_uncached_memory_or_combines_writes_to_a_device() {
    for_each_leaf(|format, level, leaf| {
        let bits = format.encode_leaf(level, leaf);
        let machine = format.capabilities();
        let Seen::Leaf(seen) = hardware_sees(&machine, level.number(), bits) else {
            panic!("{bits:#x} is no leaf");
        };
        let effective = effective_types(seen.memory_type, seen.ignore_pat);
        match leaf.flags & MappingFlags::MEMORY_TYPE {
            MappingFlags::DEVICE => assert_eq!(effective, [0; 4]),
            MappingFlags::UNCACHED => assert_eq!(effective, [0, 0, 1, 0]),
            _ => assert_eq!(effective, [6, 4, 1, 0]),
        }
    });
}

#[test]
fn tables_decode_to_themselves_and_never_as_leaves() {
    for format in formats() {
        let machine = format.capabilities();
        let mbec = machine.execute_control() != ExecuteControl::Single;
        for number in 1..format.geometry().levels() {
            for address in addresses(&format, 0x1000) {
                let bits = format.encode_table(HostPhysAddr::new(address));
                let table = Entry::Table(HostPhysAddr::new(address));
                assert_eq!(decode_made(&format, level(number), bits), table);
                // The hardware marks tables as accessed, where it tracks.
                assert_eq!(decode_made(&format, level(number), bits | 1 << 8), table);
                assert_eq!(
                    hardware_sees(&machine, number, bits),
                    Seen::Table { address }
                );
                assert_eq!(bits - address, if mbec { 0x407 } else { 7 });
            }
        }
    }
}

#[test]
fn changed_permissions_change_nothing_else() {
    let permission_bits = 0b111 | 1 << 10 | 1 << 52;
    for_each_leaf(|format, level, leaf| {
        if !leaf.address.as_u64().is_power_of_two() {
            return;
        }
        let encoded = format.encode_leaf(level, leaf);
        let tracking = format.capabilities().accessed_dirty_tracking();
        for permissions in (0..16).map(MappingFlags::from_bits_retain) {
            // The memory type of the new flags must not matter.
            let given = permissions | MappingFlags::UNCACHED;
            for before in [encoded, encoded & !(1 << 8), encoded | 3 << 8] {
                let after = format.with_permissions(level, before, given);
                let dirtied =
                    u64::from(!tracking && permissions.contains(MappingFlags::WRITE)) << 9;
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
        for taken in [0, 1 << 8, 3 << 8] {
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
        (MappingFlags::READ, seen.read),
        (MappingFlags::WRITE, seen.write),
        (
            MappingFlags::EXECUTE,
            seen.supervisor_execute || seen.user_execute,
        ),
        (MappingFlags::USER, seen.ignored & 1 << 52 != 0),
        (
            MappingFlags::DEVICE,
            seen.memory_type == 0 && seen.ignore_pat,
        ),
        (
            MappingFlags::UNCACHED,
            seen.memory_type == 1 || seen.memory_type == 0 && !seen.ignore_pat,
        ),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect()
}

fn any_format() -> impl Strategy<Value = Ept> {
    proptest::sample::select(formats())
}

fn any_level() -> impl Strategy<Value = (Ept, u8)> {
    any_format().prop_flat_map(|format| (Just(format), 0..format.geometry().levels()))
}

/// Random words are rarely free of misconfigurations: many of the cases are made tamer.
fn any_word() -> impl Strategy<Value = u64> {
    (any::<u64>(), any::<[bool; 4]>()).prop_map(|(word, [narrow, aligned, readable, clear])| {
        let narrow = if narrow { !(0x1fff << 39) } else { u64::MAX };
        let aligned = if aligned {
            !(((1 << 30) - 1) & !0xfff)
        } else {
            u64::MAX
        };
        let clear = if clear { !0x78 } else { u64::MAX };
        word & narrow & aligned & clear | u64::from(readable)
    })
}

/// A note of any address, of which a format takes the bits that it has.
fn any_note() -> impl Strategy<Value = Note> {
    (any::<u64>(), any::<[bool; 3]>()).prop_map(|(address, [table, accessed, dirty])| {
        let address = HostPhysAddr::new(address);
        match table {
            true => Note::Table(address),
            false => Note::Leaf {
                address,
                accessed,
                dirty,
            },
        }
    })
}

/// The note is read back, is absent at every level, and leads a processor that speculates past that nowhere.
fn check_note(format: &Ept, note: Note) {
    let machine = format.capabilities();
    let width = machine.physical_address_bits();
    let fit =
        |address: HostPhysAddr| HostPhysAddr::new(address.as_u64() % (1 << width)).align_down_4k();
    let note = match note {
        Note::Table(address) => Note::Table(fit(address)),
        Note::Leaf {
            address,
            accessed,
            dirty,
        } => Note::Leaf {
            address: fit(address),
            accessed,
            dirty,
        },
    };
    let bits = format.encode_note(note);
    assert_eq!(format.decode_note(bits), Some(note), "{bits:#x}");
    for number in 0..5 {
        assert_eq!(decode_made(format, level(number), bits), Entry::Absent);
        // Mode-based execute control may be on or off.
        for control in hardware::CONTROLS {
            let machine = machine.with_execute_control(control);
            assert_eq!(hardware_sees(&machine, number, bits), Seen::NotPresent);
        }
    }
    assert_eq!(bits >> 63 == 1, machine.suppress_ve());
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
        assert_eq!(format.decode_note(format.absent()), None);
        for number in 0..5 {
            let absent = decode_made(&format, level(number), format.absent());
            assert_eq!(absent, Entry::Absent);
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
            let table = format.encode_table(address);
            assert_eq!(format.decode_note(table), None);
            assert_eq!(format.decode_note(table | 1 << 8), None);
        }
    }
    for_each_leaf(|format, level, leaf| {
        let bits = format.encode_leaf(level, leaf);
        assert_eq!(format.decode_note(bits), None);
        assert_eq!(format.decode_note(bits ^ 3 << 8), None);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_word_decodes_to_what_the_hardware_makes_of_it(
        (format, number) in any_level(), bits in any_word()
    ) {
        let seen = hardware_sees(&format.capabilities(), number, bits);
        match (seen, format.decode(level(number), bits)) {
            (Seen::NotPresent | Seen::Misconfigured, decoded) => {
                prop_assert_eq!(decoded, Entry::Absent);
            }
            (Seen::Table { address }, decoded) => {
                prop_assert_eq!(decoded, Entry::Table(HostPhysAddr::new(address)));
            }
            (Seen::Leaf(seen), Entry::Leaf(leaf)) => {
                prop_assert_eq!(leaf.address.as_u64(), seen.address);
                prop_assert_eq!(leaf.flags, flags_of(&seen));
                prop_assert_eq!(format.is_accessed(bits), seen.accessed);
                prop_assert_eq!(format.is_dirty(bits), seen.dirty);
            }
            (seen, decoded) => prop_assert!(false, "{:?} decodes as {:?}", seen, decoded),
        }
    }

    #[test]
    fn a_word_without_access_bits_is_absent(format in any_format(), number in 0..5_u8, bits: u64) {
        let absent = bits & !(0b111 | 1 << 10);
        prop_assert_eq!(decode_made(&format, level(number), absent), Entry::Absent);
    }

    #[test]
    fn any_note_is_read_back(format in any_format(), note in any_note()) {
        check_note(&format, note);
    }

    #[test]
    fn address_bits_of_a_sum_are_the_sum(
        format in any_format(), one: u64, other: u64
    ) {
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
