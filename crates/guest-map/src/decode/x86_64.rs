//! x86: EPTP, an EPT entry and an exit qualification; nCR3, a nested entry and EXITINFO1.
//!
//! Sources, by section or table title: *Intel 64 and IA-32 Architectures Software Developer's Manual*,
//! volume 3C (326019); *AMD64 Architecture Programmer's Manual*, volume 2 (24593).

use super::fault::{Access, Fault};
use super::register::{Register, bits};
use crate::report::size::size;

const EPTP: &str = "Intel SDM 3C, \"Extended-Page-Table Pointer (EPTP)\"";
const EPT_ENTRY: &str = "Intel SDM 3C, \"EPT Translation Mechanism\" and \"EPT Misconfigurations\"";
const QUALIFICATION: &str = "Intel SDM 3C, table \"Exit Qualification for EPT Violations\"";
const GUEST_ADDRESS: &str = "Intel SDM 3C, \"Guest-Physical Address\" of the VM-exit information";
const NCR3: &str = "AMD APM 2, \"Nested Table Walk\" and \"CR3 Register\" in long mode";
const NESTED_ENTRY: &str = "AMD APM 2, \"Long-Mode Page Translation\" and \"Nested Table Walk\"";
const EXITINFO: &str = "AMD APM 2, \"Nested versus Guest Page Faults, Fault Ordering\"";

pub(super) fn eptp(value: u64) -> Register {
    Register::new("EPTP", value, EPTP)
        .reserved(63, 52)
        .field(51, 12, "address", |page| {
            format!("root table at host {:#x}", page << 12)
        })
        .reserved(11, 8)
        .feature(
            7,
            "",
            "access rights of supervisor shadow-stack pages are enforced",
        )
        .flag(
            6,
            "A/D",
            "accessed and dirty flags are kept",
            "no accessed and dirty flags",
        )
        .field(5, 3, "length", |length| match length {
            3 => "4 levels: guest addresses of 48 bits",
            4 => "5 levels: guest addresses of 57 bits",
            _ => "reserved: VM entry fails",
        })
        .field(2, 0, "type", |memory_type| match memory_type {
            0 => "walks are uncacheable",
            6 => "walks are write-back",
            _ => "reserved: VM entry fails",
        })
}

/// An EPT entry of `level`: 1 is the level of pages of 4 KiB.
pub(super) fn ept_entry(value: u64, level: u8) -> Register {
    let entry = Register::new(ept_name(level), value, EPT_ENTRY);
    if bits(value, 2, 0) == 0 {
        return entry
            .flag(
                63,
                "suppress #VE",
                "the violation never becomes a #VE",
                "with EPT-violation #VE enabled the guest gets a #VE",
            )
            .ignored(62, 11)
            .field(10, 10, "XU", |execute| match execute {
                0 => "not present",
                _ => "ignored; present under mode-based execute control",
            })
            .ignored(9, 3)
            .field(2, 0, "X, W, R", |_| "not present: every access faults");
    }
    match is_leaf(value, level) {
        true => ept_leaf(entry, level),
        false => ept_pointer(entry),
    }
}

const fn ept_name(level: u8) -> &'static str {
    match level {
        1 => "EPT entry of level 1 (PTE)",
        2 => "EPT entry of level 2 (PDE)",
        3 => "EPT entry of level 3 (PDPTE)",
        4 => "EPT entry of level 4 (PML4E)",
        _ => "EPT entry of level 5 (PML5E)",
    }
}

/// The page size bit counts at levels 2 and 3.
const fn is_leaf(value: u64, level: u8) -> bool {
    level == 1 || (level <= 3 && bits(value, 7, 7) == 1)
}

fn ept_leaf(entry: Register, level: u8) -> Register {
    entry
        .feature(63, "suppress #VE", "a violation never becomes a #VE")
        .ignored(62, 62)
        .feature(
            61,
            "SPP",
            "write permissions for 128 bytes each, if enabled",
        )
        .feature(60, "SSS", "supervisor shadow stack, if enabled")
        .ignored(59, 59)
        .feature(
            58,
            "PW",
            "walks of the guest's own tables may write, if enabled",
        )
        .feature(
            57,
            "VGP",
            "walks of the guest's own tables are verified, if enabled",
        )
        .ignored(56, 52)
        .field(51, 12, "address", |page| {
            leaf_address(page << 12, level, false)
        })
        .ignored(11, 11)
        .feature(
            10,
            "XU",
            "execute in user mode, under mode-based execute control",
        )
        .feature(9, "D", "dirty, where EPTP bit 6 is set")
        .feature(8, "A", "accessed, where EPTP bit 6 is set")
        .field(7, 7, "PS", |_| match level {
            1 => "ignored",
            _ => "leaf",
        })
        .flag(
            6,
            "IPAT",
            "the guest's PAT has no say",
            "combined with the guest's PAT",
        )
        .field(5, 3, "type", |memory_type| match memory_type {
            0 => "UC: uncacheable",
            1 => "WC: write-combining",
            4 => "WT: write-through",
            5 => "WP: write-protected",
            6 => "WB: write-back",
            _ => "reserved: a misconfiguration",
        })
        .field(2, 0, "X, W, R", ept_access)
}

