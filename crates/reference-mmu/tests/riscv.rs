//! Entries by hand, from the privileged specification and from what QEMU was seen to do.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use common::{EXECUTE, EXECUTE_USER, READ, Sparse, WRITE, gpa, reach, regions};
use reference_mmu::riscv::{ConfigError, Fault, Features, GStage, Why};
use reference_mmu::{Access, MemoryKind, NestedMmu};

const ROOT: u64 = 0x8020_0000;
const L1: u64 = 0x8030_0000;
const L0: u64 = 0x8030_1000;
/// V, R, W, X, U, A and D.
const RWX: u64 = 0xdf;

const PLAIN: Features = Features {
    pbmte: false,
    adue: false,
    svnapot: false,
    svrsw60t59b: false,
};
const ALL: Features = Features {
    pbmte: true,
    adue: true,
    svnapot: true,
    svrsw60t59b: true,
};

fn sv39x4(features: Features) -> GStage {
    GStage::new(8 << 60 | 7 << 44 | ROOT >> 12, features).unwrap()
}

fn pointer(table: u64) -> u64 {
    table >> 2 | 1
}

fn leaf(address: u64, bits: u64) -> u64 {
    address >> 2 | bits
}

/// A 4 KiB entry for guest-physical 0x1000.
fn with_pte(pte: u64) -> Sparse {
    Sparse::new(&[(ROOT, pointer(L1)), (L1, pointer(L0)), (L0 + 8, pte)])
}

fn why(features: Features, memory: &Sparse, access: Access) -> Why {
    let fault = reach(&sv39x4(features), memory, 0x1abc, access).unwrap_err();
    fault.why
}

#[test]
fn hgatp_is_checked() {
    let new = |hgatp| GStage::new(hgatp, PLAIN);
    let page = ROOT >> 12;
    for (mode, width) in [(8, 41), (9, 50), (10, 59)] {
        assert_eq!(new(mode << 60 | page).unwrap().input_bits(), width);
    }
    for mode in [0, 1, 7, 11, 15] {
        assert_eq!(new(mode << 60 | page), Err(ConfigError::Mode { mode }));
    }
    for bits in [1 << 58, 1 << 59] {
        let reserved = ConfigError::ReservedBits { bits };
        assert_eq!(new(8 << 60 | bits | page), Err(reserved));
    }
    for low in 1..4 {
        assert!(matches!(
            new(8 << 60 | page | low),
            Err(ConfigError::UnalignedRoot { .. })
        ));
    }
    assert!(new(8 << 60 | 0x3fff << 44 | 0xfff_ffff_fffc).is_ok());
}

#[test]
fn a_walk_reads_one_entry_for_each_level() {
    let memory = with_pte(leaf(0x9_1234_5000, RWX));
    let walk = sv39x4(PLAIN).walk(&memory, gpa(0x1abc), READ);
    let steps: Vec<_> = walk
        .steps
        .iter()
        .map(|s| (s.level, s.entry.as_u64(), s.value))
        .collect();
    assert_eq!(
        steps,
        [
            (2, ROOT, pointer(L1)),
            (1, L1, pointer(L0)),
            (0, L0 + 8, 0x2_448d_14df)
        ]
    );
    let leaf = walk.outcome.unwrap();
    assert_eq!(leaf.address.as_u64(), 0x9_1234_5abc);
    assert_eq!(leaf.page_size, 0x1000);
    assert_eq!(leaf.kind, MemoryKind::Platform);
    assert!(leaf.permissions.execute_user && leaf.permissions.execute_supervisor);
}

#[test]
fn the_root_has_eleven_index_bits_and_the_upper_half_is_no_sign_extension() {
    let top = 2047 << 30;
    let memory = Sparse::new(&[(ROOT + 2047 * 8, leaf(0x40_0000_0000, RWX))]);
    let memory = memory.with_zeros(ROOT, 0x4000);
    let mmu = sv39x4(PLAIN);
    assert_eq!(
        reach(&mmu, &memory, top | 0x3fff_ffff, WRITE),
        Ok(0x40_3fff_ffff)
    );
    assert_eq!(regions(&mmu, &memory), [(top, 1 << 30, Ok(0x40_0000_0000))]);
    let fault = reach(&mmu, &memory, 1 << 41, READ).unwrap_err();
    assert_eq!((fault.why, fault.cause()), (Why::AddressWidth, 21));
    assert_eq!(
        reach(&mmu, &memory, u64::MAX, EXECUTE).unwrap_err().cause(),
        20
    );
}

#[test]
fn every_mode_has_its_superpages() {
    for (mode, levels, high) in [(8_u64, 3_u64, 30), (9, 4, 39), (10, 5, 48)] {
        let mmu = GStage::new(mode << 60 | ROOT >> 12, PLAIN).unwrap();
        let base = 1_u64 << 48;
        let memory = Sparse::new(&[(ROOT + 2046 * 8, leaf(base, RWX))]);
        let address = 2046_u64 << high;
        let walk = mmu.walk(&memory, gpa(address | 0x123_4567), READ);
        let found = walk.outcome.unwrap();
        assert_eq!(found.address.as_u64(), base | 0x123_4567);
        assert_eq!(found.page_size, 1 << high);
        assert_eq!(u64::from(walk.steps[0].level), levels - 1);
    }
}

