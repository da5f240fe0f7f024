//! Registers and descriptors by hand, from the Arm ARM and from what QEMU was seen to do.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use common::{ACCESSES, EXECUTE, EXECUTE_USER, READ, Sparse, WRITE, gpa, reach, regions};
use guest_addr::HostPhysAddr;
use reference_mmu::aarch64::{ConfigError, Fault, Features, Stage2, Strict, Why};
use reference_mmu::{Access, MemoryKind, NestedMmu};

const ROOT: u64 = 0x4001_0000;
const L2: u64 = 0x4030_0000;
const L3: u64 = 0x4030_1000;
/// A page: inner shareable, AF, readable and writable, write-back.
const PAGE: u64 = 0x7ff;
const BLOCK: u64 = 0x7fd;
const IPA39: u64 = 0x8002_3559;

const PLAIN: Features = Features {
    pa_range: 2,
    force_write_back: false,
    execute_never_extended: false,
    vmid16: false,
    hardware_access_flag: false,
    hardware_dirty_state: false,
};
const ALL: Features = Features {
    pa_range: 5,
    force_write_back: true,
    execute_never_extended: true,
    vmid16: true,
    hardware_access_flag: true,
    hardware_dirty_state: true,
};

fn stage2(features: Features, vtcr: u64) -> Stage2 {
    Stage2::new(ROOT | 5 << 48, vtcr, features).unwrap()
}

fn pa(pa_range: u8) -> Features {
    Features { pa_range, ..PLAIN }
}

/// A page for intermediate physical 0x1000 under a 39-bit root at level 1.
fn with_page(descriptor: u64) -> Sparse {
    Sparse::new(&[(ROOT, L2 | 3), (L2, L3 | 3), (L3 + 8, descriptor)])
}

fn fault(features: Features, descriptor: u64, access: Access) -> Fault {
    reach(
        &stage2(features, IPA39),
        &with_page(descriptor),
        0x1000,
        access,
    )
    .unwrap_err()
}

#[test]
fn the_known_layouts_are_accepted() {
    // PARange, VTCR_EL2, IPA bits, start level, bytes of the root.
    for (pa_range, vtcr, bits, level, size) in [
        (2, 0x8002_3559, 39, 1, 0x1000),
        (2, 0x8002_3558, 40, 1, 0x2000),
        (4, 0x8004_3555, 43, 1, 0x1_0000),
        (2, 0x8002_351e, 34, 2, 0x1_0000),
        (4, 0x8004_3594, 44, 0, 0x100),
        (5, 0x8005_3590, 48, 0, 0x1000),
    ] {
        let mmu = Stage2::new(size, vtcr, pa(pa_range)).unwrap();
        assert_eq!(mmu.input_bits(), bits, "{vtcr:#x}");
        let unaligned = Stage2::new(size / 2, vtcr, pa(pa_range)).unwrap_err();
        let root = HostPhysAddr::new(size / 2);
        let alignment = size;
        assert_eq!(unaligned, ConfigError::UnalignedRoot { root, alignment });
        // The last entry of the root is where the last byte of the address space is translated.
        let memory = Sparse::default().with_zeros(0, 0x10_0000);
        let walk = mmu.walk(&memory, gpa((1 << bits) - 1), READ);
        assert_eq!(walk.steps[0].entry.as_u64(), size + size - 8, "{vtcr:#x}");
        assert_eq!(walk.steps[0].level, level);
        let beyond = mmu.walk(&memory, gpa(1 << bits), READ).outcome.unwrap_err();
        assert_eq!((beyond.level, beyond.why), (0, Why::AddressWidth));
        assert_eq!(beyond.status_code(), Some(0b00_0100));
    }
}

/// VTCR_EL2 with 48-bit output.
fn vtcr(ipa_bits: u64, sl0: u64) -> u64 {
    0x8005_3500 | sl0 << 6 | (64 - ipa_bits)
}

#[test]
fn start_levels_and_input_sizes_agree_as_in_the_pseudocode() {
    for bits in 25..=48 {
        for (sl0, sizes) in [(0, 22..=34), (1, 31..=43), (2, 40..=52)] {
            let accepted = Stage2::new(0, vtcr(bits, sl0), pa(5)).is_ok();
            assert_eq!(accepted, sizes.contains(&bits), "SL0 {sl0}, {bits} bits");
        }
    }
    // Level 0 needs 44 bits of physical address, even where 40 would do.
    let narrow = 0x8003_3580 | 24;
    assert_eq!(
        Stage2::new(0, narrow, pa(3)),
        Err(ConfigError::StartLevel { sl0: 2 })
    );
    assert!(Stage2::new(0, narrow, pa(4)).is_ok());
    assert_eq!(
        Stage2::new(0, 0x8002_3557, PLAIN),
        Err(ConfigError::InputSize { bits: 41 })
    );
    assert_eq!(
        Stage2::new(0, vtcr(24, 0), pa(5)),
        Err(ConfigError::InputSize { bits: 24 })
    );
    assert_eq!(
        Stage2::new(0, vtcr(49, 2), pa(6)),
        Err(ConfigError::InputSize { bits: 49 })
    );
}

