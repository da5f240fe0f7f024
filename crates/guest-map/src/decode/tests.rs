//! The layouts against themselves, and against what machines really reported.

use proptest::prelude::*;

use super::fault::Access;
use super::{Decoded, Given, Name, Tables, decode};

const MODES: [&str; 8] = [
    "sv39x4", "sv48x4", "sv57x4", "ipa40", "ept4", "ept5", "npt4", "npt5",
];

fn decode_entry(mode: &str, level: u8, value: u64) -> Decoded<'static, 'static> {
    let given = Given {
        name: Name::Entry,
        value,
    };
    decode(&[given], Tables::of_mode(mode), Some(level)).unwrap()
}

fn decode_registers(texts: &[&str]) -> Decoded<'static, 'static> {
    let given: Vec<_> = texts
        .iter()
        .map(|text| Given::parse(text).unwrap())
        .collect();
    decode(&given, None, None).unwrap()
}

/// Each bit is in one field, and the fields together are the value.
fn assert_tiled(decoded: &Decoded<'_, '_>) {
    for register in &decoded.registers {
        let mut next = 64;
        let mut whole = 0;
        for field in &register.fields {
            assert_eq!(u32::from(field.high) + 1, next, "{}", register.name);
            assert!(field.low <= field.high, "{}", register.name);
            next = field.low.into();
            whole |= field.value.0 << field.low;
        }
        assert_eq!((next, whole), (0, register.value.0), "{}", register.name);
    }
}

proptest! {
    #[test]
    fn the_fields_of_a_register_cover_every_bit_once(value: u64, low in 0..0x200_u64) {
        for name in Name::ALL.into_iter().filter(|name| *name != Name::Entry) {
            for value in [value, low, value & 0xffff_ffff] {
                assert_tiled(&decode(&[Given { name, value }], None, None).unwrap());
            }
        }
    }

    /// ESR_EL2 has a layout for each exception class.
    #[test]
    fn the_fields_of_every_syndrome_cover_every_bit_once(rest: u32) {
        for class in 0..64_u64 {
            let value = class << 26 | u64::from(rest) & 0x3ff_ffff;
            let given = Given { name: Name::EsrEl2, value };
            assert_tiled(&decode(&[given], None, None).unwrap());
        }
    }

    #[test]
    fn the_fields_of_an_entry_cover_every_bit_once(value: u64) {
        for mode in MODES {
            for level in Tables::of_mode(mode).unwrap().levels() {
                // Few random entries are valid in the way that a kind of entry is.
                for low in 0..16 {
                    assert_tiled(&decode_entry(mode, level, value & !0xf | low));
                }
            }
        }
    }
}

#[track_caller]
fn assert_fault(texts: &[&str], access: Access, gpa: u64, cause: &str) {
    let decoded = decode_registers(texts);
    let [fault] = decoded.faults.as_slice() else {
        panic!("{:?}", decoded.faults);
    };
    assert_eq!(fault.access, Some(access));
    assert_eq!(fault.gpa.map(|gpa| gpa.0), Some(gpa));
    assert!(fault.cause.contains(cause), "{}", fault.cause);
}

/// QEMU's `virt` machine reported these for accesses of a guest.
#[test]
fn syndromes_of_aarch64() {
    let at = ["hpfar=0x90000", "far=0xffff_0000_0000_0123"];
    for (esr, access, cause) in [
        ("esr=0x93c08007", Access::Read, "Translation fault, level 3"),
        (
            "esr=0x93c28047",
            Access::Write,
            "Translation fault, level 3",
        ),
        (
            "esr=0x82000007",
            Access::Execute,
            "Translation fault, level 3",
        ),
        ("esr=0x93c2804f", Access::Write, "Permission fault, level 3"),
        (
            "esr=0x8200000f",
            Access::Execute,
            "Permission fault, level 3",
        ),
        ("esr=0x93c0800b", Access::Read, "Access flag fault, level 3"),
    ] {
        assert_fault(&[esr, at[0], at[1]], access, 0x900_0123, cause);
    }
    // The walk of stage 1 met a hole: FAR_EL2 has the address of the access, and not that of the table.
    let decoded = decode_registers(&["esr=0x92000086", at[0], at[1]]);
    let fault = &decoded.faults[0];
    assert!(fault.is_guest_walk);
    assert_eq!(fault.gpa.map(|gpa| gpa.0), Some(0x900_0000));
    assert_eq!(fault.unknown_low_bits, 12);
    assert!(fault.cause.contains("Translation fault, level 2"));
}