fn ept_pointer(entry: Register) -> Register {
    entry
        .ignored(63, 52)
        .field(51, 12, "address", |page| {
            format!("the next table is at host {:#x}", page << 12)
        })
        .ignored(11, 11)
        .feature(
            10,
            "XU",
            "execute in user mode, under mode-based execute control",
        )
        .ignored(9, 9)
        .feature(8, "A", "accessed, where EPTP bit 6 is set")
        .reserved(7, 3)
        .field(2, 0, "X, W, R", ept_access)
}

fn ept_access(access: u64) -> &'static str {
    match access {
        0b000 => "nothing",
        0b001 => "read",
        0b010 => "write without read: a misconfiguration",
        0b011 => "read, write",
        0b100 => "execute alone (a misconfiguration without that capability)",
        0b101 => "read, execute",
        0b110 => "write without read: a misconfiguration",
        _ => "read, write, execute",
    }
}

/// Bit 12 of a nested leaf above level 1 is PAT.
fn leaf_address(address: u64, level: u8, has_pat: bool) -> String {
    let page = 3 + 9 * u32::from(level);
    let address = match has_pat && level > 1 {
        true => address & !0x1000,
        false => address,
    };
    match address % (1 << page) {
        0 => format!("{} from host {address:#x}", size(1 << page)),
        _ => format!("host {address:#x}: not aligned to {}", size(1 << page)),
    }
}

pub(super) fn qualification(value: u64) -> Register {
    Register::new("exit qualification", value, QUALIFICATION)
        .reserved(63, 17)
        .feature(16, "", "asynchronous to the instruction")
        .feature(15, "", "by guest-paging verification")
        .feature(14, "", "the page is a supervisor shadow stack")
        .feature(13, "", "a shadow-stack access")
        .feature(12, "", "NMI unblocking due to IRET")
        .feature(11, "", "execute-disable linear address, where told")
        .feature(10, "", "writable linear address, where told")
        .feature(9, "", "user-mode linear address, where told")
        .flag(
            8,
            "",
            "the access to which the linear address translates, if bit 7 is set",
            "by the walk of the guest's own tables, if bit 7 is set",
        )
        .flag(
            7,
            "",
            "the guest linear address is valid",
            "no guest linear address",
        )
        .feature(6, "XU", "the tables allow to execute in user mode")
        .field(5, 3, "X, W, R", |access| {
            format!("the tables allow: {}", granted(access))
        })
        .feature(2, "", "the guest executes")
        .feature(1, "", "the guest writes")
        .feature(0, "", "the guest reads")
}

fn granted(access: u64) -> String {
    let names = ["read", "write", "execute"];
    let names = (0..).zip(names);
    let names = names.filter(|(bit, _)| bits(access, *bit, *bit) == 1);
    let names: Vec<_> = names.map(|(_, name)| name).collect();
    match names.is_empty() {
        true => "nothing".into(),
        false => names.join(", "),
    }
}

pub(super) fn guest_address(value: u64) -> Register {
    Register::new("guest-physical address", value, GUEST_ADDRESS)
        .field(63, 0, "", |address| format!("guest {address:#x}"))
}

/// What an EPT violation says.
pub(super) fn violation(qualification: u64, gpa: Option<u64>) -> Fault {
    let is_set = |bit| bits(qualification, bit, bit) == 1;
    let access = match (is_set(1), is_set(2), is_set(0)) {
        (true, _, _) => Some(Access::Write),
        (_, true, _) => Some(Access::Execute),
        (_, _, true) => Some(Access::Read),
        _ => None,
    };
    let cause = match bits(qualification, 5, 3) {
        0 => "EPT violation, nothing is mapped there, or the tables allow nothing".into(),
        access => format!("EPT violation, the tables allow: {}", granted(access)),
    };
    let mut fault = Fault::new(access, cause);
    fault.is_guest_walk = is_set(7) && !is_set(8);
    match gpa {
        Some(gpa) => fault.at(gpa),
        None => fault.with_note("Give gpa too: the guest-physical address of the exit."),
    }
}

pub(super) fn ncr3(value: u64) -> Register {
    Register::new("nCR3", value, NCR3)
        .reserved(63, 52)
        .field(51, 12, "address", |page| {
            format!("root table at host {:#x}", page << 12)
        })
        .reserved(11, 5)
        .flag(4, "PCD", "walks are uncacheable", "walks are cacheable")
        .flag(3, "PWT", "walks are write-through", "walks are write-back")
        .reserved(2, 0)
}

