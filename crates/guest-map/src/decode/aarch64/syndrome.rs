//! ESR_EL2, HPFAR_EL2 and FAR_EL2 of an abort that is taken to EL2.

use super::super::fault::{Access, Fault};
use super::super::register::{Register, bits};

const ESR: &str = "Arm DDI 0487, register description \"ESR_EL2\"";
const HPFAR: &str = "Arm DDI 0487, register description \"HPFAR_EL2\"";
const FAR: &str = "Arm DDI 0487, register description \"FAR_EL2\"";

const INSTRUCTION_ABORTS: [u64; 2] = [0b10_0000, 0b10_0001];
const DATA_ABORTS: [u64; 2] = [0b10_0100, 0b10_0101];

pub(in crate::decode) fn esr(value: u64) -> Register {
    let class = bits(value, 31, 26);
    let register = Register::new("ESR_EL2", value, ESR)
        .reserved(63, 56)
        .field(55, 32, "ISS2", |iss2| match iss2 {
            0 => "nothing more",
            _ => "of later features: see the manual",
        })
        .field(31, 26, "EC", exception_class)
        .flag(
            25,
            "IL",
            "an instruction of 4 bytes",
            "an instruction of 2 bytes",
        );
    if DATA_ABORTS.contains(&class) {
        data_abort(register)
    } else if INSTRUCTION_ABORTS.contains(&class) {
        instruction_abort(register)
    } else {
        register.field(24, 0, "ISS", |_| "see the manual's table for this EC")
    }
}

const fn exception_class(class: u64) -> &'static str {
    match class {
        0b00_0000 => "unknown reason",
        0b00_0001 => "trapped WFI or WFE",
        0b00_0111 => "trapped SVE, SIMD or floating point",
        0b00_1110 => "illegal execution state",
        0b01_0110 => "HVC in AArch64 state",
        0b01_0111 => "SMC in AArch64 state",
        0b01_1000 => "trapped MSR, MRS or system instruction",
        0b01_1001 => "trapped SVE",
        0b10_0000 => "instruction abort from a lower exception level",
        0b10_0001 => "instruction abort of EL2 itself",
        0b10_0010 => "PC alignment fault",
        0b10_0100 => "data abort from a lower exception level",
        0b10_0101 => "data abort of EL2 itself",
        0b10_0110 => "SP alignment fault",
        0b10_1111 => "SError",
        0b11_1100 => "BRK in AArch64 state",
        _ => "see the manual's table of EC",
    }
}

fn data_abort(register: Register) -> Register {
    let value = register.value.0;
    let is_described = bits(value, 24, 24) == 1;
    let described = |register: Register| match is_described {
        false => register
            .field(
                23,
                14,
                "",
                |_| "nothing, or of later features, since ISV is 0",
            )
            .feature(13, "VNCR", "an access that FEAT_NV2 made of a register's"),
        true => register
            .field(23, 22, "SAS", |size| match size {
                0 => "1 byte",
                1 => "2 bytes",
                2 => "4 bytes",
                _ => "8 bytes",
            })
            .flag(
                21,
                "SSE",
                "the value is sign-extended",
                "the value is not sign-extended",
            )
            .field(20, 16, "SRT", |number| match number {
                31 => "register xzr".into(),
                _ => format!("register x{number}"),
            })
            .flag(15, "SF", "register of 64 bits", "register of 32 bits")
            .feature(14, "AR", "acquire or release")
            .feature(13, "VNCR", "an access that FEAT_NV2 made of a register's"),
    };
    let register = register.flag(
        24,
        "ISV",
        "bits 23:14 describe the instruction",
        "the instruction is not described: decode it to emulate it",
    );
    described(register)
        .field(
            12,
            11,
            "SET",
            |_| "of a synchronous External abort: its severity",
        )
        .flag(10, "FnV", "FAR_EL2 is not valid", "FAR_EL2 is valid")
        .feature(9, "EA", "External abort type")
        .feature(
            8,
            "CM",
            "by a cache maintenance or address translation instruction",
        )
        .flag(7, "S1PTW", "by the walk of stage 1", "by the access itself")
        .flag(6, "WnR", "write", "read")
        .field(5, 0, "DFSC", status)
}

