//! Entries by hand, from the APM and from what QEMU was seen to do where it follows the APM.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use common::{ACCESSES, EXECUTE, EXECUTE_USER, READ, Sparse, WRITE, gpa, reach, regions};
use reference_mmu::npt::{ConfigError, Fault, Features, Npt, Why};
use reference_mmu::{Access, MemoryKind, NestedMmu};

const ROOT: u64 = 0x10_0000;
const PDP: u64 = 0x20_0000;
const PD: u64 = 0x20_1000;
const PT: u64 = 0x20_2000;
/// Present, writable, user.
const RWX: u64 = 7;
/// The same with PS.
const HUGE: u64 = RWX | 0x80;
const NX: u64 = 1 << 63;
/// The access is to the final address, by a user.
const FINAL: u64 = 1 << 32 | 4;

const MILAN: Features = Features {
    max_phys_addr: 48,
    five_levels: false,
    no_execute: true,
    page_1g: true,
    pat: Features::RESET_PAT,
};
const NARROW: Features = Features {
    max_phys_addr: 40,
    no_execute: false,
    page_1g: false,
    ..MILAN
};
const FIVE: Features = Features {
    max_phys_addr: 52,
    five_levels: true,
    ..MILAN
};

fn npt(features: Features) -> Npt {
    Npt::new(ROOT, features).unwrap()
}

/// Four levels, of which the upper three have `upper` for their low bits.
fn tables(upper: u64, entries: &[(u64, u64)]) -> Sparse {
    let mut memory = Sparse::new(&[(ROOT, PDP | upper), (PDP, PD | upper), (PD, PT | upper)]);
    for (address, value) in entries {
        memory.put(*address, *value);
    }
    memory
}

/// A page for guest-physical 0x1000.
fn with_page(entry: u64) -> Sparse {
    tables(RWX, &[(PT + 8, entry)])
}

fn fault(features: Features, memory: &Sparse, access: Access) -> Fault {
    reach(&npt(features), memory, 0x1000, access).unwrap_err()
}

fn reserved(features: Features, memory: &Sparse) -> u64 {
    let found = fault(features, memory, READ);
    assert_eq!(found.information, FINAL | 9);
    match found.why {
        Why::ReservedBits { bits } => bits,
        _ => 0,
    }
}

#[test]
fn n_cr3_is_checked() {
    assert!(Npt::new(ROOT, MILAN).is_ok());
    assert!(Npt::new(ROOT | 0x18, MILAN).is_ok());
    for bit in (0..3).chain(5..12).chain(48..64) {
        let bits = 1 << bit;
        assert_eq!(
            Npt::new(ROOT | bits, MILAN),
            Err(ConfigError::ReservedBits { bits })
        );
    }
    assert!(Npt::new(1 << 51, FIVE).is_ok());
    for bits in [31, 53] {
        let features = Features {
            max_phys_addr: bits,
            ..MILAN
        };
        let refused = Npt::new(ROOT, features);
        assert_eq!(refused, Err(ConfigError::MaxPhysAddr { bits }));
    }
}

#[test]
fn a_reserved_type_in_the_pat_is_refused() {
    for (index, memory_type) in [(0, 2), (3, 3), (7, 8), (5, 0xff)] {
        let pat = Features::RESET_PAT & !(0xff << (8 * index)) | memory_type << (8 * index);
        let refused = Npt::new(ROOT, Features { pat, ..MILAN });
        let (index, memory_type) = (index as u8, memory_type as u8);
        assert_eq!(refused, Err(ConfigError::PatType { index, memory_type }));
    }
}

