//! Values worked out by hand from the manual: entries, hgatp, shapes, names, errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must fail")]

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Entry, Format, Leaf, Level, UpdateRules};
use nested_paging_riscv64::{Capabilities, GStage, Mode, ModeError};

const MODES: [Mode; 3] = [Mode::Sv39x4, Mode::Sv48x4, Mode::Sv57x4];
const RWX: MappingFlags = MappingFlags::ACCESS;

fn sv39x4(capabilities: Capabilities) -> GStage {
    GStage::new(Mode::Sv39x4, capabilities).unwrap()
}

fn leaf(format: &GStage, address: u64, flags: MappingFlags) -> u64 {
    let address = HostPhysAddr::new(address);
    format.encode_leaf(Level::BLOCK_2M, Leaf { address, flags })
}

#[test]
fn entries() {
    let plain = sv39x4(Capabilities::new());
    let svpbmt = sv39x4(Capabilities::new().with_svpbmt(true));
    let tracking = sv39x4(Capabilities::new().with_accessed_dirty_tracking(true));
    let uart = MappingFlags::PASSTHROUGH;
    // 0x8020_0000 >> 12 << 10, and D A U X W R V.
    assert_eq!(leaf(&plain, 0x8020_0000, RWX), 0x2008_00df);
    assert_eq!(leaf(&tracking, 0x8020_0000, RWX), 0x2008_001f);
    assert_eq!(leaf(&plain, 0x8020_0000, MappingFlags::READ), 0x2008_0053);
    assert_eq!(
        leaf(&plain, 0x8020_0000, MappingFlags::EXECUTE),
        0x2008_0059
    );
    assert_eq!(leaf(&plain, 0x1000_0000, uart), 0x0400_03d7);
    assert_eq!(leaf(&svpbmt, 0x1000_0000, uart), 0x4000_0000_0400_03d7);
    let uncached = MappingFlags::READ_WRITE | MappingFlags::UNCACHED;
    assert_eq!(leaf(&svpbmt, 0x8020_0000, uncached), 0x2000_0000_2008_00d7);
    assert_eq!(
        plain.encode_table(HostPhysAddr::new(0x8020_3000)),
        0x2008_0c01
    );
    let top = HostPhysAddr::new(0x00ff_ffff_ffff_f000);
    assert_eq!(plain.address_bits(top), 0x003f_ffff_ffff_fc00);
}

/// Peers allocate a 4 KiB root, or 16 KiB that they index with 9 bits, so that addresses alias.
#[test]
fn peer_bug_r1_h4_the_root_is_16_kib_and_indexed_by_11_bits() {
    for (mode, bits, levels) in [
        (Mode::Sv39x4, 41, 3),
        (Mode::Sv48x4, 50, 4),
        (Mode::Sv57x4, 59, 5),
    ] {
        let format = GStage::new(mode, Capabilities::common()).unwrap();
        let geometry = format.geometry();
        assert_eq!(
            (geometry.root_size(), geometry.root_alignment()),
            (0x4000, 0x4000)
        );
        assert_eq!(geometry.root_frames(), 4);
        assert_eq!((geometry.levels(), geometry.input_bits()), (levels, bits));
        assert_eq!((mode.input_bits(), geometry.output_bits()), (bits, 56));
        let root = geometry.root_level();
        assert_eq!(
            (geometry.index_bits(root), geometry.entries(root)),
            (11, 2048)
        );
        let quarter = 1 << (bits - 2);
        let indices = [0, 1, 2, 3].map(|n| geometry.index(root, GuestPhysAddr::new(n * quarter)));
        assert_eq!(indices, [0, 512, 1024, 1536]);
        assert_eq!(geometry.index(root, geometry.last_guest()), 2047);
        for below in root.up_to().rev().skip(1) {
            assert_eq!(geometry.index_bits(below), 9);
        }
    }
}

/// A peer builds four levels and tells the hardware three.
#[test]
fn peer_bug_r3_hgatp_names_the_mode_that_the_table_has() {
    let root = HostPhysAddr::new(0x00ff_ffff_ffff_c000);
    for (mode, number) in [(Mode::Sv39x4, 8), (Mode::Sv48x4, 9), (Mode::Sv57x4, 10)] {
        let format = GStage::new(mode, Capabilities::common()).unwrap();
        let register = number << 60 | 0x2abc << 44 | 0x0fff_ffff_fffc;
        assert_eq!(format.hgatp(root, 0x2abc), register);
        assert_eq!(format.root_register(root, 0x2abc), register);
        // From level 0 up to the root: MODE 8 has three levels.
        assert_eq!(u64::from(format.geometry().levels()), number - 5);
    }
}