#[test]
fn sv57x4_indexes_every_level_with_its_own_bits() {
    let tables = [ROOT, 0x8040_0000, 0x8050_0000, 0x8060_0000, 0x8070_0000];
    let index = [0x7fe, 0x101, 0x0f2, 0x183, 0x044];
    let shift = [48, 39, 30, 21, 12];
    let mut memory = Sparse::default().with_zeros(ROOT, 0x4000);
    for level in 0..4 {
        memory.put(tables[level] + index[level] * 8, pointer(tables[level + 1]));
    }
    memory.put(tables[4] + index[4] * 8, leaf(0xabc_d000, RWX));
    let address: u64 = index.iter().zip(shift).map(|(i, s)| i << s).sum();
    let mmu = GStage::new(10 << 60 | ROOT >> 12, PLAIN).unwrap();
    assert_eq!(reach(&mmu, &memory, address + 0xfff, READ), Ok(0xabc_dfff));
    assert_eq!(regions(&mmu, &memory), [(address, 0x1000, Ok(0xabc_d000))]);
}

#[test]
fn causes_are_those_of_the_access() {
    let mmu = sv39x4(PLAIN);
    let cause = |memory: &Sparse, access| reach(&mmu, memory, 0x1000, access).unwrap_err().cause();
    let absent = with_pte(0);
    assert_eq!(cause(&absent, READ), 21);
    assert_eq!(cause(&absent, WRITE), 23);
    assert_eq!(cause(&absent, EXECUTE), 20);
    assert_eq!(cause(&with_pte(leaf(0, 0x53)), WRITE), 23);
    assert_eq!(cause(&with_pte(leaf(0, 0xd7)), EXECUTE_USER), 20);
    let nothing = Sparse::default();
    assert_eq!(cause(&nothing, READ), 5);
    assert_eq!(cause(&nothing, WRITE), 7);
    assert_eq!(cause(&nothing, EXECUTE), 1);
}

#[test]
fn every_fault_has_its_reason() {
    let bad = |features, pte| why(features, &with_pte(pte), READ);
    assert_eq!(bad(PLAIN, RWX & !1), Why::NotValid);
    assert_eq!(bad(PLAIN, 0xd5), Why::WriteWithoutRead);
    assert_eq!(bad(PLAIN, 0xdd), Why::WriteWithoutRead);
    assert_eq!(bad(PLAIN, pointer(L0)), Why::PointerAtLevel0);
    assert_eq!(bad(PLAIN, RWX & !0x10), Why::NotUser);
    assert_eq!(bad(PLAIN, RWX & !6), Why::Permission);
    assert_eq!(bad(PLAIN, RWX & !0x40), Why::AccessedClear);
    assert_eq!(bad(ALL, RWX | 3 << 61), Why::ReservedMemoryType);
    assert_eq!(bad(ALL, RWX | 1 << 63), Why::NapotEncoding);
    let store = why(PLAIN, &with_pte(RWX & !0x80), WRITE);
    assert_eq!(store, Why::DirtyClear);
    assert!(reach(&sv39x4(PLAIN), &with_pte(RWX & !0x80), 0x1000, READ).is_ok());
    let misaligned = Sparse::new(&[(ROOT, leaf(0x20_0000, RWX))]);
    assert_eq!(why(PLAIN, &misaligned, READ), Why::MisalignedSuperpage);
    let misaligned = Sparse::new(&[(ROOT, pointer(L1)), (L1, leaf(0x10_0000, RWX))]);
    assert_eq!(why(PLAIN, &misaligned, READ), Why::MisalignedSuperpage);
}

/// What one bit more means in a 4 KiB leaf with V, R, X, U and A.
fn one_bit_more(features: Features, bit: u32) -> Result<u64, Why> {
    let reserved = Err(Why::ReservedBits { bits: 1 << bit });
    match bit {
        10..=53 => Ok(1 << (bit + 2)),
        54..=58 => reserved,
        59 | 60 if !features.svrsw60t59b => reserved,
        61 | 62 if !features.pbmte => reserved,
        63 if !features.svnapot => reserved,
        63 => Err(Why::NapotEncoding),
        _ => Ok(0),
    }
}

#[test]
fn every_bit_of_a_leaf_is_judged() {
    for features in [PLAIN, ALL] {
        for bit in 0..64 {
            let memory = with_pte(0x5b | 1_u64 << bit);
            let found = reach(&sv39x4(features), &memory, 0x1000, READ);
            let found = found.map_err(|fault| fault.why);
            assert_eq!(found, one_bit_more(features, bit), "bit {bit}");
        }
    }
}