#[test]
fn a_walk_reads_one_entry_for_each_level() {
    let walk = npt(MILAN).walk(&with_page(0x12_3456_7000 | RWX), gpa(0x1abc), READ);
    let steps: Vec<_> = walk
        .steps
        .iter()
        .map(|step| (step.level, step.entry.as_u64(), step.value))
        .collect();
    assert_eq!(
        steps,
        [
            (4, ROOT, PDP | 7),
            (3, PDP, PD | 7),
            (2, PD, PT | 7),
            (1, PT + 8, 0x12_3456_7007)
        ]
    );
    let leaf = walk.outcome.unwrap();
    assert_eq!(leaf.address.as_u64(), 0x12_3456_7abc);
    assert_eq!((leaf.page_size, leaf.kind), (0x1000, MemoryKind::WriteBack));
    assert_eq!((leaf.accessed, leaf.dirty), (Some(false), Some(false)));
}

#[test]
fn every_level_has_its_bits_and_its_page() {
    // Bits 56:48, 47:39, 38:30 and 29:21 of the address are 1, 2, 3 and 4, those below are 5 and 0x678.
    let address = 1 << 48 | 2 << 39 | 3 << 30 | 4 << 21 | 5 << 12 | 0x678;
    let tables = [
        (ROOT + 8, PDP | RWX),
        (PDP + 16, PD | RWX),
        (PD + 24, PT | RWX),
        (PT + 32, 0x30_0000 | RWX),
        (0x30_0028, 0x40_0000 | RWX),
    ];
    let mmu = npt(FIVE);
    assert_eq!(mmu.input_bits(), 57);
    let reached = reach(&mmu, &Sparse::new(&tables), address, WRITE);
    assert_eq!(reached, Ok(0x40_0678));

    let mut two_mib = Sparse::new(&tables);
    two_mib.put(PT + 32, 0x4060_0000 | HUGE);
    assert_eq!(reach(&mmu, &two_mib, address, WRITE), Ok(0x4060_5678));
    let mut one_gib = Sparse::new(&tables);
    one_gib.put(PD + 24, 0x8000_0000 | HUGE);
    assert_eq!(reach(&mmu, &one_gib, address, WRITE), Ok(0x8080_5678));
}

#[test]
fn four_levels_take_48_bits() {
    let mmu = npt(MILAN);
    let mut memory = Sparse::new(&[(ROOT + 0xff8, PDP | RWX)]);
    memory.put(PDP + 0xff8, 0x4000_0000 | HUGE);
    assert_eq!(reach(&mmu, &memory, (1 << 48) - 1, READ), Ok(0x7fff_ffff));
    let fault = reach(&mmu, &memory, 1 << 48, READ).unwrap_err();
    assert_eq!((fault.level, fault.why), (4, Why::AddressWidth));
}

#[test]
fn the_fault_says_what_was_tried() {
    let absent = with_page(0);
    let attempts = [(READ, 4), (WRITE, 6), (EXECUTE, 0x14), (EXECUTE_USER, 0x14)];
    for (access, low) in attempts {
        let found = fault(MILAN, &absent, access);
        assert_eq!((found.level, found.why), (1, Why::NotPresent));
        assert_eq!(found.information, 1 << 32 | low, "{access:?}");
        // P, and the reserved bit's 8 on top of it.
        let present = fault(MILAN, &with_page(0x5003), access);
        assert_eq!(present.information, 1 << 32 | low | 1, "{access:?}");
        let reserved = fault(MILAN, &with_page(1 << 48 | RWX), access);
        assert_eq!(reserved.information, 1 << 32 | low | 9, "{access:?}");
    }
    // Without EFER.NXE a fetch is reported as a read.
    assert_eq!(fault(NARROW, &absent, EXECUTE).information, FINAL);
}

#[test]
fn an_absent_entry_may_contain_anything_else() {
    for entry in [!1, NX, 1 << 51, 0x80, 2, 4, 6] {
        for access in ACCESSES {
            assert_eq!(fault(MILAN, &with_page(entry), access).why, Why::NotPresent);
        }
        let mut upper = tables(RWX, &[]);
        upper.put(PDP, entry);
        assert_eq!(fault(MILAN, &upper, READ).level, 3);
    }
}