/// An entry of nested tables of `level`: 1 is the level of pages of 4 KiB.
pub(super) fn nested_entry(value: u64, level: u8) -> Register {
    let name = match level {
        1 => "nested entry of level 1 (PTE)",
        2 => "nested entry of level 2 (PDE)",
        3 => "nested entry of level 3 (PDPE)",
        4 => "nested entry of level 4 (PML4E)",
        _ => "nested entry of level 5 (PML5E)",
    };
    let entry = Register::new(name, value, NESTED_ENTRY);
    if bits(value, 0, 0) == 0 {
        return entry
            .ignored(63, 1)
            .flag(0, "P", "present", "not present: every access faults");
    }
    let is_leaf = is_leaf(value, level);
    let entry = entry
        .flag(
            63,
            "NX",
            "no execution",
            "execute, as far as the other levels allow",
        )
        .ignored(62, 52)
        .field(51, 12, "address", |page| match is_leaf {
            true => leaf_address(page << 12, level, true),
            false => format!("the next table is at host {:#x}", page << 12),
        })
        .ignored(11, 9);
    let entry = match (is_leaf, level) {
        (true, 1) => entry
            .ignored(8, 8)
            .flag(7, "PAT", "PAT entry 4 to 7", "PAT entry 0 to 3")
            .flag(6, "D", "dirty", "clean"),
        (true, _) => entry
            .ignored(8, 8)
            .field(7, 7, "PS", |_| "leaf")
            .flag(6, "D", "dirty", "clean"),
        (false, 4 | 5) => entry.reserved(8, 7).ignored(6, 6),
        (false, _) => entry
            .ignored(8, 8)
            .field(7, 7, "PS", |_| "table")
            .ignored(6, 6),
    };
    entry
        .flag(5, "A", "accessed", "not accessed")
        .feature(
            4,
            "PCD",
            "cache disable: with PWT and PAT it selects the memory type",
        )
        .feature(
            3,
            "PWT",
            "write-through: with PCD and PAT it selects the memory type",
        )
        .flag(
            2,
            "U/S",
            "as it has to be",
            "has to be 1: every guest access is a user's",
        )
        .flag(1, "R/W", "write", "read only")
        .flag(0, "P", "present", "not present")
}

pub(super) fn exitinfo1(value: u64) -> Register {
    Register::new("EXITINFO1", value, EXITINFO)
        .reserved(63, 38)
        .feature(37, "SSS", "the page is a supervisor shadow stack")
        .feature(36, "VMPL", "by VMPL permissions (SEV-SNP)")
        .feature(
            35,
            "SIZEM",
            "the sizes of page and RMP entry differ (SEV-SNP)",
        )
        .feature(34, "ENC", "encrypted guest address (SEV-SNP)")
        .feature(33, "", "by the walk of the guest's own tables")
        .feature(32, "", "by the access to the final address")
        .feature(31, "RMP", "by the reverse map table (SEV-SNP)")
        .reserved(30, 7)
        .feature(6, "SS", "a shadow-stack access")
        .reserved(5, 5)
        .feature(4, "ID", "the guest executes")
        .feature(3, "RSV", "a reserved bit of a present entry is set")
        .flag(
            2,
            "US",
            "user access, as all of a guest's are",
            "not a user access",
        )
        .flag(1, "RW", "the guest writes", "the guest reads or executes")
        .flag(
            0,
            "P",
            "the page is present: its permissions forbid the access",
            "the page is not present",
        )
}

pub(super) fn exitinfo2(value: u64) -> Register {
    Register::new("EXITINFO2", value, EXITINFO)
        .field(63, 0, "", |address| format!("guest {address:#x}"))
}

/// What a nested page fault says.
pub(super) fn nested_fault(exitinfo1: u64, exitinfo2: Option<u64>) -> Fault {
    let is_set = |bit| bits(exitinfo1, bit, bit) == 1;
    let access = match (is_set(4), is_set(1)) {
        (true, _) => Access::Execute,
        (_, true) => Access::Write,
        _ => Access::Read,
    };
    let cause = match (is_set(31), is_set(3), is_set(0)) {
        (true, _, _) => "nested page fault, the reverse map table forbids it",
        (_, true, _) => "nested page fault, a reserved bit of an entry is set",
        (_, _, true) => "nested page fault, the entry forbids the access",
        _ => "nested page fault, nothing is mapped there",
    };
    let mut fault = Fault::new(Some(access), cause);
    fault.is_guest_walk = is_set(33);
    match exitinfo2 {
        Some(gpa) => fault.at(gpa),
        None => fault.with_note("Give exitinfo2 too: it has the guest address."),
    }
}
