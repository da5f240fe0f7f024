//! The laws of `Format`, over every mode, extension, level and combination of flags.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

mod hardware;

use guest_addr::HostPhysAddr;
use hardware::{Seen, SeenLeaf, all_flags, formats, hardware_sees, level};
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Leaf, Level, Note};
use nested_paging_riscv64::GStage;
use proptest::prelude::*;

const END: u64 = 1 << 56;

/// Lowest, highest, one bit each, and both halves.
fn addresses(size: u64) -> Vec<u64> {
    let mut addresses = vec![0, END - size, 0x00aa_aaaa_aaaa_a000, 0x0055_5555_5555_5000];
    addresses.extend((12..56).map(|bit| 1_u64 << bit));
    addresses
        .iter_mut()
        .for_each(|address| *address &= !(size - 1));
    addresses
}

fn for_each_leaf(mut check: impl FnMut(&GStage, Level, Leaf)) {
    for format in formats() {
        for level in format.geometry().largest_leaf().up_to() {
            for address in addresses(format.geometry().entry_size(level)) {
                let address = HostPhysAddr::new(address);
                all_flags()
                    .filter(|&flags| format.check_flags(flags).is_ok())
                    .for_each(|flags| check(&format, level, Leaf { address, flags }));
            }
        }
    }
}

#[test]
fn flags_are_refused_in_the_documented_order() {
    for format in formats() {
        for bits in 0..0x80 {
            let flags = MappingFlags::from_bits_retain(bits);
            let lacks_uncached = bits & 0x20 != 0 && !format.capabilities().svpbmt();
            let expected = match flags.validate() {
                Err(error) => Err(error),
                Ok(_) if lacks_uncached => Err(FlagsError::UncachedUnsupported { flags }),
                Ok(_) => Ok(()),
            };
            assert_eq!(format.check_flags(flags), expected, "{flags}");
        }
    }
}

/// What `bits`, which the format made, decode to, by all ways. (Law 6.)
fn decode_made(format: &GStage, level: Level, bits: u64) -> Entry {
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
        assert_eq!(
            bits,
            format.leaf_attributes(level, leaf.flags) | format.address_bits(leaf.address)
        );
        let svpbmt = format.capabilities().svpbmt();
        let tracking = format.capabilities().accessed_dirty_tracking();
        let has = |flag| leaf.flags.contains(flag);
        let (device, uncached) = (has(MappingFlags::DEVICE), has(MappingFlags::UNCACHED));
        let expected = Seen::Leaf(SeenLeaf {
            address: leaf.address.as_u64(),
            access: match leaf.flags.bits() & 7 {
                1 => "r",
                3 => "rw",
                4 => "x",
                5 => "rx",
                _ => "rwx",
            },
            accessed: !tracking,
            dirty: !tracking && has(MappingFlags::WRITE),
            pbmt: match (device, uncached) {
                (true, _) if svpbmt => 2,
                (_, true) => 1,
                _ => 0,
            },
            rsw: u64::from(has(MappingFlags::USER)) + 2 * u64::from(device),
        });
        assert_eq!(hardware_sees(svpbmt, level.number(), bits), expected);
        assert_eq!(bits & 1 << 5, 0, "G is zero by software");
        assert_eq!(format.is_accessed(bits), !tracking);
        assert_eq!(format.is_dirty(bits), !tracking && has(MappingFlags::WRITE));
        leaves += 1;
    });
    assert!(leaves > 10_000, "{leaves}");
}

#[test]
fn tables_decode_to_themselves_and_never_as_leaves() {
    for format in formats() {
        for number in 1..format.geometry().levels() {
            for address in addresses(0x1000) {
                let bits = format.encode_table(HostPhysAddr::new(address));
                let table = Entry::Table(HostPhysAddr::new(address));
                assert_eq!(decode_made(&format, level(number), bits), table);
                assert_eq!(hardware_sees(false, number, bits), Seen::Table { address });
                assert_eq!(bits & 0x3fe, 0, "only V and the PPN");
            }
        }
        let bits = format.encode_table(HostPhysAddr::new(0x8000_0000));
        assert_eq!(format.decode(Level::PAGE_4K, bits), Entry::Absent);
    }
}

