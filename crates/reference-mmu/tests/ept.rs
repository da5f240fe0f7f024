//! Entries by hand, from the SDM and from what Bochs was seen to do.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use common::{EXECUTE, EXECUTE_USER, READ, Sparse, WRITE, gpa, reach, regions};
use reference_mmu::ept::{ConfigError, Ept, Fault, Features, Misconfiguration, Why};
use reference_mmu::{Access, MemoryKind, NestedMmu};

const ROOT: u64 = 0x10_0000;
const PDPT: u64 = 0x20_0000;
const PD: u64 = 0x20_1000;
const PT: u64 = 0x20_2000;
/// Write-back, readable, writable and executable.
const RWX: u64 = 0x37;
const HUGE: u64 = RWX | 0x80;

/// A Skylake, as Bochs has it.
const SKYLAKE: Features = Features {
    max_phys_addr: 40,
    execute_only: true,
    walk_length_5: false,
    page_2m: true,
    page_1g: true,
    accessed_dirty: true,
    mode_based_execute: false,
    violation_exceptions: false,
};
const MBEC: Features = Features {
    mode_based_execute: true,
    ..SKYLAKE
};
const POOR: Features = Features {
    execute_only: false,
    page_2m: false,
    page_1g: false,
    accessed_dirty: false,
    ..SKYLAKE
};

fn ept4(features: Features) -> Ept {
    Ept::new(ROOT | 3 << 3 | 6, features).unwrap()
}

fn tables(upper: u64, entries: &[(u64, u64)]) -> Sparse {
    let mut memory = Sparse::new(&[(ROOT, PDPT | upper), (PDPT, PD | upper), (PD, PT | upper)]);
    for (address, value) in entries {
        memory.put(*address, *value);
    }
    memory
}

/// A page for guest-physical 0x1000.
fn with_page(entry: u64) -> Sparse {
    tables(7, &[(PT + 8, entry)])
}

fn fault(features: Features, memory: &Sparse, access: Access) -> Fault {
    reach(&ept4(features), memory, 0x1000, access).unwrap_err()
}

fn rule(features: Features, memory: &Sparse) -> Misconfiguration {
    let found = fault(features, memory, READ);
    assert_eq!((found.exit_reason(), found.qualification), (Some(49), 0));
    match found.why {
        Why::Misconfiguration(rule) => rule,
        why => panic!("{why}"),
    }
}

#[test]
fn eptp_is_checked() {
    let new = |eptp| Ept::new(eptp, SKYLAKE);
    assert!(new(ROOT | 0x1e).is_ok());
    assert!(new(ROOT | 0x18).is_ok());
    assert!(new(ROOT | 0x5e).is_ok());
    for memory_type in [1, 2, 3, 4, 5, 7] {
        let eptp = ROOT | 0x18 | memory_type;
        assert_eq!(new(eptp), Err(ConfigError::MemoryType { memory_type }));
    }
    for field in [0, 1, 2, 4, 5, 6, 7] {
        let eptp = ROOT | field << 3 | 6;
        assert_eq!(new(eptp), Err(ConfigError::WalkLength { field }));
    }
    for bit in (7..12).chain(40..64) {
        let bits = 1 << bit;
        let eptp = ROOT | 0x1e | bits;
        assert_eq!(new(eptp), Err(ConfigError::ReservedBits { bits }));
    }
    assert_eq!(
        Ept::new(ROOT | 0x5e, POOR),
        Err(ConfigError::AccessedDirtyUnsupported)
    );
    let five = Features {
        walk_length_5: true,
        ..SKYLAKE
    };
    assert_eq!(Ept::new(ROOT | 0x26, five).unwrap().input_bits(), 57);
    assert_eq!(Ept::new(ROOT | 0x1e, five).unwrap().input_bits(), 48);
    for bits in [31, 53] {
        let features = Features {
            max_phys_addr: bits,
            ..SKYLAKE
        };
        assert_eq!(
            Ept::new(ROOT | 0x1e, features),
            Err(ConfigError::MaxPhysAddr { bits })
        );
    }
    let widest = Features {
        max_phys_addr: 52,
        ..SKYLAKE
    };
    assert!(Ept::new(1 << 51 | 0x1e, widest).is_ok());
}

