//! Flags, and formats by their number of levels.

use axvm_types::MappingFlags;
use nested_paging_arceos::{
    LevelsError, ept, flags_from_axvm, flags_to_axvm, g_stage, npt, stage_2,
};

#[test]
fn flags_keep_their_bits() {
    for bits in 0..0x100 {
        let flags = MappingFlags::from_bits_retain(bits);
        let Ok(ours) = flags_from_axvm(flags) else {
            continue;
        };
        assert_eq!(ours.bits() as usize, bits);
        assert_eq!(flags_to_axvm(ours), flags);
        for (name, bit) in MappingFlags::all().iter_names() {
            let has = ours.iter_names().any(|(ours, _)| ours == name);
            assert_eq!(has, flags.contains(bit), "{name}");
        }
    }
}

#[test]
fn flags_that_no_table_has_are_refused() {
    use MappingFlags as M;
    for flags in [
        M::empty(),
        M::WRITE,
        M::READ | M::DEVICE | M::EXECUTE,
        M::READ | M::DEVICE | M::UNCACHED,
        M::from_bits_retain(0x41),
    ] {
        assert!(flags_from_axvm(flags).is_err(), "{flags:?}");
    }
}

#[test]
fn the_number_of_levels_is_checked() {
    for levels in [0, 1, 2, 6, usize::MAX] {
        let expected = LevelsError::Levels { levels };
        let riscv = g_stage(levels, nested_paging_riscv64::Capabilities::common());
        assert_eq!(riscv.map(drop), Err(expected));
        let expected = LevelsError::Levels { levels };
        let aarch64 = stage_2(levels, nested_paging_aarch64::Capabilities::common());
        assert_eq!(aarch64.map(drop), Err(expected));
        let expected = LevelsError::Levels { levels };
        let x86 = ept(levels, nested_paging_x86_64::Capabilities::common());
        assert_eq!(x86.map(drop), Err(expected));
        let expected = LevelsError::Levels { levels };
        let amd = npt(levels, nested_paging_x86_64::npt::Capabilities::common());
        assert_eq!(amd.map(drop), Err(expected));
    }
}