#[test]
fn hgatp_has_only_the_vmid_bits_of_the_machine() {
    for (bits, expected) in [(0, 0), (1, 1), (7, 0x7f), (14, 0x3fff)] {
        let format = sv39x4(Capabilities::new().with_vmid_bits(bits));
        assert_eq!(
            format.hgatp(HostPhysAddr::ZERO, u16::MAX),
            8 << 60 | expected << 44
        );
        assert_eq!(format.vmid_bits(), bits);
    }
}

/// A peer sets U only for `USER`: every other leaf faults for ever.
#[test]
fn peer_bug_r4_a_leaf_without_user_is_a_user_page_to_the_hardware() {
    let format = sv39x4(Capabilities::new());
    for flags in [RWX, RWX | MappingFlags::USER] {
        assert_eq!(leaf(&format, 0, flags) & 0x10, 0x10);
    }
}

/// Peers drop `DEVICE` and `UNCACHED`, so that they do not read back.
#[test]
fn peer_bug_r4_t7_memory_types_are_encoded_and_read_back() {
    let svpbmt = sv39x4(Capabilities::new().with_svpbmt(true));
    for flags in [MappingFlags::DEVICE, MappingFlags::UNCACHED] {
        let flags = flags | MappingFlags::READ;
        let bits = leaf(&svpbmt, 0x20_0000, flags);
        assert_ne!(bits >> 61, 0, "PBMT");
        let address = HostPhysAddr::new(0x20_0000);
        assert_eq!(
            svpbmt.decode(Level::BLOCK_2M, bits),
            Entry::Leaf(Leaf { address, flags })
        );
    }
}

/// A peer has no Sv57x4, and no 1 GiB leaves in Sv39x4.
#[test]
fn peer_bug_t7_leaves_reach_1_gib_in_sv39x4_and_512_gib_above() {
    let largest = MODES.map(|mode| {
        let format = GStage::new(mode, Capabilities::common()).unwrap();
        format
            .geometry()
            .entry_size(format.geometry().largest_leaf())
    });
    assert_eq!(largest, [1 << 30, 1 << 39, 1 << 39]);
}

#[test]
fn the_rules_follow_the_extensions() {
    let base = UpdateRules {
        break_before_make: false,
        fresh_needs_invalidation: true,
        raised_needs_invalidation: true,
        hardware_writes_entries: false,
    };
    assert_eq!(sv39x4(Capabilities::new()).rules(), base);
    let svvptc = Capabilities::new().with_svvptc(true);
    let fresh = UpdateRules {
        fresh_needs_invalidation: false,
        ..base
    };
    assert_eq!(sv39x4(svvptc).rules(), fresh);
    let tracking = Capabilities::new().with_accessed_dirty_tracking(true);
    let hardware = UpdateRules {
        hardware_writes_entries: true,
        ..base
    };
    assert_eq!(sv39x4(tracking).rules(), hardware);
}

#[test]
fn modes_have_names() {
    assert_eq!(Mode::AUTO, MODES);
    for (mode, name) in MODES.into_iter().zip(["sv39x4", "sv48x4", "sv57x4"]) {
        assert_eq!((mode.to_string().as_str(), name.parse()), (name, Ok(mode)));
    }
    for name in ["", "sv39", "SV39x4", "sv39x4 ", "ept4"] {
        assert!(name.parse::<Mode>().is_err(), "{name}");
    }
}

#[test]
fn a_mode_that_the_machine_lacks_and_a_vmid_that_hgatp_cannot_hold_are_refused() {
    let machine = Capabilities::new().with_largest_mode(Mode::Sv48x4);
    assert!(GStage::new(Mode::Sv39x4, machine).is_ok());
    let error = GStage::new(Mode::Sv57x4, machine).unwrap_err();
    let largest = Mode::Sv48x4;
    assert_eq!(
        error,
        ModeError::Unsupported {
            mode: Mode::Sv57x4,
            largest
        }
    );
    assert_eq!(
        error.to_string(),
        "this machine lacks the mode sv57x4: the largest it has is sv48x4"
    );
    let wide = GStage::new(Mode::Sv39x4, machine.with_vmid_bits(15));
    assert_eq!(wide, Err(ModeError::VmidBits { vmid_bits: 15 }));
}
