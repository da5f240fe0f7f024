//! Values worked out by hand from the manual: entries, EPTP, capabilities, shapes, names, errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Leaf, Level, UpdateRules};
use nested_paging_x86_64::{Capabilities, Ept, ExecuteControl, Mode, ModeError, Registers};

const RWX: MappingFlags = MappingFlags::ACCESS;

fn ept4(capabilities: Capabilities) -> Ept {
    Ept::new(Mode::Ept4, capabilities).unwrap()
}

fn leaf(format: &Ept, level: Level, address: u64, flags: MappingFlags) -> u64 {
    let address = HostPhysAddr::new(address);
    format.encode_leaf(level, Leaf { address, flags })
}

#[test]
fn entries() {
    let plain = ept4(Capabilities::common());
    let tracking = ept4(Capabilities::common().with_accessed_dirty_tracking(true));
    let (page, block) = (Level::PAGE_4K, Level::BLOCK_2M);
    // Dirty, accessed, write-back (6 in bits 5:3), RWX; bit 7 above the pages.
    assert_eq!(leaf(&plain, page, 0x1234_5000, RWX), 0x1234_5337);
    assert_eq!(leaf(&plain, block, 0x4020_0000, RWX), 0x4020_03b7);
    assert_eq!(leaf(&plain, Level::BLOCK_1G, 0x4000_0000, RWX), 0x4000_03b7);
    assert_eq!(leaf(&tracking, block, 0x4020_0000, RWX), 0x4020_00b7);
    assert_eq!(leaf(&plain, page, 0x1000, MappingFlags::READ), 0x1131);
    assert_eq!(leaf(&plain, page, 0x1000, MappingFlags::EXECUTE), 0x1134);
    // Ignore-PAT, and USER and DEVICE in bits 52 and 53.
    let uart = leaf(&plain, page, 0xfee0_0000, MappingFlags::PASSTHROUGH);
    assert_eq!(uart, 0x0030_0000_fee0_0343);
    let top = leaf(&plain, page, 0x000f_ffff_ffff_f000, MappingFlags::READ);
    assert_eq!(top, 0x000f_ffff_ffff_f131);
    assert_eq!(plain.encode_table(HostPhysAddr::new(0x7000)), 0x7007);
}

#[test]
fn mode_based_execute_control_sets_bit_10_in_tables_and_executable_leaves() {
    let user = RWX | MappingFlags::USER;
    let with = |control| ept4(Capabilities::common().with_execute_control(control));
    let both = with(ExecuteControl::BothModes);
    let by_user = with(ExecuteControl::ByUser);
    for format in [both, by_user] {
        assert_eq!(format.encode_table(HostPhysAddr::new(0x7000)), 0x7407);
    }
    assert_eq!(leaf(&both, Level::PAGE_4K, 0, RWX), 0x737);
    assert_eq!(leaf(&both, Level::PAGE_4K, 0, MappingFlags::READ), 0x131);
    assert_eq!(leaf(&by_user, Level::PAGE_4K, 0, RWX), 0x337);
    assert_eq!(leaf(&by_user, Level::PAGE_4K, 0, user), 1 << 52 | 0x737);
    let readable = MappingFlags::READ | MappingFlags::USER;
    assert_eq!(leaf(&by_user, Level::PAGE_4K, 0, readable), 1 << 52 | 0x131);
}

#[test]
fn eptp() {
    let root = HostPhysAddr::new(0x000f_ffff_ffff_f000);
    let tracking = Capabilities::common().with_accessed_dirty_tracking(true);
    for (mode, capabilities, low) in [
        (Mode::Ept4, Capabilities::common(), 0x1e),
        (Mode::Ept5, Capabilities::common(), 0x26),
        (Mode::Ept4, tracking, 0x5e),
        (Mode::Ept5, tracking, 0x66),
    ] {
        let format = Ept::new(mode, capabilities).unwrap();
        assert_eq!(format.eptp(root), 0x000f_ffff_ffff_f000 | low);
        assert_eq!(format.root_register(root, 0xffff), format.eptp(root));
        assert_eq!(format.vmid_bits(), 16);
    }
    let narrow = ept4(Capabilities::new());
    assert_eq!(narrow.eptp(root), 0x000f_ffff_f01e);
}

/// Peers map uncached RAM write-back, or a device so that it does not read back.
#[test]
fn peer_bug_x2_h8_uncached_and_device_memory_are_uc_and_read_back() {
    let format = ept4(Capabilities::new());
    for (flag, expected) in [(MappingFlags::DEVICE, 0b1000), (MappingFlags::UNCACHED, 0)] {
        let flags = flag | MappingFlags::READ;
        let bits = leaf(&format, Level::PAGE_4K, 0x1000, flags);
        assert_eq!(bits >> 3 & 0xf, expected, "memory type and ignore-PAT");
        let address = HostPhysAddr::new(0x1000);
        let decoded = format.decode(Level::PAGE_4K, bits);
        assert_eq!(decoded, Entry::Leaf(Leaf { address, flags }));
    }
}

