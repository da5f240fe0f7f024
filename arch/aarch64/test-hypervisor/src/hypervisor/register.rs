//! System registers, by the names that every assembler knows. (Arm ARM DDI 0487, the register of each
//! name.)

/// Reads a register of this CPU.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: the registers that the hypervisor reads can be read at EL2 without side effects.
        unsafe {
            core::arch::asm!(
                concat!("mrs {}, ", $register),
                out(reg) value,
                options(nostack, preserves_flags)
            );
        }
        value
    }};
}

/// Writes a register of this CPU, in an `unsafe` block of the caller's.
macro_rules! write {
    ($register:literal, $value:expr) => {
        core::arch::asm!(
            concat!("msr ", $register, ", {}"),
            in(reg) { let value: u64 = $value; value },
            options(nostack, preserves_flags)
        )
    };
}

pub(crate) use {read, write};
