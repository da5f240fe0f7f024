//! Values worked out by hand from the APM: entries, nCR3, capabilities, shapes, names, errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::HostPhysAddr;
use mapping_flags::MappingFlags;
use nested_page_table::{Entry, Format, Leaf, Level, UpdateRules};
use nested_paging_x86_64::npt::{Capabilities, Mode, ModeError, Npt, Pat, Registers};

const RWX: MappingFlags = MappingFlags::ACCESS;
const NX: u64 = 1 << 63;

fn npt4(capabilities: Capabilities) -> Npt {
    Npt::new(Mode::Npt4, capabilities).unwrap()
}

fn leaf(format: &Npt, level: Level, address: u64, flags: MappingFlags) -> u64 {
    let address = HostPhysAddr::new(address);
    format.encode_leaf(level, Leaf { address, flags })
}

#[test]
fn entries() {
    let plain = npt4(Capabilities::common());
    let tracking = npt4(Capabilities::common().with_accessed_dirty_tracking(true));
    let (page, block) = (Level::PAGE_4K, Level::BLOCK_2M);
    // D, A, U/S, R/W, P; bit 7 above the pages.
    assert_eq!(leaf(&plain, page, 0x1234_5000, RWX), 0x1234_5067);
    assert_eq!(leaf(&plain, block, 0x4020_0000, RWX), 0x4020_00e7);
    assert_eq!(leaf(&plain, Level::BLOCK_1G, 0x4000_0000, RWX), 0x4000_00e7);
    assert_eq!(leaf(&tracking, block, 0x4020_0000, RWX), 0x4020_0087);
    assert_eq!(leaf(&plain, page, 0x1000, MappingFlags::READ), NX | 0x1025);
    let text = MappingFlags::READ | MappingFlags::EXECUTE;
    assert_eq!(leaf(&plain, page, 0x1000, text), 0x1025);
    // PCD and PWT, entry 3 of the PAT: UC. USER and DEVICE in bits 52 and 53.
    let uart = leaf(&plain, page, 0xfee0_0000, MappingFlags::PASSTHROUGH);
    assert_eq!(uart, 0x8030_0000_fee0_007f);
    // PCD alone, entry 2: UC-. UNCACHED in bit 54.
    let buffer = MappingFlags::READ_WRITE | MappingFlags::UNCACHED;
    assert_eq!(
        leaf(&plain, block, 0x20_0000, buffer),
        NX | 1 << 54 | 0x20_00f7
    );
    let top = leaf(&plain, page, 0x000f_ffff_ffff_f000, RWX);
    assert_eq!(top, 0x000f_ffff_ffff_f067);
    assert_eq!(plain.encode_table(HostPhysAddr::new(0x7000)), 0x7027);
}

/// Entry 1 of Linux' PAT is WC, and UC- stays entry 2. Without UC-, WC is what is uncached.
#[test]
fn memory_types_follow_the_pat_of_the_host() {
    let with = |pat| npt4(Capabilities::common().with_pat(Pat::new(pat)));
    let index =
        |format: &Npt, flags| leaf(format, Level::PAGE_4K, 0, flags | MappingFlags::READ) >> 3 & 3;
    for (pat, device, uncached) in [
        (Pat::RESET.bits(), 3, 2),
        (0x0407_0506_0007_0106, 3, 2),
        (0x0007_0406_0001_0406, 3, 2),
        (0x0000_0000_0701_0006, 1, 3),
        (0x0000_0000_0400_0106, 2, 1),
    ] {
        let format = with(pat);
        assert_eq!(index(&format, MappingFlags::DEVICE), device, "{pat:#x}");
        assert_eq!(index(&format, MappingFlags::UNCACHED), uncached, "{pat:#x}");
        assert_eq!(index(&format, MappingFlags::empty()), 0);
    }
}