/// Peers accept WRITE without READ, a misconfiguration that ends the guest at run time.
#[test]
fn peer_bug_x3_write_without_read_is_refused() {
    let format = ept4(Capabilities::common());
    let flags = MappingFlags::WRITE;
    let error = Err(FlagsError::WriteWithoutRead { flags });
    assert_eq!(format.check_flags(flags), error);
    assert_eq!(format.decode(Level::PAGE_4K, 0x1032), Entry::Absent);
}

/// A peer turns on accessed and dirty bits in the EPTP of every machine.
#[test]
fn peer_bug_h8_the_eptp_asks_for_accessed_and_dirty_bits_only_with_tracking() {
    let root = HostPhysAddr::new(0x1000);
    assert_eq!(ept4(Capabilities::common()).eptp(root) & 1 << 6, 0);
    let everything = read(u64::MAX, 0, 52);
    assert_eq!(ept4(everything).eptp(root) & 1 << 6, 0);
}

#[test]
fn a_leaf_is_one_only_where_the_machine_has_its_size() {
    let without_1g = ept4(Capabilities::common().with_largest_leaf(Level::BLOCK_2M));
    let bits = leaf(
        &ept4(Capabilities::common()),
        Level::BLOCK_1G,
        0x4000_0000,
        RWX,
    );
    assert_eq!(without_1g.decode(Level::BLOCK_1G, bits), Entry::Absent);
    assert_ne!(without_1g.decode(Level::BLOCK_2M, bits), Entry::Absent);
    assert_eq!(without_1g.decode(Level::BLOCK_512G, bits), Entry::Absent);
}

#[test]
fn shapes() {
    for (mode, levels, bits) in [(Mode::Ept4, 4, 48), (Mode::Ept5, 5, 57)] {
        for (width, leaf) in [(36, Level::PAGE_4K), (52, Level::BLOCK_1G)] {
            let capabilities = Capabilities::common()
                .with_physical_address_bits(width)
                .with_largest_leaf(leaf);
            let format = Ept::new(mode, capabilities).unwrap();
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
    let rules = |hardware_writes_entries| UpdateRules {
        break_before_make: false,
        fresh_needs_invalidation: false,
        raised_needs_invalidation: false,
        hardware_writes_entries,
    };
    for tracking in [false, true] {
        let capabilities = Capabilities::new().with_accessed_dirty_tracking(tracking);
        assert_eq!(ept4(capabilities).rules(), rules(tracking));
    }
}

fn read(ept_vpid_cap: u64, arch_capabilities: u64, physical_address_bits: u32) -> Capabilities {
    let mut registers = Registers::default();
    registers.ept_vpid_cap = ept_vpid_cap;
    registers.arch_capabilities = arch_capabilities;
    registers.physical_address_bits = physical_address_bits;
    Capabilities::from_registers(&registers)
}

#[test]
fn capabilities_come_from_the_bits_of_the_msrs() {
    assert_eq!(read(0, 0, 36), Capabilities::new());
    // A Skylake server's value: no bit 7, everything else that matters; no IA32_ARCH_CAPABILITIES.
    let skylake = Capabilities::common()
        .with_largest_mode(Mode::Ept4)
        .with_physical_address_bits(46)
        .with_large_executable_leaves(false);
    assert_eq!(read(0x0f01_0633_4141, 0, 46), skylake);
    assert_eq!(read(0x0f01_0633_41c1, 1 << 6, 52), Capabilities::common());
    let base = Capabilities::new();
    assert_eq!(read(1, 0, 36), base.with_execute_only(true));
    assert_eq!(
        read(1 << 16, 0, 36),
        base.with_largest_leaf(Level::BLOCK_2M)
    );
    assert_eq!(read(1 << 17, 0, 36), base);
    assert_eq!(read(1 << 25, 0, 36), base.with_single_context_invept(true));
}

/// CVE-2018-12207: all bits of IA32_ARCH_CAPABILITIES but bit 6, and bit 6 alone.
#[test]
fn without_if_pschange_mc_no_guests_execute_from_4_kib_only() {
    let trusted = |arch_capabilities| read(0, arch_capabilities, 36).large_executable_leaves();
    assert!(trusted(1 << 6));
    assert!(!trusted(!(1 << 6)));
    assert!(!trusted(0));
    // Who knows nothing of the machine takes no risk, unless the machine is imaginary.
    assert!(!Capabilities::new().large_executable_leaves());
    assert!(Capabilities::common().large_executable_leaves());
}

#[test]
fn modes_have_names() {
    assert_eq!(Mode::AUTO, [Mode::Ept4, Mode::Ept5]);
    for (mode, name) in [(Mode::Ept4, "ept4"), (Mode::Ept5, "ept5")] {
        assert_eq!((mode.to_string().as_str(), name.parse()), (name, Ok(mode)));
    }
    for name in ["", "ept", "EPT4", "ept6", "sv39x4"] {
        assert!(name.parse::<Mode>().is_err(), "{name}");
    }
}

#[test]
fn what_the_machine_lacks_is_refused() {
    let new = |capabilities| Ept::new(Mode::Ept4, capabilities);
    let (mode, largest) = (Mode::Ept5, Mode::Ept4);
    let lacking = Ept::new(mode, Capabilities::new());
    assert_eq!(lacking, Err(ModeError::Unsupported { mode, largest }));
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
}