#[test]
fn a_walk_reads_one_entry_for_each_level() {
    let walk = ept4(SKYLAKE).walk(&with_page(0x12_3456_7000 | RWX), gpa(0x1abc), READ);
    let steps: Vec<_> = walk
        .steps
        .iter()
        .map(|s| (s.level, s.entry.as_u64(), s.value))
        .collect();
    assert_eq!(
        steps,
        [
            (4, ROOT, PDPT | 7),
            (3, PDPT, PD | 7),
            (2, PD, PT | 7),
            (1, PT + 8, 0x12_3456_7037)
        ]
    );
    let leaf = walk.outcome.unwrap();
    assert_eq!(leaf.address.as_u64(), 0x12_3456_7abc);
    assert_eq!((leaf.page_size, leaf.kind), (0x1000, MemoryKind::WriteBack));
    assert_eq!((leaf.accessed, leaf.dirty), (None, None));
}

#[test]
fn every_level_has_its_bits_and_its_page() {
    let features = Features {
        walk_length_5: true,
        ..SKYLAKE
    };
    let mmu = Ept::new(ROOT | 4 << 3 | 6, features).unwrap();
    let index = [0x00f, 0x1fe, 0x101, 0x0f2, 0x083];
    let tables = [ROOT, 0x30_0000, 0x30_1000, 0x30_2000, 0x30_3000];
    let shift = [48, 39, 30, 21, 12];
    let base = 0x7f_c000_0000;
    for last in 2..5 {
        let mut memory = Sparse::default();
        for level in 0..last {
            memory.put(tables[level] + index[level] * 8, tables[level + 1] | 7);
        }
        memory.put(
            tables[last] + index[last] * 8,
            base | if last == 4 { RWX } else { HUGE },
        );
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
fn exit_qualifications_are_those_that_bochs_reports() {
    let q = |memory: &Sparse, access| {
        let found = fault(SKYLAKE, memory, access);
        assert_eq!(found.exit_reason(), Some(48));
        found.qualification
    };
    let absent = with_page(0);
    assert_eq!(q(&absent, READ), 0x181);
    assert_eq!(q(&absent, WRITE), 0x182);
    assert_eq!(q(&absent, EXECUTE), 0x184);
    assert_eq!(q(&with_page(0x31), WRITE), 0x18a);
    assert_eq!(q(&with_page(0x31), EXECUTE), 0x18c);
    assert_eq!(q(&with_page(0x33), EXECUTE), 0x19c);
    assert_eq!(q(&with_page(0x34), READ), 0x1a1);
    assert_eq!(q(&with_page(0x34), WRITE), 0x1a2);
    // Bits 5:3 are the AND over all levels.
    assert_eq!(q(&tables(7, &[(PD, PT | 1), (PT + 8, RWX)]), WRITE), 0x18a);
    let above_512g = reach(
        &ept4(SKYLAKE),
        &absent.with_zeros(ROOT, 0x1000),
        1 << 40,
        READ,
    );
    assert_eq!(above_512g.unwrap_err().qualification, 0x181);
    let too_wide = reach(&ept4(SKYLAKE), &with_page(RWX), 1 << 48, WRITE).unwrap_err();
    assert_eq!(
        (too_wide.why, too_wide.qualification),
        (Why::AddressWidth, 0x182)
    );
}

/// Bit 63 of the entry where the walk stops: absent, or a leaf that forbids the access. Of a table it says
/// nothing.
#[test]
fn violations_are_convertible_unless_their_entry_suppresses_it() {
    let exceptions = Features {
        violation_exceptions: true,
        ..SKYLAKE
    };
    const SUPPRESS: u64 = 1 << 63;
    for (memory, access, expected) in [
        (with_page(0), READ, true),
        (with_page(SUPPRESS), READ, false),
        (with_page(0x31), WRITE, true),
        (with_page(SUPPRESS | 0x31), WRITE, false),
        (tables(SUPPRESS | 7, &[(PT + 8, 0)]), READ, true),
        (tables(SUPPRESS | 7, &[(PT + 8, SUPPRESS)]), READ, false),
    ] {
        assert_eq!(fault(exceptions, &memory, access).convertible, expected);
        assert!(!fault(SKYLAKE, &memory, access).convertible);
    }
    let misconfigured = fault(exceptions, &with_page(2), READ);
    assert!(
        !misconfigured.convertible,
        "a misconfiguration always exits"
    );
    let too_wide = reach(&ept4(exceptions), &with_page(RWX), 1 << 48, READ);
    assert!(!too_wide.unwrap_err().convertible);
}

#[test]
fn mode_based_execute_control_splits_execution() {
    let mmu = ept4(MBEC);
    let user_only = tables(0x407, &[(PT + 8, 0x33 | 0x400)]);
    assert!(reach(&mmu, &user_only, 0x1000, EXECUTE_USER).is_ok());
    assert_eq!(fault(MBEC, &user_only, EXECUTE).qualification, 0x1dc);
    // Tables need bit 10 as well; without it nothing below is executable in user mode.
    let cut_off = tables(7, &[(PT + 8, RWX | 0x400)]);
    assert_eq!(fault(MBEC, &cut_off, EXECUTE_USER).qualification, 0x1bc);
    // Bit 10 alone makes an entry present.
    let alone = tables(0x407, &[(PT + 8, 0x430)]);
    assert_eq!(fault(MBEC, &alone, READ).qualification, 0x1c1);
    assert_eq!(fault(SKYLAKE, &alone, READ).why, Why::NotPresent);
    let poor = Features {
        execute_only: false,
        ..MBEC
    };
    assert_eq!(rule(poor, &alone), Misconfiguration::ExecuteOnly);
}

#[test]
fn misconfigurations_have_their_rule() {
    let page = |entry| rule(SKYLAKE, &with_page(entry));
    assert_eq!(page(0x32), Misconfiguration::WriteWithoutRead);
    assert_eq!(page(0x36), Misconfiguration::WriteWithoutRead);
    for memory_type in [2, 3, 7] {
        assert_eq!(
            page(u64::from(memory_type) << 3 | 7),
            Misconfiguration::MemoryType { memory_type }
        );
    }
    assert_eq!(rule(POOR, &with_page(0x34)), Misconfiguration::ExecuteOnly);
    let bits = 0x80;
    let large = tables(7, &[(PD, HUGE)]);
    assert_eq!(rule(POOR, &large), Misconfiguration::ReservedBits { bits });
    let large = tables(7, &[(PDPT, HUGE)]);
    assert_eq!(rule(POOR, &large), Misconfiguration::ReservedBits { bits });
    // Misconfiguration of a lower entry goes before the missing permission of a higher one.
    let both = tables(7, &[(PD, PT | 1), (PT + 8, 0x36)]);
    assert_eq!(fault(SKYLAKE, &both, WRITE).exit_reason(), Some(49));
    let nothing = fault(SKYLAKE, &Sparse::default(), READ);
    assert_eq!((nothing.why, nothing.exit_reason()), (Why::NoMemory, None));
}

#[test]
fn every_bit_of_a_leaf_is_judged() {
    // Address bits start at the shift; what is below it down to 12 is reserved.
    for (entry, base, shift) in [(PT + 8, 0x5, 12), (PD, 0x85, 21), (PDPT, 0x85, 30)] {
        for bit in 6..64 {
            let memory = tables(7, &[(entry, base | 6 << 3 | 1 << bit)]);
            let expected = match bit {
                7 if shift > 12 => continue,
                _ if (12..shift).contains(&bit) || (40..52).contains(&bit) => Err(1 << bit),
                12..=39 => Ok(1 << bit | (0x1000 & ((1 << shift) - 1))),
                _ => Ok(0x1000 & ((1 << shift) - 1)),
            };
            let found = reach(&ept4(SKYLAKE), &memory, 0x1000, READ).map_err(|f| match f.why {
                Why::Misconfiguration(Misconfiguration::ReservedBits { bits }) => bits,
                why => panic!("{why}"),
            });
            assert_eq!(found, expected, "bit {bit} of {entry:#x}");
        }
    }
}

#[test]
fn every_bit_of_a_table_entry_is_judged() {
    for (entry, table) in [(ROOT, PDPT), (PDPT, PD), (PD, PT)] {
        for bit in (3..12).chain(40..64) {
            let memory = tables(7, &[(PT + 8, RWX), (entry, table | 7 | 1 << bit)]);
            let found = reach(&ept4(SKYLAKE), &memory, 0x1000, READ).map_err(|fault| fault.why);
            let reserved = match bit {
                3..=6 | 40..=51 => true,
                7 if entry == ROOT => true,
                // A page, with the address of the table in its reserved bits: judged elsewhere.
                7 => continue,
                _ => false,
            };
            let bits = 1 << bit;
            let expected = Err(Why::Misconfiguration(Misconfiguration::ReservedBits {
                bits,
            }));
            assert_eq!(
                found,
                if reserved { expected } else { Ok(0) },
                "bit {bit} of {entry:#x}"
            );
        }
    }
}

#[test]
fn addresses_end_at_max_phys_addr() {
    for max_phys_addr in 32..=52 {
        let features = Features {
            max_phys_addr,
            ..SKYLAKE
        };
        for bit in 31..52 {
            let bits = 1 << bit;
            let memory = with_page(bits | RWX);
            if bit < max_phys_addr {
                let found = reach(&ept4(features), &memory, 0x1000, READ);
                assert_eq!(found, Ok(bits));
            } else {
                let reserved = Misconfiguration::ReservedBits { bits };
                assert_eq!(rule(features, &memory), reserved);
            }
        }
    }
}

#[test]
fn bit_12_of_a_large_page_is_reserved() {
    let reserved = Misconfiguration::ReservedBits { bits: 0x1000 };
    assert_eq!(rule(SKYLAKE, &tables(7, &[(PD, HUGE | 0x1000)])), reserved);
    assert_eq!(
        rule(SKYLAKE, &tables(7, &[(PDPT, HUGE | 0x1000)])),
        reserved
    );
}

#[test]
fn memory_types_are_decoded() {
    for (memory_type, kind) in [
        (0, MemoryKind::Uncacheable),
        (1, MemoryKind::Other),
        (4, MemoryKind::Other),
        (5, MemoryKind::Other),
        (6, MemoryKind::WriteBack),
    ] {
        let memory = with_page(7 | 1 << 6 | memory_type << 3);
        let leaf = ept4(SKYLAKE)
            .walk(&memory, gpa(0x1000), READ)
            .outcome
            .unwrap();
        assert_eq!(
            (u64::from(leaf.attributes.memory_type), leaf.kind),
            (memory_type, kind)
        );
        assert!(leaf.attributes.ignore_pat);
    }
}

#[test]
fn accessed_and_dirty_updates_are_told_and_not_made() {
    let mmu = Ept::new(ROOT | 0x5e, SKYLAKE).unwrap();
    let memory = tables(7, &[(PD, PT | 0x107), (PT + 8, RWX)]);
    let updates = |mmu: &Ept, access| {
        let steps = mmu.walk(&memory, gpa(0x1000), access).steps;
        steps.iter().map(|step| step.update).collect::<Vec<_>>()
    };
    let tables = [Some(PDPT | 0x107), Some(PD | 0x107), None];
    assert_eq!(updates(&mmu, READ)[..3], tables);
    assert_eq!(updates(&mmu, WRITE)[..3], tables);
    assert_eq!(updates(&mmu, READ)[3], Some(RWX | 0x100));
    assert_eq!(updates(&mmu, WRITE)[3], Some(RWX | 0x300));
    assert_eq!(updates(&ept4(SKYLAKE), WRITE), [None; 4]);
    let leaf = mmu
        .walk(&with_page(RWX | 0x100), gpa(0x1000), READ)
        .outcome
        .unwrap();
    assert_eq!((leaf.accessed, leaf.dirty), (Some(true), Some(false)));
}

#[test]
fn a_region_has_the_permissions_of_all_levels() {
    let memory = tables(7, &[(PD, PT | 1), (PT + 8, RWX), (PT + 16, 0x32)]);
    let mut found = Vec::new();
    ept4(SKYLAKE).for_each_region(&memory, |region| found.push(region));
    let leaf = found[0].outcome.unwrap();
    assert!(leaf.permissions.read && !leaf.permissions.write);
    assert!(!leaf.permissions.execute_user && !leaf.permissions.execute_supervisor);
    let why = Why::Misconfiguration(Misconfiguration::WriteWithoutRead);
    assert_eq!(found[1].outcome, Err(why));
    assert_eq!(
        (found[1].entry.as_u64(), found[1].value),
        (PT + 16, Some(0x32))
    );
}
