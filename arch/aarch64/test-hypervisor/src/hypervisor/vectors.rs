//! Where exceptions arrive: those of a guest end it, any other ends the machine.
#![expect(unsafe_code, reason = "the vectors, in assembly")]

use core::arch::global_asm;

use super::register::read;

// The order is that of the architecture: from this level with the stack pointer of EL0, with its own,
// from a guest in AArch64 state, in AArch32 state; in each a synchronous exception, IRQ, FIQ, SError.
// (Arm ARM DDI 0487, chapter D1, "Exception vectors".)
global_asm!(
    r#"
    .macro from_guest kind
        .balign 128
        stp x0, x1, [sp, #-16]!
        mov x1, \kind
        b leave_guest
    .endm
    .macro from_host
        .balign 128
        b report_exception
    .endm

    .text
    .balign 2048
    .globl vectors
vectors:
    .rept 8
        from_host
    .endr
    from_guest 0
    from_guest 1
    from_guest 2
    from_guest 3
    .rept 4
        from_host
    .endr
    "#
);

unsafe extern "C" {
    static vectors: u8;
}

/// What VBAR_EL2 has to be.
pub(crate) fn address() -> u64 {
    &raw const vectors as u64
}

#[unsafe(no_mangle)]
extern "C" fn report_exception() -> ! {
    let (syndrome, address) = (read!("esr_el2"), read!("far_el2"));
    let at = read!("elr_el2");
    panic!("the hypervisor trapped: ESR_EL2 {syndrome:#x}, FAR_EL2 {address:#x}, ELR_EL2 {at:#x}")
}
