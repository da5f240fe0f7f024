//! RISC-V: hgatp, a G-stage entry, and the registers of a guest-page fault.
//!
//! Source: *The RISC-V Instruction Set Manual, Volume II: Privileged Architecture*, version 20240411 and
//! later, by section title.

use super::fault::{Access, Fault};
use super::register::{Register, bits};
use crate::report::size::size;

const HGATP: &str = "RISC-V Privileged, \"Hypervisor Guest Address Translation and Protection \
                     (hgatp) Register\"";
const PTE: &str = "RISC-V Privileged, \"Sv39\", \"Svpbmt\", \"Svnapot\" and \"Guest Physical Address \
                   Translation\"";
const SCAUSE: &str = "RISC-V Privileged, \"Trap Cause Codes\" of the hypervisor extension";
const HTVAL: &str = "RISC-V Privileged, \"Hypervisor Trap Value (htval) Register\"";
const STVAL: &str = "RISC-V Privileged, \"Supervisor Trap Value (stval) Register\"";
const HTINST: &str = "RISC-V Privileged, \"Transformed Instruction or Pseudoinstruction for mtinst \
                      or htinst\"";

pub(super) fn hgatp(value: u64) -> Register {
    Register::new("hgatp", value, HGATP)
        .field(63, 60, "MODE", |mode| match mode {
            0 => "Bare: guest addresses are host addresses",
            8 => "Sv39x4: guest addresses of 41 bits, 3 levels",
            9 => "Sv48x4: guest addresses of 50 bits, 4 levels",
            10 => "Sv57x4: guest addresses of 59 bits, 5 levels",
            _ => "reserved",
        })
        .reserved(59, 58)
        .field(57, 44, "VMID", |vmid| format!("VMID {vmid}"))
        .field(43, 0, "PPN", |ppn| match ppn % 4 {
            0 => format!("root table of 16 KiB at host {:#x}", ppn << 12),
            _ => format!(
                "root table at host {:#x}, which is not aligned to 16 KiB: the hart takes {:#x}",
                ppn << 12,
                (ppn & !3) << 12
            ),
        })
}

/// An entry of `level`: 0 is the level of pages of 4 KiB.
pub(super) fn entry(value: u64, level: u8) -> Register {
    // R or X makes a leaf.
    let is_leaf = bits(value, 1, 1) == 1 || bits(value, 3, 3) == 1;
    let entry = Register::new(entry_name(level), value, PTE);
    if bits(value, 0, 0) == 0 {
        return entry
            .ignored(63, 1)
            .flag(0, "V", "valid", "not valid: every access faults");
    }
    let entry = match is_leaf {
        true => leaf_high(entry, level),
        false => entry
            .reserved(63, 54)
            .field(53, 10, "PPN", |ppn| {
                format!("the next table is at host {:#x}", ppn << 12)
            })
            .ignored(9, 8)
            .field(7, 6, "D, A", |bits| match bits {
                0 => "0, as they have to be in a pointer",
                _ => "have to be 0 in a pointer",
            }),
    };
    entry
        .field(5, 5, "G", |_| "without a meaning in the G-stage")
        .field(4, 4, "U", |user| match (user, is_leaf) {
            (1, true) | (0, false) => "as it has to be",
            (_, true) => "has to be 1 in a leaf: every guest access counts as U-mode",
            (_, false) => "has to be 0 in a pointer",
        })
        .field(3, 1, "X, W, R", |access| match access {
            0b000 => "pointer to the next table",
            0b001 => "leaf: read",
            0b010 => "reserved: write without read",
            0b011 => "leaf: read, write",
            0b100 => "leaf: execute",
            0b101 => "leaf: read, execute",
            0b110 => "reserved: write without read",
            _ => "leaf: read, write, execute",
        })
        .flag(0, "V", "valid", "not valid")
}

fn leaf_high(entry: Register, level: u8) -> Register {
    let page = 12 + 9 * u32::from(level);
    let napot = bits(entry.value.0, 63, 63) == 1;
    entry
        .feature(63, "N", "one of sixteen leaves that map 64 KiB (Svnapot)")
        .field(62, 61, "PBMT", |memory_type| match memory_type {
            0 => "PMA: the platform decides the memory type",
            1 => "NC: not cached, main memory (Svpbmt)",
            2 => "IO: not cached, strongly ordered (Svpbmt)",
            _ => "reserved",
        })
        .reserved(60, 54)
        .field(53, 10, "PPN", |ppn| {
            let host = ppn << 12;
            match host % (1 << page) {
                _ if napot => format!("{} from host {:#x}", size(1 << 16), host & !0xffff),
                0 => format!("{} from host {host:#x}", size(1 << page)),
                _ => format!("host {host:#x}: not aligned to {}", size(1 << page)),
            }
        })
        .ignored(9, 8)
        .flag(
            7,
            "D",
            "dirty",
            "clean: a write faults, or the hart sets it (Svadu)",
        )
        .flag(
            6,
            "A",
            "accessed",
            "an access faults, or the hart sets it (Svadu)",
        )
}

const fn entry_name(level: u8) -> &'static str {
    match level {
        0 => "PTE of level 0",
        1 => "PTE of level 1",
        2 => "PTE of level 2",
        3 => "PTE of level 3",
        _ => "PTE of level 4",
    }
}

