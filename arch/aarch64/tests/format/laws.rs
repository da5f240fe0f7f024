//! The laws of `Format`, over all flags, levels and capabilities.

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Leaf, Level, Note};
use proptest::prelude::*;

use crate::common::{LEAF_LEVELS, accepted_flags, addresses, decode_made, formats, leaf_of};

/// The bits that a leaf may have, from the figure of the stage-2 descriptor: type 1:0, MemAttr 5:2,
/// S2AP 7:6, SH 9:8, AF 10, output address, DBM 51, XN 54:53, software 57:55.
fn bits_of_a_leaf(level: Level, dirty_tracking: bool, xnx: bool) -> u64 {
    let address = match level.number() {
        0 => 0x0000_ffff_ffff_f000,
        1 => 0x0000_ffff_ffe0_0000,
        _ => 0x0000_ffff_c000_0000,
    };
    let dbm = u64::from(dirty_tracking) << 51;
    let xn = if xnx { 0b11 << 53 } else { 1 << 54 };
    0x7ff | address | dbm | xn | 0b111 << 55
}

#[test]
fn decoding_a_leaf_gives_what_was_encoded_and_no_reserved_bit_is_set() {
    assert_eq!(accepted_flags().count(), 24);
    for format in formats() {
        let capabilities = format.capabilities();
        let (dirty, xnx) = (
            capabilities.dirty_tracking(),
            capabilities.user_execute_control(),
        );
        for level in LEAF_LEVELS {
            for (flags, address) in
                accepted_flags().flat_map(|flags| addresses(level).map(move |at| (flags, at)))
            {
                let leaf = Leaf { address, flags };
                let bits = format.encode_leaf(level, leaf);
                assert_eq!(decode_made(&format, level, bits), Entry::Leaf(leaf));
                assert_eq!(bits & !bits_of_a_leaf(level, dirty, xnx), 0, "{bits:#x}");
                assert_eq!(bits >> 8 & 3, 3, "inner shareable");
                let kind = if level == Level::PAGE_4K { 3 } else { 1 };
                assert_eq!(bits & 3, kind);
                assert_eq!(format.is_accessed(bits), !capabilities.accessed_tracking());
                let writable = flags.contains(MappingFlags::WRITE);
                assert_eq!(format.is_dirty(bits), writable && !dirty);
            }
        }
    }
}

#[test]
fn decoding_a_table_gives_its_address_and_no_attribute_is_set() {
    for format in formats() {
        for address in addresses(Level::PAGE_4K) {
            let bits = format.encode_table(address);
            assert_eq!(bits, address.as_u64() | 3);
            for level in [Level::BLOCK_2M, Level::BLOCK_1G, Level::BLOCK_512G] {
                assert_eq!(decode_made(&format, level, bits), Entry::Table(address));
            }
            // The same bits are a page at the lowest level.
            assert!(matches!(
                format.decode(Level::PAGE_4K, bits),
                Entry::Leaf(_)
            ));
        }
    }
}

#[test]
fn there_are_no_blocks_of_4k_and_none_of_512g() {
    for format in formats() {
        for flags in accepted_flags() {
            let block = format.leaf_attributes(Level::BLOCK_1G, flags);
            assert_eq!(format.decode(Level::PAGE_4K, block), Entry::Absent);
            assert_eq!(format.decode(Level::BLOCK_512G, block), Entry::Absent);
        }
    }
}

#[test]
fn every_combination_is_refused_as_validate_refuses_it_and_nothing_else_is() {
    for format in formats() {
        for flags in (0..0x80).map(MappingFlags::from_bits_retain) {
            assert_eq!(
                format.check_flags(flags),
                flags.validate().map(|_| ()),
                "{flags}"
            );
        }
        let execute_only = format.check_flags(MappingFlags::EXECUTE);
        assert_eq!(execute_only, Ok(()), "S2AP does not govern fetches");
    }
}

#[test]
fn m7_write_only_is_refused_and_execute_only_is_a_valid_descriptor() {
    for format in formats() {
        assert!(matches!(
            format.check_flags(MappingFlags::WRITE),
            Err(FlagsError::WriteWithoutRead { .. })
        ));
        for level in LEAF_LEVELS {
            let bits = format.leaf_attributes(level, MappingFlags::EXECUTE);
            assert_eq!(bits & 1, 1);
            let flags = leaf_of(decode_made(&format, level, bits)).flags;
            assert_eq!(flags, MappingFlags::EXECUTE);
        }
    }
}

#[test]
fn rules_follow_the_architecture() {
    for format in formats() {
        let rules = format.rules();
        assert!(rules.break_before_make && rules.raised_needs_invalidation);
        assert!(!rules.fresh_needs_invalidation);
        assert_eq!(
            rules.hardware_writes_entries,
            format.capabilities().accessed_tracking()
        );
    }
}

proptest! {
    #[test]
    fn a_word_that_is_not_valid_is_absent(word: u64, number in 0_u8..4) {
        let level = Level::new(number).unwrap();
        for format in formats() {
            prop_assert_eq!(decode_made(&format, level, word & !1), Entry::Absent);
        }
    }

    #[test]
    fn notes_are_absent_and_are_read_back(
        address in 0..1_u64 << 48, accessed: bool, dirty: bool
    ) {
        let address = HostPhysAddr::new(address).align_down_4k();
        let leaf = Note::Leaf { address, accessed, dirty };
        for format in formats() {
            for note in [Note::Table(address), leaf] {
                let bits = format.encode_note(note);
                prop_assert_eq!(bits & 1, 0, "the valid bit");
                prop_assert_eq!(format.decode_note(bits), Some(note));
            }
            prop_assert_eq!(format.decode_note(format.absent()), None);
            prop_assert_eq!(format.decode_note(format.encode_table(address)), None);
        }
    }

    /// Any word decodes, and as what its low bits say.
    #[test]
    fn decoding_is_total(word: u64, number in 0_u8..5) {
        let level = Level::new(number).unwrap();
        for format in formats() {
            let entry = format.decode(level, word);
            let expected = match (word & 3, number) {
                (3, 0) | (1, 1 | 2) => matches!(entry, Entry::Leaf(_)),
                (3, _) => matches!(entry, Entry::Table(_)),
                _ => entry == Entry::Absent,
            };
            prop_assert!(expected, "{entry:?}");
        }
    }

    #[test]
    fn address_bits_are_additive(first in 0_u64..1 << 35, second in 0_u64..1 << 35) {
        let format = formats()[0];
        let bits = |page: u64| format.address_bits(HostPhysAddr::new(page << 12));
        prop_assert_eq!(bits(first + second), bits(first) + bits(second));
        prop_assert_eq!(bits(first), first << 12);
    }
}