#[test]
fn changed_permissions_change_nothing_else() {
    for_each_leaf(|format, level, leaf| {
        let before = format.encode_leaf(level, leaf);
        let tracking = format.capabilities().accessed_dirty_tracking();
        for permissions in (0..16).map(MappingFlags::from_bits_retain) {
            // The memory type of the new flags must not matter.
            let given = permissions | MappingFlags::UNCACHED;
            for before in [before, before & !(1 << 6), before | 3 << 6] {
                let after = format.with_permissions(level, before, given);
                let permission_bits = 0b1110 | 1 << 8;
                let dirtied =
                    u64::from(!tracking && permissions.contains(MappingFlags::WRITE)) << 7;
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
        for taken in [0, 1 << 6, 3 << 6] {
            let bits = format.encode_leaf(level, leaf) & !taken;
            let first = format.split_leaf(level, bits);
            for part in [0, 1, 255, 511] {
                let offset = HostPhysAddr::new(part * part_size);
                let address = leaf.address.checked_add(offset.as_u64()).unwrap();
                let bits_of_part = first + format.address_bits(offset);
                let expected = Entry::Leaf(Leaf { address, ..leaf });
                assert_eq!(decode_made(format, below, bits_of_part), expected);
                assert_eq!(format.is_accessed(bits_of_part), format.is_accessed(bits));
                assert_eq!(format.is_dirty(bits_of_part), format.is_dirty(bits));
            }
        }
    });
}

/// The root of Sv57x4 takes leaves of 256 TiB; nobody makes them, but decode sees what the hardware
/// sees, by the level: the same bits one level down are a leaf of 512 GiB.
#[test]
fn a_256_tib_leaf_is_decoded_at_its_level_and_never_made() {
    let sv57x4 = formats()
        .into_iter()
        .rfind(|format| format.geometry().levels() == 5);
    let format = sv57x4.unwrap();
    assert_eq!(format.geometry().largest_leaf(), Level::BLOCK_512G);
    let flags = MappingFlags::READ_WRITE;
    let at = |address| Leaf {
        address: HostPhysAddr::new(address),
        flags,
    };
    let aligned = format.encode_leaf(Level::BLOCK_512G, at(1 << 48));
    assert_eq!(format.decode(level(4), aligned), Entry::Leaf(at(1 << 48)));
    let misaligned = format.encode_leaf(Level::BLOCK_512G, at(1 << 39));
    assert_eq!(
        format.decode(Level::BLOCK_512G, misaligned),
        Entry::Leaf(at(1 << 39))
    );
    assert_eq!(format.decode(level(4), misaligned), Entry::Absent);
}

/// The flags that stand for what the hardware sees and what the software noted.
fn flags_of(seen: &SeenLeaf, svpbmt: bool) -> MappingFlags {
    let noted_device = !svpbmt && seen.rsw & 2 != 0;
    [
        (MappingFlags::READ, seen.access.contains('r')),
        (MappingFlags::WRITE, seen.access.contains('w')),
        (MappingFlags::EXECUTE, seen.access.contains('x')),
        (MappingFlags::USER, seen.rsw & 1 != 0),
        (MappingFlags::DEVICE, seen.pbmt == 2 || noted_device),
        (MappingFlags::UNCACHED, seen.pbmt == 1),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect()
}

fn any_format() -> impl Strategy<Value = GStage> {
    proptest::sample::select(formats())
}

fn any_level() -> impl Strategy<Value = (GStage, u8)> {
    any_format().prop_flat_map(|format| (Just(format), 0..format.geometry().levels()))
}

/// Random words are rarely valid: half of the cases clear the bits that are reserved.
fn any_word() -> impl Strategy<Value = u64> {
    (any::<u64>(), any::<[bool; 2]>()).prop_map(|(word, [tame, aligned])| {
        let word = if tame {
            word & !(0x1ff << 54) | 1
        } else {
            word
        };
        if aligned {
            word & !((1 << 37) - 1) | word & 0x3ff
        } else {
            word
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_word_decodes_to_what_the_hardware_makes_of_it(
        (format, number) in any_level(), bits in any_word()
    ) {
        let svpbmt = format.capabilities().svpbmt();
        match (hardware_sees(svpbmt, number, bits), format.decode(level(number), bits)) {
            (Seen::Fault, decoded) => prop_assert_eq!(decoded, Entry::Absent),
            (Seen::Table { address }, decoded) => {
                prop_assert_eq!(decoded, Entry::Table(HostPhysAddr::new(address)));
            }
            (Seen::Leaf(seen), Entry::Leaf(leaf)) => {
                prop_assert_eq!(leaf.address.as_u64(), seen.address);
                prop_assert_eq!(leaf.flags, flags_of(&seen, svpbmt));
                prop_assert_eq!(format.is_accessed(bits), seen.accessed);
                prop_assert_eq!(format.is_dirty(bits), seen.dirty);
            }
            (seen, decoded) => prop_assert!(false, "{:?} decodes as {:?}", seen, decoded),
        }
    }

    #[test]
    fn a_word_that_is_not_valid_is_absent(format in any_format(), number in 0..5_u8, bits: u64) {
        prop_assert_eq!(decode_made(&format, level(number), bits & !1), Entry::Absent);
    }

    #[test]
    fn notes_are_absent_and_are_read_back(
        format in any_format(), address in 0..END, accessed: bool, dirty: bool
    ) {
        let address = HostPhysAddr::new(address).align_down_4k();
        let leaf = Note::Leaf { address, accessed, dirty };
        for note in [Note::Table(address), leaf] {
            let bits = format.encode_note(note);
            prop_assert_eq!(bits & 1, 0, "V");
            prop_assert_eq!(format.decode_note(bits), Some(note));
        }
        prop_assert_eq!(format.decode_note(format.absent()), None);
        prop_assert_eq!(format.decode_note(format.encode_table(address)), None);
    }

    #[test]
    fn address_bits_of_a_sum_are_the_sum(format in any_format(), one: u64, other: u64) {
        let (one, other) = (one & (END / 2 - 0x1000), other & (END / 2 - 0x1000));
        let address = one + other;
        let bits = |address| format.address_bits(HostPhysAddr::new(address));
        prop_assert_eq!(bits(one) + bits(other), bits(address));
        prop_assert_eq!(bits(address), address / 4);
    }

    #[test]
    fn nothing_panics_on_any_word(format in any_format(), number in 0..5_u8, bits: u64, flags: u32) {
        let (level, flags) = (level(number), MappingFlags::from_bits_retain(flags));
        format.decode(level, bits);
        format.split_leaf(level, format.with_permissions(level, bits, flags));
        format.leaf_attributes(level, flags);
        format.encode_table(HostPhysAddr::new(bits));
        format.root_register(HostPhysAddr::new(bits), bits as u16);
    }
}
