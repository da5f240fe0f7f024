//! VTCR_EL2, VTTBR_EL2 and the stage 2 descriptor, for the granule of 4 KiB.

use super::super::register::{Register, bits};
use crate::report::size::size;
use crate::report::words::count;

const VTCR: &str = "Arm DDI 0487, register description \"VTCR_EL2\"";
const VTTBR: &str = "Arm DDI 0487, register description \"VTTBR_EL2\"";
const DESCRIPTOR: &str = "Arm DDI 0487, D8 \"Translation table descriptor formats\" and \"Stage 2 memory \
                          types and Cacheability attributes\"";

pub(in crate::decode) fn vtcr(value: u64) -> Register {
    let register = Register::new("VTCR_EL2", value, VTCR)
        .reserved(63, 46)
        .feature(45, "HDBSS", "hardware tracks dirty pages (FEAT_HDBSS)")
        .feature(
            44,
            "HAFT",
            "table descriptors have an access flag (FEAT_HAFT)",
        )
        .reserved(43, 42)
        .feature(41, "TL0", "TopLevel0 has an effect (FEAT_THE)")
        .feature(40, "GCSH", "Guarded Control Stack checks (FEAT_THE)")
        .reserved(39, 39)
        .feature(38, "D128", "descriptors of 128 bits (FEAT_D128)")
        .feature(37, "S2POE", "permission overlays (FEAT_S2POE)")
        .feature(36, "S2PIE", "indirect permissions (FEAT_S2PIE)")
        .feature(35, "TL1", "TopLevel1 has an effect (FEAT_THE)")
        .feature(
            34,
            "AssuredOnly",
            "bit 58 of a leaf is AssuredOnly (FEAT_THE)",
        )
        .feature(33, "SL2", "start at level -1 (FEAT_LPA2, with DS)")
        .feature(32, "DS", "addresses of 52 bits (FEAT_LPA2)")
        .flag(31, "RES1", "as it has to be", "has to be 1")
        .feature(
            30,
            "NSA",
            "Secure state: its non-secure IPAs lead to non-secure memory",
        )
        .feature(
            29,
            "NSW",
            "Secure state: walks for non-secure IPAs use non-secure memory",
        )
        .field(28, 25, "HWU62-59", |bits| match bits {
            0 => "software owns bits 62:59 of a leaf",
            _ => "hardware uses some of bits 62:59 of a leaf (FEAT_HPDS2)",
        });
    vtcr_low(register)
}

fn vtcr_low(register: Register) -> Register {
    let sl0 = bits(register.value.0, 7, 6);
    register
        .reserved(24, 23)
        .flag(
            22,
            "HD",
            "hardware sets dirty state",
            "no dirty state by hardware",
        )
        .flag(
            21,
            "HA",
            "hardware sets the access flag",
            "an access with AF 0 faults",
        )
        .reserved(20, 20)
        .flag(19, "VS", "VMIDs of 16 bits", "VMIDs of 8 bits")
        .field(18, 16, "PS", |size| match size {
            0 => "host addresses of 32 bits",
            1 => "host addresses of 36 bits",
            2 => "host addresses of 40 bits",
            3 => "host addresses of 42 bits",
            4 => "host addresses of 44 bits",
            5 => "host addresses of 48 bits",
            6 => "host addresses of 52 bits (48 without FEAT_LPA2)",
            _ => "reserved, or 56 bits (FEAT_D128)",
        })
        .field(15, 14, "TG0", |granule| match granule {
            0 => "granule of 4 KiB",
            1 => "granule of 64 KiB",
            2 => "granule of 16 KiB",
            _ => "reserved",
        })
        .field(13, 12, "SH0", |value| {
            format!("walks are {}", shareability(value))
        })
        .field(11, 10, "ORGN0", |value| {
            format!("walks: outer {}", cacheability(value))
        })
        .field(9, 8, "IRGN0", |value| {
            format!("walks: inner {}", cacheability(value))
        })
        .field(7, 6, "SL0", |start| match start {
            0 => "with granules of 4 KiB: the walk starts at level 2",
            1 => "with granules of 4 KiB: the walk starts at level 1",
            2 => "with granules of 4 KiB: the walk starts at level 0",
            _ => "with granules of 4 KiB: level 3 (FEAT_TTST)",
        })
        .field(5, 0, "T0SZ", |t0sz| {
            format!("guest addresses of {} bits{}", 64 - t0sz, root(sl0, t0sz))
        })
}

/// How many tables of 4 KiB the walk starts with: table "Implications of the effective value of SL0".
fn root(sl0: u64, t0sz: u64) -> String {
    let input_bits = 64 - t0sz;
    let resolved = match sl0 {
        0 => 21 + 9,
        1 => 30 + 9,
        2 => 39 + 9,
        _ => return String::new(),
    };
    match input_bits.saturating_sub(resolved) {
        _ if input_bits <= resolved - 9 => ": too few for this level".into(),
        0 => "; the root is 1 table".into(),
        more @ 1..=4 => {
            let tables = 1 << more;
            let bytes = size(tables << 12);
            format!(
                "; the root is {} side by side, {bytes}",
                count(tables, "table")
            )
        }
        _ => ": too many for this level".into(),
    }
}