#[test]
fn a_page_can_be_written_if_every_entry_says_so() {
    for table in [ROOT, PDP, PD] {
        let mut memory = with_page(0x5000 | RWX);
        memory.put(table, below(table) | 5);
        let found = fault(MILAN, &memory, WRITE);
        assert_eq!((found.level, found.why), (1, Why::Permission));
        assert_eq!(found.information, FINAL | 3);
        assert_eq!(reach(&npt(MILAN), &memory, 0x1000, READ), Ok(0x5000));
        assert_eq!(reach(&npt(MILAN), &memory, 0x1000, EXECUTE), Ok(0x5000));
    }
    assert_eq!(fault(MILAN, &with_page(0x5005), WRITE).why, Why::Permission);
}

#[test]
fn one_entry_forbids_execution() {
    for table in [ROOT, PDP, PD] {
        let mut memory = with_page(0x5000 | RWX);
        memory.put(table, below(table) | RWX | NX);
        for access in [EXECUTE, EXECUTE_USER] {
            let found = fault(MILAN, &memory, access);
            assert_eq!((found.level, found.why), (1, Why::Permission));
            assert_eq!(found.information, FINAL | 0x11);
        }
        assert_eq!(reach(&npt(MILAN), &memory, 0x1000, WRITE), Ok(0x5000));
    }
}

/// Which table the entry 0 of `table` leads to.
fn below(table: u64) -> u64 {
    match table {
        ROOT => PDP,
        PDP => PD,
        _ => PT,
    }
}

#[test]
fn every_access_of_a_guest_is_a_user_access() {
    for table in [ROOT, PDP, PD] {
        let mut memory = with_page(0x5000 | RWX);
        memory.put(table, below(table) | 3);
        for access in ACCESSES {
            let found = fault(MILAN, &memory, access);
            assert_eq!((found.level, found.why), (1, Why::NotUser));
        }
        assert_eq!(fault(MILAN, &memory, WRITE).information, FINAL | 3);
        // The walk goes on to its end, where another reason counts first.
        memory.put(PT + 8, 0);
        assert_eq!(fault(MILAN, &memory, READ).why, Why::NotPresent);
        memory.put(PT + 8, 1 << 50 | RWX);
        assert_eq!(reserved(MILAN, &memory), 1 << 50);
    }
}

#[test]
fn bits_that_must_be_zero() {
    for bit in 48..52 {
        assert_eq!(reserved(MILAN, &with_page(1 << bit | RWX)), 1 << bit);
    }
    for bit in 40..52 {
        assert_eq!(reserved(NARROW, &with_page(1 << bit | RWX)), 1 << bit);
    }
    assert_eq!(reserved(NARROW, &with_page(NX | RWX)), NX);
    for bit in [7, 8] {
        let mut memory = with_page(RWX);
        memory.put(ROOT, PDP | RWX | 1 << bit);
        assert_eq!(reserved(MILAN, &memory), 1 << bit);
    }
    for bit in 13..21 {
        let mut memory = with_page(RWX);
        memory.put(PD, 1 << bit | HUGE);
        assert_eq!(reserved(MILAN, &memory), 1 << bit);
    }
    for bit in 13..30 {
        let mut memory = with_page(RWX);
        memory.put(PDP, 1 << bit | HUGE);
        assert_eq!(reserved(MILAN, &memory), 1 << bit);
    }
    let mut memory = with_page(RWX);
    memory.put(PDP, HUGE);
    assert_eq!(reserved(NARROW, &memory), 0x80);
}