pub(super) fn scause(value: u64) -> Register {
    let is_interrupt = bits(value, 63, 63) == 1;
    Register::new("scause", value, SCAUSE)
        .flag(63, "Interrupt", "an interrupt", "an exception")
        .field(62, 0, "Code", |code| match is_interrupt {
            true => interrupt(code),
            false => exception(code),
        })
}

const fn interrupt(code: u64) -> &'static str {
    match code {
        1 => "supervisor software interrupt",
        2 => "virtual supervisor software interrupt",
        5 => "supervisor timer interrupt",
        6 => "virtual supervisor timer interrupt",
        9 => "supervisor external interrupt",
        10 => "virtual supervisor external interrupt",
        12 => "supervisor guest external interrupt",
        13 => "counter-overflow interrupt",
        _ => "reserved, or the platform's",
    }
}

const fn exception(code: u64) -> &'static str {
    match code {
        0 => "instruction address misaligned",
        1 => "instruction access fault",
        2 => "illegal instruction",
        3 => "breakpoint",
        4 => "load address misaligned",
        5 => "load access fault",
        6 => "store/AMO address misaligned",
        7 => "store/AMO access fault",
        8 => "environment call from U-mode or VU-mode",
        9 => "environment call from HS-mode",
        10 => "environment call from VS-mode",
        12 => "instruction page fault: the guest's own tables, or the host's",
        13 => "load page fault: the guest's own tables, or the host's",
        15 => "store/AMO page fault: the guest's own tables, or the host's",
        18 => "software check",
        19 => "hardware error",
        20 => "instruction guest-page fault",
        21 => "load guest-page fault",
        22 => "virtual instruction",
        23 => "store/AMO guest-page fault",
        _ => "reserved, or the platform's",
    }
}

pub(super) fn htval(value: u64) -> Register {
    Register::new("htval", value, HTVAL).field(63, 0, "", |value| match value.checked_mul(4) {
        Some(0) => "0: the hart does not tell, or guest 0x0 to 0x3".into(),
        Some(address) => format!("guest {address:#x}, shifted right by 2"),
        None => "no guest address: wider than every mode".into(),
    })
}

pub(super) fn stval(value: u64) -> Register {
    let meaning = "the guest's virtual address, where hstatus.GVA is 1";
    Register::new("stval", value, STVAL).field(63, 0, "", |_| meaning)
}

pub(super) fn htinst(value: u64) -> Register {
    let register = Register::new("htinst", value, HTINST).reserved(63, 32);
    match pseudoinstruction(value) {
        Some(meaning) => register.field(31, 0, "pseudo", |_| meaning),
        None if bits(value, 0, 0) == 0 => register.field(31, 0, "", |value| match value {
            0 => "no information",
            _ => "reserved, or a custom instruction's",
        }),
        None => register
            .field(31, 2, "", |_| "the trapping instruction, transformed")
            .flag(1, "", "its length was 4 bytes", "its length was 2 bytes")
            .flag(0, "", "transformed instruction", ""),
    }
}

/// Table "Values of pseudoinstructions for guest-page faults": those of RV32 and of RV64.
const fn pseudoinstruction(htinst: u64) -> Option<&'static str> {
    match htinst {
        0x2000 => Some("a 32-bit read by the walk of the guest's own tables"),
        0x2020 => Some("a 32-bit write by the walk of the guest's own tables"),
        0x3000 => Some("a 64-bit read by the walk of the guest's own tables"),
        0x3020 => Some("a 64-bit write by the walk of the guest's own tables"),
        _ => None,
    }
}

/// What the registers of a trap say together.
pub(super) fn fault(
    scause: u64,
    htval: Option<u64>,
    stval: Option<u64>,
    htinst: Option<u64>,
) -> Fault {
    let access = match scause {
        1 | 12 | 20 => Some(Access::Execute),
        5 | 13 | 21 => Some(Access::Read),
        7 | 15 | 23 => Some(Access::Write),
        _ => None,
    };
    let cause = match bits(scause, 63, 63) {
        1 => interrupt(bits(scause, 62, 0)),
        _ => exception(scause),
    };
    let mut fault = Fault::new(access, cause);
    if !matches!(scause, 20 | 21 | 23) {
        return fault
            .with_note("No G-stage fault: the guest's second-stage tables have no part in it.");
    }
    let Some(base) = htval.and_then(|htval| htval.checked_mul(4)) else {
        return fault.with_note("Give htval too: it has the guest address.");
    };
    let by_htinst = htinst.and_then(pseudoinstruction).is_some();
    // Neither stage translates the offset in a page, so that an access of the guest has one offset.
    let by_offset = stval.is_some_and(|stval| (stval ^ base) & 0xffc != 0);
    fault.is_guest_walk = by_htinst || (htinst.is_none() && by_offset);
    if base == 0 && !by_htinst {
        return fault.with_note(
            "htval is 0: the hart did not write it, or the address is below 0x4. Walk the guest's \
             own tables for stval to find the guest address.",
        );
    }
    match stval {
        // Only an explicit access has its lowest bits in stval.
        Some(stval) if !fault.is_guest_walk => fault.at(base | (stval & 3)),
        _ => fault.at(base),
    }
}
