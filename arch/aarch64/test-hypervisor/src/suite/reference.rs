//! What the reference has to know of the CPU, and the hardware's answers in its terms.
#![expect(unsafe_code, reason = "reads identification registers")]

use reference_mmu::aarch64::{Attributes, Features};

use crate::hypervisor::address_translation::Answer;
use crate::hypervisor::el2;
use crate::hypervisor::register::read;

/// SH of inner shareable memory, in leaves and in PAR_EL1.
const INNER_SHAREABLE: u8 = 0b11;
const OUTER_SHAREABLE: u64 = 0b10;
/// MemAttr of a type that no leaf of ours has.
const UNKNOWN: u8 = 0b0000;

/// What the identification registers say. (Arm ARM DDI 0487, the register of each name.)
pub(super) fn features() -> Features {
    let (mmfr0, mmfr1) = (read!("id_aa64mmfr0_el1"), read!("id_aa64mmfr1_el1"));
    let field = |register: u64, first: u32| register >> first & 0xf;
    Features {
        pa_range: field(mmfr0, 0) as u8,
        force_write_back: el2::hcr() & el2::HCR_FORCE_WRITE_BACK != 0,
        execute_never_extended: field(mmfr1, 28) != 0,
        vmid16: field(mmfr1, 4) == 2,
        hardware_access_flag: field(mmfr1, 0) >= 1,
        hardware_dirty_state: field(mmfr1, 0) >= 2,
    }
}

/// The width of physical addresses: ID_AA64MMFR0_EL1.PARange.
pub(super) fn physical_address_bits() -> u8 {
    match features().pa_range {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

/// The attributes of the leaf that `answer` is about, as far as PAR_EL1 shows them: memory that is no
/// write-back memory is outer shareable there, whatever the leaf says. (Arm ARM DDI 0487, PAR_EL1.SH.)
pub(super) fn attributes(answer: Answer) -> Attributes {
    let write_back = match features().force_write_back {
        true => 0b0110,
        false => 0b1111,
    };
    let (mem_attr, shown) = match answer.memory_type() {
        0x04 => (0b0001, OUTER_SHAREABLE),
        0x44 => (0b0101, OUTER_SHAREABLE),
        0xff => (write_back, u64::from(INNER_SHAREABLE)),
        _ => (UNKNOWN, answer.shareability()),
    };
    Attributes {
        mem_attr,
        shareability: match answer.shareability() == shown {
            true => INNER_SHAREABLE,
            false => answer.shareability() as u8,
        },
    }
}
