//! x86-64: sequences of bytes, in the order in which they must stand in a function.
//!
//! Instructions have no fixed length here, so a function is searched for opcodes and constants. Sources: SDM 2
//! (CPUID 0F A2, RDMSR 0F 32, SETC 0F 92, SETZ 0F 94, MOV from CR4 0F 20 /r), SDM 3C (INVEPT 66 0F 38 80 /r), SDM 4
//! (the numbers of the registers), APM vol. 3 (INVLPGA 0F 01 DF).

use crate::encodings::program::Program;

/// Bytes and what they are.
type Part = (&'static str, &'static [u8]);

const INVEPT: Part = ("INVEPT", &[0x66, 0x0f, 0x38, 0x80]);
const INVLPGA: Part = ("INVLPGA", &[0x0f, 0x01, 0xdf]);
const READ_CR: Part = ("MOV from CR4", &[0x0f, 0x20]);
const SETC: Part = ("SETC", &[0x0f, 0x92]);
const SETZ: Part = ("SETZ", &[0x0f, 0x94]);
const RDMSR: Part = ("RDMSR", &[0x0f, 0x32]);
const CPUID: Part = ("CPUID", &[0x0f, 0xa2]);

const FUNCTIONS: &[(&str, &[Part])] = &[
    (
        "invept_single",
        &[("type 1", &[1, 0, 0, 0]), INVEPT, SETC, SETZ],
    ),
    (
        "invept_all",
        &[("type 2", &[2, 0, 0, 0]), INVEPT, SETC, SETZ],
    ),
    (
        "detect",
        &[
            CPUID,
            ("leaf 7", &[7, 0, 0, 0]),
            CPUID,
            ("IA32_ARCH_CAPABILITIES", &[0x0a, 0x01, 0, 0]),
            RDMSR,
            ("IA32_VMX_EPT_VPID_CAP", &[0x8c, 0x04, 0, 0]),
            RDMSR,
            ("leaf 80000008H", &[0x08, 0, 0, 0x80]),
            CPUID,
        ],
    ),
    ("invlpga", &[INVLPGA]),
    (
        "detect_npt",
        &[
            ("leaf 8000001FH", &[0x1f, 0, 0, 0x80]),
            CPUID,
            ("SYSCFG", &[0x10, 0, 0x01, 0xc0]),
            RDMSR,
            READ_CR,
            ("leaf 8000000AH", &[0x0a, 0, 0, 0x80]),
            CPUID,
            ("PAT", &[0x77, 0x02, 0, 0]),
            RDMSR,
        ],
    ),
    (
        "detect_either",
        &[
            ("IA32_VMX_PROCBASED_CTLS", &[0x82, 0x04, 0, 0]),
            RDMSR,
            ("IA32_VMX_PROCBASED_CTLS2", &[0x8b, 0x04, 0, 0]),
            RDMSR,
        ],
    ),
];

pub(super) fn complaints(program: &Program) -> Vec<String> {
    let complaint = |&(name, parts): &(&str, &[Part])| match program.function(name) {
        Ok(code) => missing(code, parts).map(|part| format!("{name}: no {part} in its place")),
        Err(reason) => Some(reason),
    };
    FUNCTIONS.iter().filter_map(complaint).collect()
}

/// The first of `parts` that does not come after the one before.
fn missing(code: &[u8], parts: &[Part]) -> Option<&'static str> {
    let mut rest = code;
    for &(text, bytes) in parts {
        let place = rest.windows(bytes.len()).position(|window| window == bytes);
        match place {
            Some(place) => rest = rest.get(place + bytes.len()..).unwrap_or_default(),
            None => return Some(text),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_out_of_order_is_noticed() {
        let parts = [("one", &[1_u8][..]), ("two", &[2, 2]), ("one again", &[1])];
        assert_eq!(missing(&[9, 1, 9, 2, 2, 9, 1], &parts), None);
        assert_eq!(missing(&[9, 1, 9, 2, 9, 1], &parts), Some("two"));
        assert_eq!(missing(&[2, 2, 1, 1], &parts), Some("two"));
        assert_eq!(missing(&[1, 2, 2], &parts), Some("one again"));
        assert_eq!(missing(&[], &parts), Some("one"));
    }
}