#[test]
fn registers_are_checked() {
    let new = |vtcr| Stage2::new(0, vtcr, PLAIN).unwrap_err();
    let reserved = |bits| ConfigError::ReservedBits { bits };
    assert_eq!(new(IPA39 & !(1 << 31)), ConfigError::Res1Clear);
    for bit in [19, 20, 21, 22, 23, 25, 29, 30, 32, 33, 44, 63] {
        assert_eq!(new(IPA39 | 1 << bit), reserved(1 << bit));
    }
    assert_eq!(new(0x8004_7556), ConfigError::Granule { tg0: 1 });
    assert_eq!(new(0x8002_b558), ConfigError::Granule { tg0: 2 });
    assert_eq!(new(IPA39 & !(1 << 13)), ConfigError::Shareability);
    let (ps, pa_range) = (3, 2);
    assert_eq!(new(0x8003_3559), ConfigError::OutputSize { ps, pa_range });
    assert_eq!(new(0x8002_35d9), ConfigError::StartLevel { sl0: 3 });
    let pa_range = 7;
    assert_eq!(
        Stage2::new(0, IPA39, pa(7)),
        Err(ConfigError::PhysicalAddressRange { pa_range })
    );

    let root = |vttbr| Stage2::new(vttbr, IPA39, PLAIN).unwrap_err();
    assert_eq!(root(0x100 << 48), ConfigError::WideVmid { vmid: 0x100 });
    assert_eq!(root(ROOT | 1), ConfigError::CommonNotPrivate);
    assert!(matches!(
        root(1 << 40),
        ConfigError::RootAboveOutputSize {
            output_bits: 40,
            ..
        }
    ));
    assert!(Stage2::new(0x100 << 48 | ROOT, IPA39 | 1 << 19, ALL).is_ok());
    assert!(Stage2::new(ROOT, IPA39 | 3 << 21, ALL).is_ok());
}

#[test]
fn a_walk_reads_one_descriptor_for_each_level() {
    let walk = stage2(PLAIN, IPA39).walk(&with_page(0x8_8765_4000 | PAGE), gpa(0x1abc), WRITE);
    let steps: Vec<_> = walk
        .steps
        .iter()
        .map(|s| (s.level, s.entry.as_u64(), s.value))
        .collect();
    assert_eq!(
        steps,
        [
            (1, ROOT, L2 | 3),
            (2, L2, L3 | 3),
            (3, L3 + 8, 0x8_8765_47ff)
        ]
    );
    let leaf = walk.outcome.unwrap();
    assert_eq!(leaf.address.as_u64(), 0x8_8765_4abc);
    assert_eq!((leaf.page_size, leaf.kind), (0x1000, MemoryKind::WriteBack));
    assert_eq!(leaf.attributes.mem_attr, 0b1111);
    assert_eq!(leaf.attributes.shareability, 3);
    assert_eq!((leaf.accessed, leaf.dirty), (Some(true), None));
}

#[test]
fn every_level_has_its_bits_and_its_block() {
    let mmu = Stage2::new(ROOT, vtcr(48, 2), pa(5)).unwrap();
    let index = [0x1fe, 0x101, 0x0f2, 0x083];
    let tables = [ROOT, 0x5000_0000, 0x5000_1000, 0x5000_2000];
    let shift = [39, 30, 21, 12];
    let base = 0x7f_c000_0000;
    for last in 1..4 {
        let mut memory = Sparse::default();
        for level in 0..last {
            memory.put(tables[level] + index[level] * 8, tables[level + 1] | 3);
        }
        let leaf = base | if last == 3 { PAGE } else { BLOCK };
        memory.put(tables[last] + index[last] * 8, leaf);
        let start: u64 = (0..=last).map(|level| index[level] << shift[level]).sum();
        let size = 1 << shift[last];
        assert_eq!(
            reach(&mmu, &memory, start + size - 1, READ),
            Ok(base + size - 1)
        );
        assert_eq!(regions(&mmu, &memory), [(start, size, Ok(base))]);
    }
}

#[test]
fn concatenated_roots_are_one_table() {
    let mmu = Stage2::new(ROOT, 0x8002_3558, PLAIN).unwrap();
    let memory = Sparse::new(&[(ROOT + 1023 * 8, 0x4000_0000 | BLOCK)]).with_zeros(ROOT, 0x2000);
    let start = 0xff_c000_0000;
    assert_eq!(
        reach(&mmu, &memory, start | 0x123_4567, READ),
        Ok(0x4123_4567)
    );
    assert_eq!(regions(&mmu, &memory), [(start, 1 << 30, Ok(0x4000_0000))]);
}

