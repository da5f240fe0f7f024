//! AT: one translation as a guest's access would have it, without a guest. (Arm ARM DDI 0487, "Address
//! translation instructions" and PAR_EL1.)
#![expect(unsafe_code, reason = "instructions of EL2")]

use core::arch::asm;

use super::register::read;

/// What an instruction left in PAR_EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer(pub(crate) u64);

impl Answer {
    /// F: the translation faulted.
    pub(crate) const FAULT: u64 = 1 << 0;
    /// S: at stage 2.
    pub(crate) const STAGE_2: u64 = 1 << 9;
    /// FST, the fault status code.
    pub(crate) const STATUS_SHIFT: u32 = 1;
    const STATUS: u64 = 0x3f << Self::STATUS_SHIFT;
    /// PTW: stage 2, in a walk of stage 1.
    const STAGE_1_WALK: u64 = 1 << 8;
    const PAGE: u64 = 0x000f_ffff_ffff_f000;

    /// The page that was found.
    pub(crate) const fn page(self) -> Option<u64> {
        match self.0 & Self::FAULT {
            0 => Some(self.0 & Self::PAGE),
            _ => None,
        }
    }

    /// The fields that describe a fault, where they are in the register.
    pub(crate) const fn fault(self) -> u64 {
        self.0 & (Self::FAULT | Self::STATUS | Self::STAGE_1_WALK | Self::STAGE_2)
    }

    /// ATTR: the memory type, in MAIR_EL1's encoding.
    pub(crate) const fn memory_type(self) -> u64 {
        self.0 >> 56
    }

    /// SH, the shareability.
    pub(crate) const fn shareability(self) -> u64 {
        self.0 >> 7 & 0b11
    }
}

/// One of the instructions.
macro_rules! translate {
    ($instruction:literal, $address:expr) => {{
        let address: u64 = $address;
        // SAFETY: the instruction changes nothing but PAR_EL1.
        unsafe {
            asm!(
                concat!("at ", $instruction, ", {}"),
                "isb",
                in(reg) address,
                options(nostack, preserves_flags)
            );
        }
        Answer(read!("par_el1"))
    }};
}

/// AT S1E1R: what stage 1 makes of a load at EL1.
pub(crate) fn stage_1(address: u64) -> Answer {
    translate!("s1e1r", address)
}

/// AT S12E1R: what both stages make of a load at EL1.
pub(crate) fn load(address: u64) -> Answer {
    translate!("s12e1r", address)
}

/// AT S12E1W: what both stages make of a store at EL1.
pub(crate) fn store(address: u64) -> Answer {
    translate!("s12e1w", address)
}