fn instruction_abort(register: Register) -> Register {
    register
        .field(24, 13, "", |bits| match bits {
            0 => "nothing",
            _ => "of later features: see the manual",
        })
        .field(
            12,
            11,
            "SET",
            |_| "of a synchronous External abort: its severity",
        )
        .flag(10, "FnV", "FAR_EL2 is not valid", "FAR_EL2 is valid")
        .feature(9, "EA", "External abort type")
        .reserved(8, 8)
        .flag(7, "S1PTW", "by the walk of stage 1", "by the fetch itself")
        .reserved(6, 6)
        .field(5, 0, "IFSC", status)
}

/// Table "Data Fault Status Code", which holds that of instructions.
fn status(code: u64) -> String {
    let level = code & 0b11;
    match code {
        0b00_0000..=0b00_0011 => format!("Address size fault, level {level}"),
        0b00_0100..=0b00_0111 => format!("Translation fault, level {level}"),
        0b00_1000..=0b00_1011 => format!("Access flag fault, level {level}"),
        0b00_1100..=0b00_1111 => format!("Permission fault, level {level}"),
        0b01_0000 => "Synchronous External abort, not on a walk".into(),
        0b01_0001 => "Synchronous Tag Check fault".into(),
        0b01_0011 => "Synchronous External abort on a walk, level -1".into(),
        0b01_0100..=0b01_0111 => format!("Synchronous External abort on a walk, level {level}"),
        0b01_1000 => "Synchronous parity or ECC error, not on a walk".into(),
        0b01_1011 => "Synchronous parity or ECC error on a walk, level -1".into(),
        0b01_1100..=0b01_1111 => {
            format!("Synchronous parity or ECC error on a walk, level {level}")
        }
        0b10_0001 => "Alignment fault".into(),
        0b10_0011 => "Granule Protection Fault on a walk, level -1".into(),
        0b10_0100..=0b10_0111 => format!("Granule Protection Fault on a walk, level {level}"),
        0b10_1000 => "Granule Protection Fault, not on a walk".into(),
        0b10_1001 => "Address size fault, level -1".into(),
        0b10_1011 => "Translation fault, level -1".into(),
        0b11_0000 => "TLB conflict abort".into(),
        0b11_0001 => "Unsupported atomic hardware update".into(),
        _ => "see the manual's table of fault status codes".into(),
    }
}

pub(in crate::decode) fn hpfar(value: u64) -> Register {
    Register::new("HPFAR_EL2", value, HPFAR)
        .flag(
            63,
            "NS",
            "non-secure address space",
            "as the security state of the guest",
        )
        .reserved(62, 48)
        .field(47, 4, "FIPA", |page| {
            format!("guest {:#x}, shifted right by 12", page << 12)
        })
        .reserved(3, 0)
}

pub(in crate::decode) fn far(value: u64) -> Register {
    let meaning = "the guest's virtual address of the access";
    Register::new("FAR_EL2", value, FAR).field(63, 0, "VA", |_| meaning)
}

/// What the registers of an abort say together.
pub(in crate::decode) fn fault(esr: u64, hpfar: Option<u64>, far: Option<u64>) -> Fault {
    let class = bits(esr, 31, 26);
    let is_data = DATA_ABORTS.contains(&class);
    if !is_data && !INSTRUCTION_ABORTS.contains(&class) {
        return Fault::new(None, exception_class(class))
            .with_note("No abort: stage 2 has no part in it.");
    }
    let access = match (is_data, bits(esr, 6, 6)) {
        (false, _) => Access::Execute,
        (true, 0) => Access::Read,
        (true, _) => Access::Write,
    };
    let status_code = bits(esr, 5, 0);
    let mut fault = Fault::new(Some(access), status(status_code));
    fault.is_guest_walk = bits(esr, 7, 7) == 1;
    let is_permission = (0b00_1100..=0b00_1111).contains(&status_code);
    if is_permission && !fault.is_guest_walk {
        fault = fault.with_note(
            "Of a permission fault HPFAR_EL2 need not have the address: AT S1E1R on FAR_EL2 tells it.",
        );
    }
    let Some(hpfar) = hpfar else {
        return fault.with_note("Give hpfar_el2 too: it has the page of the guest address.");
    };
    let page = bits(hpfar, 47, 4) << 12;
    let is_far_valid = bits(esr, 10, 10) == 0;
    match far.filter(|_| is_far_valid && !fault.is_guest_walk) {
        // Neither stage translates the offset in a page.
        Some(far) => fault.at(page | bits(far, 11, 0)),
        None => {
            fault.unknown_low_bits = 12;
            fault.at(page)
        }
    }
}
