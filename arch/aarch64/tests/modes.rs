//! Names, start levels, root sizes, and the registers that follow from them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use nested_page_table::{Format, Level};
use nested_paging_aarch64::{
    Capabilities, IdRegisters, Mode, ModeError, PhysicalAddressRange, Stage2,
};

const RANGES: [(PhysicalAddressRange, u8); 6] = [
    (PhysicalAddressRange::Bits32, 32),
    (PhysicalAddressRange::Bits36, 36),
    (PhysicalAddressRange::Bits40, 40),
    (PhysicalAddressRange::Bits42, 42),
    (PhysicalAddressRange::Bits44, 44),
    (PhysicalAddressRange::Bits48, 48),
];

fn machine(range: PhysicalAddressRange) -> Capabilities {
    Capabilities::new().with_physical_address_range(range)
}

fn common(bits: u8) -> Stage2 {
    Stage2::new(Mode::ipa(bits).unwrap(), Capabilities::common()).unwrap()
}

#[test]
fn a_name_is_what_display_writes_and_nothing_else() {
    for bits in 32..=48 {
        let mode = Mode::ipa(bits).unwrap();
        assert_eq!(mode.to_string(), format!("ipa{bits}"));
        assert_eq!(mode.to_string().parse(), Ok(mode));
        assert_eq!(mode.input_bits(), u32::from(bits));
    }
    for name in [
        "", "ipa", "ipa31", "ipa49", "ipa99", "ipa4", "ipa040", "ipa+40", "IPA40", "ipa40 ",
        "sv39x4", "40",
    ] {
        assert_eq!(name.parse::<Mode>(), Err(ModeError::UnknownName), "{name}");
    }
    for bits in (0..32).chain(49..=255) {
        assert_eq!(Mode::ipa(bits), Err(ModeError::InputBits { bits }));
    }
    let auto: Vec<_> = Mode::AUTO.iter().map(Mode::to_string).collect();
    assert_eq!(auto, ["ipa40", "ipa42", "ipa44", "ipa48"]);
}

#[test]
fn the_start_level_and_the_concatenation_are_those_of_the_manual() {
    // Input bits, start level as the architecture counts, concatenated root tables.
    let layouts = [
        (32, 2, 4),
        (33, 2, 8),
        (34, 2, 16),
        (35, 1, 1),
        (36, 1, 1),
        (37, 1, 1),
        (38, 1, 1),
        (39, 1, 1),
        (40, 1, 2),
        (41, 1, 4),
        (42, 1, 8),
        (43, 1, 16),
        (44, 0, 1),
        (45, 0, 1),
        (46, 0, 1),
        (47, 0, 1),
        (48, 0, 1),
    ];
    for (bits, start, tables) in layouts {
        let format = common(bits);
        let geometry = format.geometry();
        assert_eq!(geometry.input_bits(), u32::from(bits));
        assert_eq!(geometry.root_level().number(), 3 - start, "ipa{bits}");
        assert_eq!(geometry.root_frames(), tables, "ipa{bits}");
        assert_eq!(geometry.root_alignment(), tables * 4096, "ipa{bits}");
        assert_eq!(geometry.last_guest().as_u64(), (1 << bits) - 1);
        assert_eq!(
            geometry.largest_leaf(),
            Level::new((3 - start).min(2)).unwrap()
        );
        // SL0 counts the other way: 0, 1, 2 for a start at level 2, 1, 0.
        assert_eq!(format.vtcr() >> 6 & 3, u64::from(2 - start), "ipa{bits}");
        assert_eq!(64 - (format.vtcr() & 0x3f), u64::from(bits));
    }
}

#[test]
fn a_mode_needs_as_many_bits_of_physical_address() {
    for (physical_address_range, output) in RANGES {
        assert_eq!(physical_address_range.bits(), output);
        for bits in 32..=48 {
            let mode = Mode::ipa(bits).unwrap();
            let format = Stage2::new(mode, machine(physical_address_range));
            if bits > output {
                let refusal = ModeError::ExceedsPhysicalAddressRange {
                    mode,
                    physical_address_range,
                };
                assert_eq!(format.unwrap_err(), refusal);
                continue;
            }
            let format = format.unwrap();
            assert_eq!(format.mode(), mode);
            assert_eq!(format.capabilities(), machine(physical_address_range));
            assert_eq!(format.geometry().output_bits(), u32::from(output));
            let ps = [32, 36, 40, 42, 44, 48][(format.vtcr() >> 16 & 7) as usize];
            assert_eq!(ps, output, "VTCR_EL2.PS is the width that is enforced");
        }
    }
}

#[test]
fn m6_a_40_bit_input_has_1024_root_entries_and_44_bits_have_four_levels() {
    let format = common(40);
    let last = GuestPhysAddr::new((1 << 40) - 1);
    assert_eq!(format.geometry().entries(Level::BLOCK_1G), 1024);
    assert_eq!(format.geometry().index(Level::BLOCK_1G, last), 1023);
    assert_eq!(common(43).geometry().levels(), 3);
    assert_eq!(common(44).geometry().levels(), 4);
}

/// Values that run guests on QEMU's cortex-a53, cortex-a72, neoverse-n1 and max.
#[test]
fn vtcr_is_the_value_that_runs_guests() {
    use PhysicalAddressRange::{Bits40, Bits44, Bits48};
    for (bits, range, value) in [
        (39, Bits40, 0x8002_3559),
        (40, Bits40, 0x8002_3558),
        (43, Bits44, 0x8004_3555),
        (34, Bits40, 0x8002_351e),
        (44, Bits44, 0x8004_3594),
        (48, Bits48, 0x8005_3590),
    ] {
        let format = Stage2::new(Mode::ipa(bits).unwrap(), machine(range)).unwrap();
        assert_eq!(format.vtcr(), value, "ipa{bits}");
    }
}

