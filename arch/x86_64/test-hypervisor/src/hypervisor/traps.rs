//! Traps of the hypervisor itself: none is expected.
#![expect(unsafe_code, reason = "the first instructions of trap handlers")]

use core::arch::{asm, global_asm};

use alloc::vec::Vec;

use super::cpu::TablePointer;

const VECTORS: u64 = 32;
const ENTRY_SIZE: u64 = 16;
/// The code segment of the boot code.
const CODE: u64 = 0x18;
/// Present, an interrupt gate of 64 bits. (SDM 3A, "64-Bit Mode IDT".)
const GATE: u64 = 0x8e00;

// Vectors 8, 10 to 14, 17, 21, 29 and 30 push an error code.
global_asm!(
    r#"
    .balign 16
    .globl trap_entries
trap_entries:
    .set vector, 0
    .rept 32
        .balign 16
        .if (0x60227d00 >> vector) & 1 == 0
            pushq $0
        .endif
        pushq $vector
        jmp trapped
        .set vector, vector + 1
    .endr
trapped:
    popq %rdi
    popq %rsi
    popq %rdx
    movq %cr2, %rcx
    andq $-16, %rsp
    call report_trap
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trap_entries: u8;
}

/// Ends the machine when the hypervisor traps from now on.
pub(crate) fn catch() {
    let first = &raw const trap_entries as u64;
    let gate = |vector: u64| {
        let entry = first + vector * ENTRY_SIZE;
        let low = entry & 0xffff | CODE << 16 | GATE << 32 | (entry >> 16 & 0xffff) << 48;
        [low, entry >> 32]
    };
    let gates: Vec<[u64; 2]> = (0..VECTORS).map(gate).collect();
    let pointer = TablePointer {
        limit: (VECTORS * ENTRY_SIZE - 1) as u16,
        base: gates.leak().as_ptr() as u64,
    };
    // SAFETY: the gates stay, and lead to handlers that never return.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack)) };
}

#[unsafe(no_mangle)]
extern "C" fn report_trap(vector: u64, error: u64, address: u64, cr2: u64) -> ! {
    panic!(
        "the hypervisor trapped: vector {vector}, error {error:#x}, rip {address:#x}, cr2 {cr2:#x}"
    )
}
