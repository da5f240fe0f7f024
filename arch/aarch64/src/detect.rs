//! Reading the identification registers of the calling CPU.

#![expect(unsafe_code, reason = "system registers are read with instructions")]

use core::arch::asm;

use crate::capabilities::Capabilities;
use crate::id_registers::IdRegisters;

macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading these registers has no side effect, and the caller of `detect` vouches
        // for the exception level that may read them.
        unsafe {
            asm!(
                concat!("mrs {}, ", $register),
                out(reg) value,
                options(nomem, nostack, preserves_flags)
            );
        }
        value
    }};
}

impl Capabilities {
    /// What the calling CPU says of itself: [`from_id_registers`](Self::from_id_registers) of its
    /// registers. Set `HCR_EL2.FWB` first if guests will run with it. Exists on bare-metal AArch64
    /// only.
    ///
    /// # Safety
    ///
    /// - The CPU runs at EL2.
    #[must_use]
    pub unsafe fn detect() -> Self {
        Self::from_id_registers(&IdRegisters {
            id_aa64isar0: read!("ID_AA64ISAR0_EL1"),
            id_aa64mmfr0: read!("ID_AA64MMFR0_EL1"),
            id_aa64mmfr1: read!("ID_AA64MMFR1_EL1"),
            // ID_AA64MMFR2_EL1, a name that assemblers know from Armv8.2 on only. It reads as zero
            // where it does not exist.
            id_aa64mmfr2: read!("S3_0_C0_C7_2"),
            hcr_el2: read!("HCR_EL2"),
        })
    }
}