#[test]
fn vtcr_says_how_wide_vmids_are_and_what_is_tracked() {
    let plain = Capabilities::common();
    let vtcr = |capabilities| Stage2::new(Mode::IPA48, capabilities).unwrap().vtcr();
    let base = vtcr(plain);
    assert_eq!(vtcr(plain.with_16_bit_vmid()), base | 1 << 19);
    assert_eq!(vtcr(plain.with_accessed_tracking()), base | 1 << 21);
    assert_eq!(vtcr(plain.with_dirty_tracking()), base | 3 << 21);
    // None of these has a bit in VTCR_EL2.
    let silent = plain.with_forced_write_back().with_user_execute_control();
    assert_eq!(vtcr(silent.with_tlb_range().with_tlb_level_hint()), base);
}

#[test]
fn vttbr_has_root_and_vmid_and_no_common_not_private_bit() {
    let root = HostPhysAddr::new(0x0000_ffff_ffff_e000);
    let narrow = common(40);
    assert_eq!(narrow.vmid_bits(), 8);
    assert_eq!(narrow.vttbr(root, 0xff), 0x00ff_ffff_ffff_e000);
    assert_eq!(narrow.vttbr(root, 0x1234), narrow.vttbr(root, 0x34));
    let wide = Capabilities::common().with_16_bit_vmid();
    let wide = Stage2::new(Mode::IPA40, wide).unwrap();
    assert_eq!(wide.vmid_bits(), 16);
    assert_eq!(wide.vttbr(root, 0xffff), 0xffff_ffff_ffff_e000);
    assert_eq!(wide.root_register(root, 7), wide.vttbr(root, 7));
}

#[test]
fn id_registers_say_what_the_hardware_has_and_leave_policies_off() {
    assert_eq!(
        Capabilities::from_id_registers(&IdRegisters::default()),
        Capabilities::new()
    );
    // Everything there is, FWB included but not switched on.
    let mut registers = IdRegisters::default();
    registers.id_aa64isar0 = 2 << 56;
    registers.id_aa64mmfr0 = 6;
    registers.id_aa64mmfr1 = 1 << 28 | 2 << 4 | 2;
    registers.id_aa64mmfr2 = 1 << 48 | 1 << 40;
    registers.hcr_el2 = 0x8000_0001;
    let expected = Capabilities::common()
        .with_16_bit_vmid()
        .with_tlb_range()
        .with_tlb_level_hint();
    assert_eq!(Capabilities::from_id_registers(&registers), expected);
    registers.hcr_el2 |= 1 << 46;
    let forced = expected.with_forced_write_back();
    assert_eq!(Capabilities::from_id_registers(&registers), forced);
    // The bit without the feature is RES0 and means nothing.
    registers.id_aa64mmfr2 = 1 << 48;
    assert_eq!(Capabilities::from_id_registers(&registers), expected);
    // FEAT_TLBIOS alone (1) has no range forms.
    registers.id_aa64isar0 = 1 << 56;
    assert!(!Capabilities::from_id_registers(&registers).tlb_range());
}

/// `TGran4_2` in bits 43:40, and `TGran4` in bits 31:28, which counts where the former is 0.
#[test]
fn every_mode_needs_the_4_kib_granule_at_stage_2() {
    for (id_aa64mmfr0, has_granule) in [
        (0, true),
        (0b0001 << 28, true),
        (0b1111 << 28, false),
        (0b0001 << 40, false),
        (0b0010 << 40, true),
        (0b0011 << 40, true),
        // What stage 1 has does not matter where stage 2 says something itself.
        (0b0010 << 40 | 0b1111 << 28, true),
        (0b0001 << 40 | 0b0001 << 28, false),
    ] {
        let mut registers = IdRegisters::default();
        registers.id_aa64mmfr0 = id_aa64mmfr0;
        let capabilities = Capabilities::from_id_registers(&registers);
        assert_eq!(capabilities.granule_4k(), has_granule, "{id_aa64mmfr0:#x}");
        let format = Stage2::new(Mode::ipa(32).unwrap(), capabilities);
        assert_eq!(format.is_ok(), has_granule, "{id_aa64mmfr0:#x}");
    }
    let without = Stage2::new(Mode::IPA40, Capabilities::common().without_4k_granule());
    assert_eq!(without.unwrap_err(), ModeError::NoGranule4K);
    assert_eq!(
        ModeError::NoGranule4K.to_string(),
        "the machine has no 4 KiB granule at stage 2"
    );
}

#[test]
fn the_physical_address_range_field_reads_and_writes() {
    for (field, (range, _)) in (0..).zip(RANGES) {
        assert_eq!(PhysicalAddressRange::from_field(field), range);
        assert_eq!(range.field(), field);
    }
    for field in [6, 7, 15] {
        let range = PhysicalAddressRange::from_field(field);
        assert_eq!(range, PhysicalAddressRange::Bits48);
    }
}

#[test]
fn errors_say_what_to_change() {
    let too_wide = Stage2::new(Mode::IPA48, machine(PhysicalAddressRange::Bits40)).unwrap_err();
    assert_eq!(
        too_wide.to_string(),
        "ipa48 is wider than the machine's physical addresses of 40 bits: choose ipa40 or less"
    );
    assert_eq!(
        Mode::ipa(52).unwrap_err().to_string(),
        "52 bits of guest-physical address; choose 32 to 48"
    );
}