/// The high bit of the PAT index is bit 7 of a page and bit 12 of a larger leaf.
#[test]
fn the_pat_bit_of_a_foreign_leaf_is_no_address_bit() {
    // Entries 0 to 3 as after reset; entry 4 is UC-.
    let pat = Pat::new(0x0606_0607_0007_0406);
    let format = npt4(Capabilities::common().with_pat(pat));
    let flags = MappingFlags::ACCESS | MappingFlags::UNCACHED;
    for (level, bits) in [
        (Level::PAGE_4K, 0x4000_0087),
        (Level::BLOCK_2M, 0x4000_1087),
        (Level::BLOCK_1G, 0x4000_1087),
    ] {
        let address = HostPhysAddr::new(0x4000_0000);
        let expected = Entry::Leaf(Leaf { address, flags });
        assert_eq!(format.decode(level, bits), expected, "{level}");
    }
}

#[test]
fn the_hardware_refuses_what_the_manual_reserves() {
    let format = npt4(Capabilities::common().with_physical_address_bits(48));
    let absent = |level, bits| assert_eq!(format.decode(level, bits), Entry::Absent, "{bits:#x}");
    // Not present, whatever else; not for users.
    absent(Level::PAGE_4K, !1);
    absent(Level::PAGE_4K, 0x1063);
    absent(Level::BLOCK_2M, 0x1003);
    // Above the width of the processor.
    absent(Level::PAGE_4K, 1 << 48 | 0x67);
    // Bits 13 and 20 of 2 MiB, 13 and 29 of 1 GiB.
    absent(Level::BLOCK_2M, 0x2000 | 0xe7);
    absent(Level::BLOCK_2M, 1 << 20 | 0xe7);
    absent(Level::BLOCK_1G, 0x2000 | 0xe7);
    absent(Level::BLOCK_1G, 1 << 29 | 0xe7);
    // PS and G in a PML4E.
    absent(Level::BLOCK_512G, 0x10a7);
    absent(Level::BLOCK_512G, 0x1127);
}

#[test]
fn ncr3() {
    let root = HostPhysAddr::new(0x000f_ffff_ffff_f000);
    for mode in [Mode::Npt4, Mode::Npt5] {
        let format = Npt::new(mode, Capabilities::common()).unwrap();
        assert_eq!(format.ncr3(root), 0x000f_ffff_ffff_f000);
        assert_eq!(format.root_register(root, 0xffff), format.ncr3(root));
    }
    assert_eq!(npt4(Capabilities::new()).ncr3(root), 0x000f_ffff_f000);
}

/// ASIDs are numbered from 1 (0 is the host's) to one less than their number.
#[test]
fn a_vmid_is_an_asid() {
    let bits = |asids| npt4(Capabilities::new().with_asids(asids)).vmid_bits();
    for (asids, expected) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (16, 4),
        (509, 8),
        (0x8000, 15),
        (0x1_0000, 16),
        (u32::MAX, 16),
    ] {
        assert_eq!(bits(asids), expected, "{asids}");
    }
}

#[test]
fn shapes() {
    for (mode, levels, bits) in [(Mode::Npt4, 4, 48), (Mode::Npt5, 5, 57)] {
        for (width, leaf) in [(36, Level::BLOCK_2M), (52, Level::BLOCK_1G)] {
            let capabilities = Capabilities::common()
                .with_physical_address_bits(width)
                .with_largest_leaf(leaf);
            let format = Npt::new(mode, capabilities).unwrap();
            let geometry = format.geometry();
            assert_eq!((geometry.levels(), geometry.input_bits()), (levels, bits));
            assert_eq!(mode.input_bits(), bits);
            assert_eq!((geometry.root_size(), geometry.root_frames()), (0x1000, 1));
            assert_eq!(geometry.output_bits(), width);
            assert_eq!(geometry.largest_leaf(), leaf);
        }
    }
}

