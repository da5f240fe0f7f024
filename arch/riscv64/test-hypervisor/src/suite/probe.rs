//! HLV, HSV and HLVX: one access as a guest would do it, without a guest. (Privileged Architecture
//! 20250508, "Hypervisor Virtual-Machine Load and Store Instructions".)
#![expect(unsafe_code, reason = "instructions of the hypervisor extension")]

use core::arch::asm;

use nested_paging::GuestPhysAddr;

use crate::hypervisor::vcpu::Exit;

/// One of the instructions, between the setting of a trap vector that goes on right behind it and
/// the return to the old one. `{fault}` is 1 if it was needed.
macro_rules! probe {
    ($instruction:literal, $($operands:tt)*) => {{
        let fault: u64;
        // SAFETY: the caller's; a trap leads to label 3, changes no register but those named, and
        // leaves this mode as it is.
        unsafe {
            asm!(
                "la {fault}, 3f",
                "csrrw {vector}, stvec, {fault}",
                "li {fault}, 0",
                $instruction,
                "j 4f",
                ".balign 4",
                "3: li {fault}, 1",
                "4: csrw stvec, {vector}",
                fault = out(reg) fault,
                vector = out(reg) _,
                $($operands)*
                options(nostack),
            );
        }
        fault != 0
    }};
}

/// HLV.D: a load by the guest of the active table.
pub(super) fn load(address: GuestPhysAddr) -> Result<u64, Exit> {
    let word;
    let fault = probe!(".insn r 0x73, 4, 0x36, {word}, {address}, x0",
        word = out(reg) word, address = in(reg) address.as_u64(),);
    end(fault, word)
}

/// HLVX.WU: a load by the guest, of 32 bits, which needs the permission to execute.
pub(super) fn fetch(address: GuestPhysAddr) -> Result<u64, Exit> {
    let word;
    let fault = probe!(".insn r 0x73, 4, 0x34, {word}, {address}, x3",
        word = out(reg) word, address = in(reg) address.as_u64(),);
    end(fault, word)
}

/// HSV.D: a store by the guest of the active table.
///
/// # Safety
///
/// - No Rust value lives where the guest's address leads.
pub(super) unsafe fn store(address: GuestPhysAddr, word: u64) -> Result<u64, Exit> {
    let fault = probe!(".insn r 0x73, 4, 0x37, x0, {address}, {word}",
        word = in(reg) word, address = in(reg) address.as_u64(),);
    end(fault, word)
}

fn end(fault: bool, word: u64) -> Result<u64, Exit> {
    match fault {
        true => Err(Exit::of_last_trap()),
        false => Ok(word),
    }
}