#[test]
fn faults_have_the_status_codes_that_qemu_reports() {
    let code = |descriptor, access| fault(PLAIN, descriptor, access).status_code().unwrap();
    // The low six bits of ESR_EL2: 0x93c08007, 0x93c28047, 0x82000007, 0x93c2804f, 0x8200000f,
    // 0x93c0800b.
    assert_eq!(code(0, READ), 0x07);
    assert_eq!(code(0, WRITE), 0x07);
    assert_eq!(code(0, EXECUTE), 0x07);
    assert_eq!(code(PAGE & !0x80, WRITE), 0x0f);
    assert_eq!(code(PAGE | 1 << 54, EXECUTE), 0x0f);
    assert_eq!(code(PAGE & !0x400, READ), 0x0b);
    assert_eq!(code(1 << 40 | PAGE, READ), 0x03);
    let nothing = reach(&stage2(PLAIN, IPA39), &Sparse::default(), 0, READ).unwrap_err();
    assert_eq!(
        (nothing.why, nothing.status_code()),
        (Why::ExternalAbort, Some(0x15))
    );
    let table = Sparse::new(&[(ROOT, 1 << 40 | 3)]);
    let table = reach(&stage2(PLAIN, IPA39), &table, 0, READ).unwrap_err();
    let address = HostPhysAddr::new(1 << 40);
    assert_eq!(table.why, Why::AddressSize { address });
    assert_eq!(table.status_code(), Some(0x01));
}

#[test]
fn descriptor_types_that_the_level_lacks_are_translation_faults() {
    assert_eq!(fault(PLAIN, 2, READ).why, Why::Invalid);
    assert_eq!(fault(PLAIN, BLOCK, READ).why, Why::ReservedAtLevel3);
    let mmu = Stage2::new(ROOT, vtcr(48, 2), pa(5)).unwrap();
    let memory = Sparse::new(&[(ROOT, BLOCK)]);
    let found = reach(&mmu, &memory, 0, READ).unwrap_err();
    assert_eq!(
        (found.why, found.status_code()),
        (Why::BlockAtLevel0, Some(0x04))
    );
    assert_eq!(
        regions(&mmu, &memory),
        [(0, 1 << 39, Err(Why::BlockAtLevel0))]
    );
}

#[test]
fn permissions_follow_s2ap_and_xn() {
    for xn in 0..4_u64 {
        for s2ap in 0..4_u64 {
            let page = (PAGE & !0xc0) | s2ap << 6 | xn << 53;
            let mmu = stage2(ALL, IPA39);
            let memory = with_page((page & !0x3c) | 0b0110 << 2);
            let found = ACCESSES.map(|access| reach(&mmu, &memory, 0x1000, access).is_ok());
            let (el1, el0) =
                [(true, true), (false, true), (false, false), (true, false)][xn as usize];
            assert_eq!(
                found,
                [s2ap & 1 == 1, s2ap & 2 == 2, el1, el0],
                "{s2ap:02b} {xn:02b}"
            );
        }
    }
    let execute = |access| {
        reach(
            &stage2(PLAIN, IPA39),
            &with_page(PAGE & !0xc0),
            0x1000,
            access,
        )
    };
    assert!(execute(EXECUTE).is_ok() && execute(EXECUTE_USER).is_ok());
}

#[test]
fn memory_attributes_depend_on_force_write_back() {
    use MemoryKind::{Device, Other, Uncached, WriteBack};
    let (reserved, other) = (None, Some(Other));
    let device = [Some(Device); 4];
    let plain = [
        reserved,
        Some(Uncached),
        other,
        other,
        reserved,
        other,
        other,
        other,
        reserved,
        other,
        other,
        Some(WriteBack),
    ];
    let forced = [reserved, Some(Uncached), Some(WriteBack), other];
    for mem_attr in 0..16_u8 {
        let page = (PAGE & !0x3c) | u64::from(mem_attr) << 2;
        for (features, normal) in [(PLAIN, &plain[..]), (ALL, &forced[..])] {
            let expected = device.iter().chain(normal).nth(usize::from(mem_attr));
            let walk = stage2(features, IPA39).walk(&with_page(page), gpa(0x1000), READ);
            match expected.copied().flatten() {
                Some(kind) => assert_eq!(walk.outcome.unwrap().kind, kind, "{mem_attr:04b}"),
                None => assert_eq!(
                    walk.outcome.unwrap_err().why,
                    Why::Strict(Strict::ReservedMemAttr { mem_attr })
                ),
            }
        }
    }
}