#[test]
fn the_rules_ask_for_no_invalidation_but_of_what_was_removed() {
    for tracking in [false, true] {
        let capabilities = Capabilities::new().with_accessed_dirty_tracking(tracking);
        let expected = UpdateRules {
            break_before_make: false,
            fresh_needs_invalidation: false,
            raised_needs_invalidation: false,
            hardware_writes_entries: tracking,
        };
        assert_eq!(npt4(capabilities).rules(), expected);
    }
}

#[test]
fn capabilities_come_from_the_registers() {
    let mut registers = Registers::default();
    registers.physical_address_bits = 36;
    registers.asids = 2;
    let base = Capabilities::new();
    assert_eq!(Capabilities::from_registers(&registers), base);
    let with = |change: fn(&mut Registers)| {
        let mut registers = registers;
        change(&mut registers);
        Capabilities::from_registers(&registers)
    };
    assert_eq!(
        with(|it| it.extended_features = 1 << 26),
        base.with_largest_leaf(Level::BLOCK_1G)
    );
    assert_eq!(with(|it| it.extended_features = !(1 << 26)), base);
    assert_eq!(
        with(|it| it.svm_features = 1 << 6),
        base.with_flush_by_asid(true)
    );
    assert_eq!(with(|it| it.svm_features = !(1 << 6)), base);
    assert_eq!(
        with(|it| it.cr4 = 1 << 12),
        base.with_npt4(false).with_npt5(true)
    );
    assert_eq!(with(|it| it.cr4 = !(1 << 12)), base);
    assert_eq!(with(|it| it.asids = 0x8000), base.with_asids(0x8000));
    let linux = Pat::new(0x0407_0506_0007_0106);
    assert_eq!(
        with(|it| it.pat = Pat::new(0x0407_0506_0007_0106)),
        base.with_pat(linux)
    );
    // An EPYC 7003 with SME on: the C-bit is 51, and 5 of 48 bits go.
    assert_eq!(
        with(|it| {
            it.physical_address_bits = 48;
            it.memory_encryption = 0x0000_0173;
        }),
        base.with_physical_address_bits(43)
    );
}

#[test]
fn modes_have_names() {
    assert_eq!(Mode::AUTO, [Mode::Npt4, Mode::Npt5]);
    for (mode, name) in [(Mode::Npt4, "npt4"), (Mode::Npt5, "npt5")] {
        assert_eq!((mode.to_string().as_str(), name.parse()), (name, Ok(mode)));
    }
    for name in ["", "npt", "NPT4", "npt6", "ept4"] {
        assert!(name.parse::<Mode>().is_err(), "{name}");
    }
}

#[test]
fn what_the_machine_lacks_is_refused() {
    let new = |capabilities| Npt::new(Mode::Npt4, capabilities);
    let lacking = Npt::new(Mode::Npt5, Capabilities::new());
    let mode = Mode::Npt5;
    assert_eq!(lacking, Err(ModeError::Unsupported { mode }));
    let mode = Mode::Npt4;
    let la57 = Capabilities::new().with_npt4(false).with_npt5(true);
    assert_eq!(new(la57), Err(ModeError::Unsupported { mode }));
    for physical_address_bits in [0, 31, 53, 256 + 40, u32::MAX] {
        let capabilities = Capabilities::new().with_physical_address_bits(physical_address_bits);
        let error = ModeError::PhysicalAddressBits {
            physical_address_bits,
        };
        assert_eq!(new(capabilities), Err(error));
    }
    let leaf = Level::BLOCK_512G;
    let huge = Capabilities::new().with_largest_leaf(leaf);
    assert_eq!(new(huge), Err(ModeError::LargestLeaf { leaf }));
    // WT first; no UC among the first four.
    for bits in [0x0007_0406_0007_0604, 0x0007_0406_0107_0406] {
        let pat = Pat::new(bits);
        let unusual = Capabilities::new().with_pat(pat);
        assert_eq!(new(unusual), Err(ModeError::Pat { pat }));
    }
}