/// QEMU again: 21, 23 and 20, and htval is the address divided by 4.
#[test]
fn traps_of_riscv() {
    let at = ["htval=0x2400000", "stval=0x9000003"];
    for (scause, access) in [
        ("scause=20", Access::Execute),
        ("scause=21", Access::Read),
        ("scause=23", Access::Write),
    ] {
        assert_fault(
            &[scause, at[0], at[1]],
            access,
            0x900_0003,
            "guest-page fault",
        );
    }
    // Another offset in the page than the access: the walk of the VS-stage's tables.
    let walk = decode_registers(&["scause=21", at[0], "stval=0x40000123"]);
    assert!(walk.faults[0].is_guest_walk);
    assert_eq!(walk.faults[0].gpa.map(|gpa| gpa.0), Some(0x900_0000));
    // htinst tells it for certain.
    let walk = decode_registers(&["scause=21", at[0], at[1], "htinst=0x3000"]);
    assert!(walk.faults[0].is_guest_walk);
    let interrupt = decode_registers(&["scause=0x8000000000000005", at[0]]);
    assert_eq!(interrupt.faults[0].gpa, None);
    // A hart may write 0 instead of the address.
    let untold = decode_registers(&["scause=21", "htval=0"]);
    assert_eq!(untold.faults[0].gpa, None);
}

/// Bochs reported these.
#[test]
fn exit_qualifications_of_intel() {
    for (qualification, access, allowed) in [
        ("qualification=0x181", Access::Read, "nothing is mapped"),
        ("qualification=0x182", Access::Write, "nothing is mapped"),
        ("qualification=0x184", Access::Execute, "nothing is mapped"),
        ("qualification=0x18a", Access::Write, "allow: read"),
        ("qualification=0x19c", Access::Execute, "allow: read, write"),
        ("qualification=0x1a1", Access::Read, "allow: execute"),
    ] {
        assert_fault(
            &[qualification, "gpa=0x9000123"],
            access,
            0x900_0123,
            allowed,
        );
    }
    let walk = decode_registers(&["qualification=0x81", "gpa=0x9000000"]);
    assert!(walk.faults[0].is_guest_walk);
}

/// QEMU's SVM reported these.
#[test]
fn exit_information_of_amd() {
    for (information, access, cause) in [
        ("exitinfo1=0x100000004", Access::Read, "nothing is mapped"),
        ("exitinfo1=0x100000006", Access::Write, "nothing is mapped"),
        (
            "exitinfo1=0x100000014",
            Access::Execute,
            "nothing is mapped",
        ),
        ("exitinfo1=0x100000007", Access::Write, "forbids"),
        ("exitinfo1=0x100000015", Access::Execute, "forbids"),
        ("exitinfo1=0x10000000e", Access::Write, "reserved bit"),
    ] {
        assert_fault(
            &[information, "exitinfo2=0x9000123"],
            access,
            0x900_0123,
            cause,
        );
    }
    let walk = decode_registers(&["exitinfo1=0x200000006", "exitinfo2=0x9000008"]);
    assert!(walk.faults[0].is_guest_walk);
}