const fn shareability(value: u64) -> &'static str {
    match value {
        0 => "non-shareable",
        1 => "reserved",
        2 => "outer shareable",
        _ => "inner shareable",
    }
}

const fn cacheability(value: u64) -> &'static str {
    match value {
        0 => "non-cacheable",
        1 => "write-back, write-allocate",
        2 => "write-through",
        _ => "write-back, no write-allocate",
    }
}

pub(in crate::decode) fn vttbr(value: u64) -> Register {
    Register::new("VTTBR_EL2", value, VTTBR)
        .field(63, 48, "VMID", |vmid| match vmid {
            0..256 => format!("VMID {vmid}"),
            _ => format!("VMID {vmid}: needs VTCR_EL2.VS"),
        })
        .field(47, 1, "BADDR", |base| {
            format!("root table at host {:#x}", base << 1)
        })
        .flag(
            0,
            "CnP",
            "common: the other CPUs of the Inner Shareable domain use the same tables",
            "the tables are this CPU's own choice",
        )
}

/// A descriptor of `level`: 3 is the level of pages of 4 KiB.
pub(in crate::decode) fn entry(value: u64, level: u8) -> Register {
    let name = match level {
        0 => "descriptor of level 0",
        1 => "descriptor of level 1",
        2 => "descriptor of level 2",
        _ => "descriptor of level 3",
    };
    let entry = Register::new(name, value, DESCRIPTOR);
    match (bits(value, 1, 0), level) {
        (0b00 | 0b10, _) => {
            entry
                .ignored(63, 1)
                .flag(0, "Valid", "valid", "invalid: every access faults")
        }
        (0b11, 0..=2) => entry
            .reserved(63, 59)
            .ignored(58, 51)
            .reserved(50, 48)
            .field(47, 12, "address", |page| {
                format!("the next table is at host {:#x}", page << 12)
            })
            .ignored(11, 2)
            .field(1, 0, "type", |_| "table"),
        _ => leaf(entry, level),
    }
}

fn leaf(entry: Register, level: u8) -> Register {
    let page = 12 + 9 * (3 - level);
    entry
        .reserved(63, 63)
        .ignored(62, 55)
        .field(54, 53, "XN", |execute_never| match execute_never {
            0b00 => "execute at EL1 and EL0",
            0b01 => "execute at EL0 alone (FEAT_XNX; reserved without)",
            0b10 => "no execution",
            _ => "execute at EL1 alone (FEAT_XNX; reserved without)",
        })
        .feature(
            52,
            "Contiguous",
            "one of sixteen that lead to one run of memory",
        )
        .feature(
            51,
            "DBM",
            "hardware may make the page writable (VTCR_EL2.HD)",
        )
        .reserved(50, 48)
        .field(47, 12, "address", |number| {
            let host = number << 12;
            match host % (1 << page) {
                0 => format!("{} from host {host:#x}", size(1 << page)),
                _ => format!("host {host:#x}: not aligned to {}", size(1 << page)),
            }
        })
        .feature(11, "FnXS", "memory of XS attribute 0 (FEAT_XS)")
        .flag(
            10,
            "AF",
            "accessed",
            "an access faults, or hardware sets it (VTCR_EL2.HA)",
        )
        .field(9, 8, "SH", shareability)
        .field(7, 6, "S2AP", |access| match access {
            0b00 => "no data access",
            0b01 => "read",
            0b10 => "write",
            _ => "read, write",
        })
        .field(5, 2, "MemAttr", memory_type)
        .field(1, 0, "type", |kind| match (kind, level) {
            (0b11, _) => "page",
            (_, 3) => "reserved at level 3: every access faults",
            (_, 0) => "block, which level 0 has with FEAT_LPA2 alone",
            _ => "block",
        })
}

/// HCR_EL2.FWB decides between two readings.
fn memory_type(attributes: u64) -> String {
    const DEVICE: [&str; 4] = ["nGnRnE", "nGnRE", "nGRE", "GRE"];
    const CACHEABILITY: [&str; 4] = ["reserved", "non-cacheable", "write-through", "write-back"];
    let [outer, inner] = [bits(attributes, 3, 2), bits(attributes, 1, 0)];
    let name = |names: [&'static str; 4], index: u64| {
        names.get(index as usize).copied().unwrap_or_default()
    };
    match (outer, inner) {
        (0, _) => return format!("Device-{}", name(DEVICE, inner)),
        (_, 0) => return "reserved".into(),
        _ => {}
    }
    let normal = match outer == inner {
        true => format!("Normal {}", name(CACHEABILITY, outer)),
        false => {
            let (outer, inner) = (name(CACHEABILITY, outer), name(CACHEABILITY, inner));
            format!("Normal, outer {outer}, inner {inner}")
        }
    };
    let forced = match attributes {
        0b0101 => return format!("{normal}, with HCR_EL2.FWB too"),
        0b0110 => "write-back, whatever stage 1 says",
        0b0111 => "as stage 1 says",
        _ => "reserved",
    };
    format!("{normal}; with HCR_EL2.FWB: {forced}")
}