#[test]
fn fetching_from_device_memory_is_unpredictable() {
    let device = (PAGE & !0x3c) | 1 << 2;
    let found = fault(PLAIN, device, EXECUTE);
    assert_eq!(found.why, Why::Strict(Strict::DeviceExecute));
    assert_eq!(found.status_code(), None);
    assert_eq!(fault(PLAIN, device | 1 << 54, EXECUTE).why, Why::Permission);
}

/// What one bit more means in a write-back page with AF, without shareability or permissions.
fn one_bit_more(features: Features, bit: u32) -> Result<u64, Why> {
    let res0 = Err(Why::Strict(Strict::Res0 { bits: 1 << bit }));
    match bit {
        8 => Err(Why::Strict(Strict::ReservedShareability)),
        11 | 48..=50 => res0,
        12..=39 => Ok(1 << bit),
        40..=47 => Err(Why::AddressSize {
            address: HostPhysAddr::new(1 << bit),
        }),
        51 if !features.hardware_dirty_state => res0,
        53 if !features.execute_never_extended => res0,
        52 => Err(Why::Strict(Strict::Contiguous)),
        _ => Ok(0),
    }
}

#[test]
fn every_bit_of_a_page_is_judged() {
    for (features, mem_attr) in [(PLAIN, 0b1111 << 2), (ALL, 0b0111 << 2)] {
        for bit in (6..64).filter(|bit| *bit != 10) {
            let memory = with_page(0x443 | mem_attr | 1 << bit);
            let found = reach(&stage2(features, IPA39), &memory, 0x1000, READ);
            let found = found.map_err(|fault| fault.why);
            assert_eq!(found, one_bit_more(features, bit), "bit {bit}");
        }
    }
}

#[test]
fn every_bit_of_a_table_is_judged() {
    for bit in 2..64 {
        let memory = Sparse::new(&[(ROOT, 3 | 1 << bit), (0, BLOCK)]);
        let found = reach(&stage2(PLAIN, IPA39), &memory, 0, READ).map_err(|fault| fault.why);
        let expected = match bit {
            12..=39 => Err(Why::ExternalAbort),
            40..=47 => Err(Why::AddressSize {
                address: HostPhysAddr::new(1 << bit),
            }),
            48..=50 | 59..=63 => Err(Why::Strict(Strict::Res0 { bits: 1 << bit })),
            _ => Ok(0),
        };
        assert_eq!(found, expected, "bit {bit}");
    }
}

#[test]
fn blocks_must_be_aligned() {
    for bit in 12..30 {
        let level1 = Sparse::new(&[(ROOT, BLOCK | 1 << bit)]);
        let found = reach(&stage2(PLAIN, IPA39), &level1, 0, READ).unwrap_err();
        let strict = Why::Strict(Strict::MisalignedBlock { bits: 1 << bit });
        assert_eq!((found.level, found.why), (1, strict));
        let level2 = Sparse::new(&[(ROOT, L2 | 3), (L2, BLOCK | 1 << bit)]);
        let found = reach(&stage2(PLAIN, IPA39), &level2, 0, READ).map_err(|fault| fault.why);
        assert_eq!(found, if bit < 21 { Err(strict) } else { Ok(1 << bit) });
    }
}

#[test]
fn hardware_access_flag_and_dirty_state_are_told_and_not_made() {
    let updates = |bits, page, access| {
        let mmu = stage2(
            Features {
                force_write_back: false,
                ..ALL
            },
            IPA39 | bits,
        );
        let walk = mmu.walk(&with_page(page), gpa(0x1000), access);
        let leaf = walk.steps[2].update;
        assert_eq!((walk.steps[0].update, walk.steps[1].update), (None, None));
        (
            walk.outcome
                .map_err(|fault| fault.why)
                .map(|leaf| leaf.dirty),
            leaf,
        )
    };
    const HA: u64 = 1 << 21;
    const HD: u64 = 1 << 22;
    const DBM: u64 = 1 << 51;
    let old = PAGE & !0x400;
    assert_eq!(updates(0, old, READ), (Err(Why::AccessFlag), None));
    assert_eq!(updates(HA, old, READ), (Ok(None), Some(PAGE)));
    let clean = (PAGE & !0x80) | DBM;
    assert_eq!(updates(HA, clean, WRITE), (Err(Why::Permission), None));
    assert_eq!(updates(HD, clean, WRITE), (Err(Why::Permission), None));
    assert_eq!(
        updates(HA | HD, clean, WRITE),
        (Ok(Some(false)), Some(PAGE | DBM))
    );
    assert_eq!(updates(HA | HD, clean, READ), (Ok(Some(false)), None));
    assert_eq!(updates(HA | HD, PAGE | DBM, WRITE), (Ok(Some(true)), None));
    assert_eq!(
        updates(HA | HD, clean & !DBM, WRITE),
        (Err(Why::Permission), None)
    );
}