/// Values of VTCR_EL2 under which QEMU walked tables of granules of 4 KiB.
#[test]
fn roots_of_aarch64() {
    for (vtcr, root) in [
        ("vtcr=0x80023559", "39 bits; the root is 1 table"),
        (
            "vtcr=0x80023558",
            "40 bits; the root is 2 tables side by side, 8 KiB",
        ),
        (
            "vtcr=0x80043555",
            "43 bits; the root is 16 tables side by side, 64 KiB",
        ),
        (
            "vtcr=0x8002351e",
            "34 bits; the root is 16 tables side by side, 64 KiB",
        ),
        ("vtcr=0x80043594", "44 bits; the root is 1 table"),
        ("vtcr=0x80053590", "48 bits; the root is 1 table"),
    ] {
        let decoded = decode_registers(&[vtcr]);
        let meaning = &decoded.registers[0].fields.last().unwrap().meaning;
        assert!(meaning.contains(root), "{vtcr}: {meaning}");
        assert_eq!(decoded.verdicts[0].text, "accepted", "{vtcr}");
    }
    let too_many = decode_registers(&["vtcr=0x80023554"]);
    let meaning = &too_many.registers[0].fields.last().unwrap().meaning;
    assert!(meaning.contains("too many for this level"), "{meaning}");
    assert!(too_many.verdicts[0].text.contains("cannot resolve 44 bits"));
}

#[track_caller]
fn assert_verdict(mode: &str, level: u8, value: u64, wanted: &str) {
    let decoded = decode_entry(mode, level, value);
    let verdict = decoded.verdicts.first().map_or("", |verdict| &verdict.text);
    assert!(
        verdict.contains(wanted),
        "{mode} {level} {value:#x}: {verdict}"
    );
}

#[test]
fn verdicts_on_entries() {
    assert_verdict(
        "sv39x4",
        0,
        0x2000_00df,
        "a leaf that allows: read, write, execute",
    );
    assert_verdict("sv39x4", 0, 0x2000_0053, "a leaf that allows: read");
    assert_verdict("sv39x4", 2, 0x2000_0001, "it points to a table");
    assert_verdict("sv39x4", 0, 0x2000_0001, "every access faults");
    assert_verdict("sv48x4", 1, 0x2000_04df, "not aligned");
    assert_verdict("sv57x4", 4, 0, "every access faults");
    assert_verdict(
        "ipa40",
        2,
        0x40_0000_4000_07fd,
        "a leaf that allows: read, write",
    );
    assert_verdict("ipa40", 1, 0x4000_0003, "it points to a table");
    assert_verdict("ipa40", 3, 0x4000_07fd, "every access faults");
    assert_verdict(
        "ept4",
        1,
        0x4000_0037,
        "a leaf that allows: read, write, execute",
    );
    assert_verdict("ept5", 5, 0x4000_0007, "it points to a table");
    assert_verdict("ept4", 4, 0x4000_0087, "every access faults");
    assert_verdict("ept4", 1, 0x4000_0032, "write access without read access");
    assert_verdict(
        "npt4",
        1,
        0x4000_0067,
        "a leaf that allows: read, write, execute",
    );
    assert_verdict("npt5", 2, 0x8000_0000_4000_00e5, "a leaf that allows: read");
    assert_verdict("npt4", 4, 0x4000_0007, "it points to a table");
    assert_verdict("npt4", 1, 0x4000_0063, "every access faults");
    assert_verdict("npt4", 4, 0x4000_0087, "every access faults");
    // A pointer to itself does not send the walk in circles.
    assert_verdict("ept4", 2, 0x1007, "it points to a table");
}

/// A memory type per row of "Stage 2 memory region type and Cacheability attributes", both readings.
#[test]
fn memory_types_of_aarch64() {
    for (attributes, wanted) in [
        (0b0000, "Device-nGnRnE"),
        (0b0001, "Device-nGnRE"),
        (0b0101, "Normal non-cacheable, with HCR_EL2.FWB too"),
        (0b0110, "write-back, whatever stage 1 says"),
        (0b0111, "as stage 1 says"),
        (0b1010, "Normal write-through; with HCR_EL2.FWB: reserved"),
        (0b1111, "Normal write-back; with HCR_EL2.FWB: reserved"),
        (0b1100, "reserved"),
    ] {
        let decoded = decode_entry("ipa40", 3, 0x4000_07c3 & !0x3c | attributes << 2);
        let fields = &decoded.registers[0].fields;
        let field = fields.iter().find(|field| field.name == "MemAttr").unwrap();
        assert!(
            field.meaning.contains(wanted),
            "{attributes:#b}: {}",
            field.meaning
        );
    }
}
