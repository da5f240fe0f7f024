//! RISC-V: the words of the opcodes SYSTEM and MISC-MEM.
//!
//! Sources: Privileged Architecture 20250508, "RISC-V Privileged Instruction Set Listings" (HFENCE.GVMA: funct7
//! 0110001, rs2, rs1, 000, rd 0, 1110011) and "CSR Listing" (hgatp: 0x680); Unprivileged Architecture, "Zicsr"
//! (CSRRW: 001, CSRRS: 010) and "Zifencei" (FENCE.I: immediate 0, rs1 0, 001, rd 0, 0001111).

use crate::encodings::program::Program;
use crate::encodings::words::{Function, Word};

const RD: u32 = 7;
const RS1: u32 = 15;
const RS2: u32 = 20;

const fn word(text: &'static str, value: u32, mask: u32, registers: &'static [u32]) -> Word {
    Word {
        text,
        mask,
        value,
        registers,
        zero: 0,
    }
}

const EXACT: u32 = u32::MAX;
const ANY_RD: u32 = !(0x1f << RD);
const ANY_RS1: u32 = !(0x1f << RS1);
const ANY_RS2: u32 = !(0x1f << RS2);

const HFENCE_ALL: Word = word("HFENCE.GVMA x0, x0", 0x6200_0073, EXACT, &[]);
const READ_HGATP: Word = word("CSRR hgatp", 0x6800_2073, ANY_RD, &[RD]);
const WRITE_HGATP: Word = word("CSRW hgatp", 0x6800_1073, ANY_RS1, &[RS1]);

const FUNCTIONS: &[Function] = &[
    one("hfence_gvma_all", &[HFENCE_ALL]),
    // A register that holds zero is not x0: both operands of a fence by address are registers.
    one(
        "hfence_gvma_vmid",
        &[word("HFENCE.GVMA x0, rs2", 0x6200_0073, ANY_RS2, &[RS2])],
    ),
    one(
        "hfence_gvma_address",
        &[word("HFENCE.GVMA rs1, x0", 0x6200_0073, ANY_RS1, &[RS1])],
    ),
    one(
        "hfence_gvma_address_vmid",
        &[word(
            "HFENCE.GVMA rs1, rs2",
            0x6200_0073,
            ANY_RS1 & ANY_RS2,
            &[RS1, RS2],
        )],
    ),
    one("fence_i", &[word("FENCE.I", 0x0000_100f, EXACT, &[])]),
    // The old value is read; a mode is tried, in a loop; the VMID is tried; the old value comes back, and
    // everything that was cached meanwhile goes.
    one(
        "detect",
        &[
            READ_HGATP,
            WRITE_HGATP,
            READ_HGATP,
            WRITE_HGATP,
            READ_HGATP,
            WRITE_HGATP,
            READ_HGATP,
            HFENCE_ALL,
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

/// The words of the opcodes SYSTEM and MISC-MEM. Instructions whose lowest bits are not 11 have 16 bits.
fn system_words(code: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut rest = code;
    while let [low, ..] = rest {
        let length = if low & 0b11 == 0b11 { 4 } else { 2 };
        let Some((instruction, others)) = rest.split_at_checked(length) else {
            break;
        };
        rest = others;
        let Ok(bytes) = <[u8; 4]>::try_from(instruction) else {
            continue;
        };
        let word = u32::from_le_bytes(bytes);
        if matches!(word & 0x7f, 0x73 | 0x0f) {
            found.push(word);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_between_short_instructions() {
        // addi sp, sp, -16; csrr a1, hgatp; li a3, -3; fence.i; ret; and half a word.
        let code = [
            0x41, 0x11, 0xf3, 0x25, 0x00, 0x68, 0xf5, 0x56, 0x0f, 0x10, 0x00, 0x00, 0x82, 0x80,
            0x73,
        ];
        assert_eq!(system_words(&code), [0x6800_25f3, 0x0000_100f]);
    }

    #[test]
    fn x0_is_not_a_register_and_a_register_is_not_x0() {
        let complaints = |name: &str, word: u32| {
            let complaints = complaints(&Program::of(name, &word.to_le_bytes()));
            let about = complaints
                .iter()
                .filter(|complaint| complaint.starts_with(&format!("{name}: ")));
            about.count()
        };
        let (all, by_vmid, by_address) = (0x6200_0073, 0x62a0_0073, 0x6205_0073);
        assert_eq!(complaints("hfence_gvma_all", all), 0);
        assert_eq!(complaints("hfence_gvma_vmid", by_vmid), 0);
        assert_eq!(complaints("hfence_gvma_address", by_address), 0);
        assert_eq!(complaints("hfence_gvma_all", by_vmid), 1);
        assert_eq!(complaints("hfence_gvma_vmid", all), 1);
        assert_eq!(complaints("hfence_gvma_address", by_vmid), 1);
        assert_eq!(complaints("hfence_gvma_address_vmid", by_address), 1);
    }
}
