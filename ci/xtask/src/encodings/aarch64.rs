//! AArch64: the words of the system instruction class.
//!
//! Source: Arm ARM DDI 0487, "A64 Instruction Set Encoding", "Branches, Exception Generating and System
//! instructions": 1101 0101 00, L, op0, op1, CRn, CRm, op2, Rt. The values of the fields are those of each
//! instruction's and each register's own page.

use crate::encodings::program::Program;
use crate::encodings::words::{Function, Word};

/// An instruction without an operand: `Rt` is 11111.
const fn plain(text: &'static str, value: u32) -> Word {
    Word {
        text,
        mask: u32::MAX,
        value,
        registers: &[],
        zero: 31,
    }
}

/// An instruction whose `Rt`, bits 4:0, is a register.
const fn register(text: &'static str, value: u32) -> Word {
    Word {
        text,
        mask: 0xffff_ffe0,
        value,
        registers: &[0],
        zero: 31,
    }
}

// Barriers: op0 0, op1 3, CRn 3, CRm the domain and type, op2 4 (DSB) or 6 (ISB).
const DSB_ISHST: Word = plain("DSB ISHST", 0xd503_3a9f);
const DSB_NSHST: Word = plain("DSB NSHST", 0xd503_369f);
const DSB_ISH: Word = plain("DSB ISH", 0xd503_3b9f);
const DSB_NSH: Word = plain("DSB NSH", 0xd503_379f);
const ISB: Word = plain("ISB", 0xd503_3fdf);
// VTTBR_EL2: op0 3, op1 4, CRn 2, CRm 1, op2 0; VTCR_EL2: op2 2.
const READ_VTTBR: Word = register("MRS VTTBR_EL2", 0xd53c_2100);
const READ_VTCR: Word = register("MRS VTCR_EL2", 0xd53c_2140);
const WRITE_VTTBR: Word = register("MSR VTTBR_EL2", 0xd51c_2100);
const WRITE_VTCR: Word = register("MSR VTCR_EL2", 0xd51c_2140);
// TLBI is SYS: op0 1, op1 4 (EL2) or 0 (EL1), CRn 8.
const IPAS2E1IS: Word = register("TLBI IPAS2E1IS", 0xd50c_8020);
const IPAS2E1: Word = register("TLBI IPAS2E1", 0xd50c_8420);
const RIPAS2E1IS: Word = register("TLBI RIPAS2E1IS", 0xd50c_8040);
const RIPAS2E1: Word = register("TLBI RIPAS2E1", 0xd50c_8440);
const VMALLE1IS: Word = plain("TLBI VMALLE1IS", 0xd508_831f);
const VMALLE1: Word = plain("TLBI VMALLE1", 0xd508_871f);
const VMALLS12E1IS: Word = plain("TLBI VMALLS12E1IS", 0xd50c_83df);
const VMALLS12E1: Word = plain("TLBI VMALLS12E1", 0xd50c_87df);
const VALE2IS: Word = register("TLBI VALE2IS", 0xd50c_83a0);

const FUNCTIONS: &[Function] = &[
    one("dsb_ishst", &[DSB_ISHST]),
    one("dsb_nshst", &[DSB_NSHST]),
    one("dsb_ish", &[DSB_ISH]),
    one("dsb_nsh", &[DSB_NSH]),
    one("isb", &[ISB]),
    one("write_vtcr", &[WRITE_VTCR]),
    one("write_vttbr", &[WRITE_VTTBR]),
    one("tlbi_ipas2e1is", &[IPAS2E1IS]),
    one("tlbi_ipas2e1", &[IPAS2E1]),
    one("tlbi_ripas2e1is", &[RIPAS2E1IS]),
    one("tlbi_ripas2e1", &[RIPAS2E1]),
    one("tlbi_vmalle1is", &[VMALLE1IS]),
    one("tlbi_vmalle1", &[VMALLE1]),
    one("tlbi_vmalls12e1is", &[VMALLS12E1IS]),
    one("tlbi_vmalls12e1", &[VMALLS12E1]),
    one("tlbi_vale2is", &[VALE2IS]),
    one("publish", &[DSB_ISHST]),
    one(
        "detect",
        &[
            register("MRS MIDR_EL1", 0xd538_0000),
            register("MRS ID_AA64ISAR0_EL1", 0xd538_0600),
            register("MRS ID_AA64MMFR0_EL1", 0xd538_0700),
            register("MRS ID_AA64MMFR1_EL1", 0xd538_0720),
            register("MRS ID_AA64MMFR2_EL1", 0xd538_0740),
            register("MRS HCR_EL2", 0xd53c_1100),
        ],
    ),
    // The whole sequence for one request: all of a VMID, on all CPUs. The branches around the switch and the
    // repetition stand in program order.
    one(
        "invalidate",
        &[
            READ_VTCR,
            READ_VTTBR,
            DSB_ISHST,
            DSB_NSH,
            WRITE_VTCR,
            WRITE_VTTBR,
            ISB,
            VMALLS12E1IS,
            DSB_ISH,
            VALE2IS,
            DSB_ISH,
            ISB,
            WRITE_VTCR,
            WRITE_VTTBR,
            ISB,
        ],
    ),
];

const fn one(name: &'static str, words: &'static [Word]) -> Function {
    Function { name, words }
}

pub(super) fn complaints(program: &Program) -> Vec<String> {
    let complaint = |function: &Function| match program.function(function.name) {
        Ok(code) => function.complaint(&system_words(code)),
        Err(reason) => Some(reason),
    };
    FUNCTIONS.iter().filter_map(complaint).collect()
}

/// The words of the system instruction class, but for hints (op0 0, op1 3, CRn 2), NOP among them.
fn system_words(code: &[u8]) -> Vec<u32> {
    let (words, _) = code.as_chunks();
    let words = words.iter().copied().map(u32::from_le_bytes);
    let is_system = |word: &u32| word & 0xffc0_0000 == 0xd500_0000;
    let is_hint = |word: &u32| word & 0xffff_f01f == 0xd503_201f;
    words
        .filter(|word| is_system(word) && !is_hint(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, words: &[u32]) -> Vec<String> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let complaints = complaints(&Program::of(name, &code));
        let prefix = format!("{name}: ");
        let about = complaints
            .into_iter()
            .filter(|complaint| complaint.starts_with(&prefix));
        about.collect()
    }

    #[test]
    fn the_mistakes_that_got_past_all_tests_once_are_noticed() {
        let (nop, ret, dsb_ish, dsb_ishld) = (0xd503_201f, 0xd65f_03c0, 0xd503_3b9f, 0xd503_399f);
        assert_eq!(found("dsb_ish", &[nop, dsb_ish, ret]), [""; 0]);
        assert_eq!(
            found("dsb_ish", &[dsb_ishld, ret]),
            ["dsb_ish: expected DSB ISH (d5033b9f), found d503399f"]
        );
        assert_eq!(
            found("publish", &[ret]),
            ["publish: expected DSB ISHST (d5033a9f), found"]
        );
    }

    #[test]
    fn a_function_that_is_missing_is_noticed() {
        let complaints = complaints(&Program::default());
        assert_eq!(complaints.len(), FUNCTIONS.len());
        assert_eq!(complaints[0], "dsb_ishst: not in the program");
    }
}