#[test]
fn bits_that_are_ignored() {
    // G, and the available bits 11:9 and 62:52, protection keys included.
    let ignored = 0xf00 | 0x7ff << 52;
    let memory = with_page(0x5000 | RWX | ignored);
    for access in ACCESSES {
        assert_eq!(reach(&npt(MILAN), &memory, 0x1000, access), Ok(0x5000));
    }
    let mut memory = with_page(0x5000 | RWX);
    for table in [ROOT, PDP, PD] {
        memory.put(table, below(table) | RWX | 0xe00 | 0x7ff << 52 | 0x40);
    }
    assert_eq!(reach(&npt(MILAN), &memory, 0x1000, WRITE), Ok(0x5000));
}

#[test]
fn pat_pcd_and_pwt_choose_from_the_hosts_pat() {
    // A PAT whose entries are all different where that is possible: WB, WC, UC-, UC, WT, WP, WB, WC.
    let pat = 0x0106_0504_0007_0106;
    let features = Features { pat, ..MILAN };
    let types = [6, 1, 7, 0, 4, 5, 6, 1];
    for (index, memory_type) in (0..).zip(types) {
        let low = (index & 3) << 3;
        let page = with_page(0x5000 | RWX | low | (index >> 2) << 7);
        let mut two_mib = tables(RWX, &[]);
        two_mib.put(PD, HUGE | low | (index >> 2) << 12);
        let mut one_gib = tables(RWX, &[]);
        one_gib.put(PDP, HUGE | low | (index >> 2) << 12);
        for memory in [page, two_mib, one_gib] {
            let walk = npt(features).walk(&memory, gpa(0x1000), READ);
            let leaf = walk.outcome.unwrap();
            assert_eq!(u64::from(leaf.attributes.pat_index), index);
            assert_eq!(leaf.attributes.memory_type, memory_type);
            let kind = match memory_type {
                0 => MemoryKind::Uncacheable,
                6 => MemoryKind::WriteBack,
                _ => MemoryKind::Other,
            };
            assert_eq!(leaf.kind, kind);
        }
    }
}

#[test]
fn accessed_in_every_entry_and_dirty_in_the_leaf() {
    let memory = with_page(0x5000 | RWX);
    let updates = |access| {
        let walk = npt(MILAN).walk(&memory, gpa(0x1000), access);
        let updates = walk.steps.iter().map(|step| step.update);
        updates.collect::<Vec<_>>()
    };
    let tables = [PDP, PD, PT].map(|table| Some(table | RWX | 0x20));
    let with = |leaf| [&tables[..], &[Some(0x5000 | RWX | leaf)]].concat();
    assert_eq!(updates(READ), with(0x20));
    assert_eq!(updates(EXECUTE), with(0x20));
    assert_eq!(updates(WRITE), with(0x60));
    let set = npt(MILAN).walk(&with_page(0x5000 | RWX | 0x60), gpa(0x1000), WRITE);
    assert_eq!(set.steps.last().unwrap().update, None);
    let leaf = set.outcome.unwrap();
    assert_eq!((leaf.accessed, leaf.dirty), (Some(true), Some(true)));
}

#[test]
fn an_entry_without_memory_is_no_nested_page_fault() {
    let memory = Sparse::new(&[(ROOT, PDP | RWX)]);
    let found = fault(MILAN, &memory, READ);
    assert_eq!((found.level, found.why), (3, Why::NoMemory));
    assert_eq!(found.information, 0);
}

#[test]
fn the_enumeration_lists_leaves_and_what_is_wrong() {
    let mut memory = tables(RWX, &[(PT, 0x7000 | RWX), (PT + 16, 1 << 48 | RWX)]);
    memory.put(PD + 8, 0x20_0000 | HUGE | NX);
    memory.put(PDP + 8, 0x4000_0000 | HUGE & !4);
    assert_eq!(
        regions(&npt(MILAN), &memory),
        [
            (0, 0x1000, Ok(0x7000)),
            (0x2000, 0x1000, Err(Why::ReservedBits { bits: 1 << 48 })),
            (0x20_0000, 0x20_0000, Ok(0x20_0000)),
            (0x4000_0000, 0x4000_0000, Err(Why::NotUser)),
        ]
    );
}