#[test]
fn every_bit_of_a_pointer_is_judged() {
    for (features, bit) in (0..64)
        .map(|bit| (PLAIN, bit))
        .chain((0..64).map(|bit| (ALL, bit)))
    {
        let memory = Sparse::new(&[(ROOT, 1 | 1_u64 << bit), (0, leaf(0x5000, RWX))]);
        let found = reach(&sv39x4(features), &memory, 0, READ).map_err(|fault| fault.why);
        let bits = 1_u64 << bit;
        let reserved = Err(Why::ReservedBits { bits });
        let expected = match bit {
            // The pointer is to page 0, where a superpage is misaligned.
            0 | 5 | 8 | 9 => Err(Why::MisalignedSuperpage),
            // R or X: a leaf without U.
            1 | 3 => Err(Why::NotUser),
            2 => Err(Why::WriteWithoutRead),
            4 | 6 | 7 => Err(Why::NonLeafBits { bits }),
            10..=53 => Err(Why::AccessFault),
            54..=58 => reserved,
            59 | 60 if features == ALL => Err(Why::MisalignedSuperpage),
            61..=63 if features == ALL => Err(Why::NonLeafBits { bits }),
            _ => reserved,
        };
        assert_eq!(found, expected, "bit {bit}");
    }
}

#[test]
fn pbmt_is_decoded() {
    for (pbmt, kind) in [
        (0, MemoryKind::Platform),
        (1, MemoryKind::Uncached),
        (2, MemoryKind::Device),
    ] {
        let memory = with_pte(RWX | pbmt << 61);
        let found = sv39x4(ALL)
            .walk(&memory, gpa(0x1000), READ)
            .outcome
            .unwrap();
        assert_eq!((u64::from(found.attributes.pbmt), found.kind), (pbmt, kind));
    }
}

#[test]
fn napot_maps_sixteen_entries_onto_64_kib() {
    let pte = leaf(0x40_8000, RWX | 1 << 63);
    let mut memory = Sparse::new(&[(ROOT, pointer(L1)), (L1, pointer(L0))]);
    for index in 0x10..0x20 {
        memory.put(L0 + index * 8, pte);
    }
    let memory = memory.with_zeros(ROOT, 0x4000);
    let mmu = sv39x4(ALL);
    let found = mmu.walk(&memory, gpa(0x1_7123), READ).outcome.unwrap();
    assert_eq!(found.address.as_u64(), 0x40_7123);
    assert_eq!(found.page_size, 0x1_0000);
    let expected: Vec<_> = (0..16)
        .map(|i| (0x1_0000 + i * 0x1000, 0x1000, Ok(0x40_0000 + i * 0x1000)))
        .collect();
    assert_eq!(regions(&mmu, &memory), expected);
    // A 2 MiB leaf with N is reserved, whatever its low bits are.
    let memory = Sparse::new(&[(ROOT, pointer(L1)), (L1, pte)]);
    assert_eq!(why(ALL, &memory, READ), Why::NapotEncoding);
}

#[test]
fn hardware_updates_are_told_and_not_made() {
    let clean = RWX & !0xc0;
    let memory = with_pte(clean);
    let updates = |features, access| {
        let steps = sv39x4(features).walk(&memory, gpa(0x1000), access).steps;
        steps.iter().map(|step| step.update).collect::<Vec<_>>()
    };
    assert_eq!(updates(ALL, READ), [None, None, Some(clean | 0x40)]);
    assert_eq!(updates(ALL, WRITE), [None, None, Some(clean | 0xc0)]);
    assert_eq!(updates(PLAIN, WRITE), [None, None, None]);
}

#[test]
fn an_illegal_entry_is_reported_once_for_what_it_covers() {
    let memory = Sparse::new(&[
        (ROOT, pointer(L1)),
        (ROOT + 8, leaf(0x20_0000, RWX)),
        (L1 + 8, pointer(L0)),
        (L1 + 16, leaf(0x60_0000, RWX & !0x40)),
        (L0, pointer(L0)),
        (L0 + 511 * 8, leaf(0x7000, 0x51)),
    ]);
    let memory = memory.with_zeros(ROOT, 0x4000);
    assert_eq!(
        regions(&sv39x4(PLAIN), &memory),
        [
            (0x20_0000, 0x1000, Err(Why::PointerAtLevel0)),
            // R = W = X = 0 with A and U: not a leaf.
            (0x3f_f000, 0x1000, Err(Why::NonLeafBits { bits: 0x50 })),
            (0x40_0000, 0x20_0000, Err(Why::AccessedClear)),
            (0x4000_0000, 0x4000_0000, Err(Why::MisalignedSuperpage)),
        ]
    );
}

#[test]
fn messages_name_cause_and_bits() {
    let fault = Fault {
        access: WRITE,
        level: 1,
        why: Why::ReservedBits { bits: 1 << 54 },
    };
    assert_eq!(
        fault.to_string(),
        "exception 23 at level 1: reserved bits 0x40000000000000 are set"
    );
}
