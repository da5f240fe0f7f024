//! The order of the checks, over every combination of flags.

use mapping_flags::{FlagsError, MappingFlags, MemoryType};

#[test]
fn every_combination_gets_the_first_error_of_the_documented_order() {
    for bits in 0..0x80_u32 {
        let flags = MappingFlags::from_bits_retain(bits);
        let has = |bit: u32| bits & bit != 0;
        let expected = if has(0x40) {
            Err(FlagsError::UnknownBits {
                bits: u64::from(bits),
                unknown: 0x40,
            })
        } else if bits & 7 == 0 {
            Err(FlagsError::NoAccess { flags })
        } else if has(2) && !has(1) {
            Err(FlagsError::WriteWithoutRead { flags })
        } else if has(0x10) && has(4) {
            Err(FlagsError::DeviceExecute { flags })
        } else if has(0x10) && has(0x20) {
            Err(FlagsError::DeviceUncached { flags })
        } else {
            Ok(flags)
        };
        assert_eq!(flags.validate(), expected, "{bits:#x}");
    }
}

#[test]
fn a_configuration_value_keeps_its_bits_or_names_the_unknown_ones() {
    for bits in 0..0x40_u64 {
        let flags = MappingFlags::from_configuration(bits).unwrap();
        assert_eq!(u64::from(flags.bits()), bits);
    }
    assert_eq!(
        MappingFlags::from_configuration(0x8000_0000_0000_0047),
        Err(FlagsError::UnknownBits {
            bits: 0x8000_0000_0000_0047,
            unknown: 0x8000_0000_0000_0040
        })
    );
}

#[cfg(feature = "arceos")]
#[test]
fn page_table_entry_flags_convert_both_ways() {
    for bits in 0..0x40_u32 {
        let flags = MappingFlags::from_bits_retain(bits);
        let theirs = page_table_entry::MappingFlags::from(flags);
        assert_eq!(theirs.bits(), bits as usize);
        assert_eq!(MappingFlags::from(theirs), flags);
    }
    let high = page_table_entry::MappingFlags::from_bits_retain(1 << 40 | 1);
    assert!(matches!(
        MappingFlags::from(high).validate(),
        Err(FlagsError::UnknownBits { .. })
    ));
}

#[test]
fn memory_types_and_flags_agree() {
    for memory_type in [
        MemoryType::WriteBack,
        MemoryType::Uncached,
        MemoryType::Device,
    ] {
        assert_eq!(
            (memory_type.flags() | MappingFlags::READ).memory_type(),
            memory_type
        );
    }
}
