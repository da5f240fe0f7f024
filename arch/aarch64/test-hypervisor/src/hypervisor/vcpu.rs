//! A virtual CPU: entering the guest, and coming back.
#![expect(unsafe_code, reason = "switches to a guest and back")]

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use nested_paging::host_services::aarch64::AbortRegisters;
use nested_paging::native::Stage2;
use nested_paging::nested_page_table::AddressSpaceId;
use nested_paging::{GuestFault, GuestPhysAddr};

use super::register::{read, write};
use super::{address_translation, el2};

/// SPSR_EL2: the guest is at EL1 with its own stack pointer, and its interrupts are masked.
const EL1H_MASKED: u64 = 0x3c5;

/// What a guest does while it does not run, but for the registers of EL1, which stay in the CPU. The
/// order is known to the code below.
#[repr(C, align(16))]
#[derive(Clone, Debug)]
pub(crate) struct Vcpu {
    /// x0 to x30.
    pub(crate) x: [u64; 31],
    pub(crate) pc: u64,
    /// v0 to v31.
    pub(crate) v: [u128; 32],
    pub(crate) fpcr: u64,
    pub(crate) fpsr: u64,
    pub(crate) pstate: u64,
    /// HCR_EL2 while the guest runs.
    pub(crate) hcr: u64,
}

/// Why a guest ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    /// 0 for a synchronous exception, otherwise an interrupt or SError.
    pub(crate) kind: u64,
    pub(crate) registers: AbortRegisters,
}

impl Exit {
    /// ESR_EL2.EC, where it is in the register.
    pub(crate) const CLASS: u64 = 0x3f << Self::CLASS_SHIFT;
    /// EC of a call by HVC.
    pub(crate) const CALL: u64 = 0x16 << Self::CLASS_SHIFT;
    /// EC of an instruction abort from a lower level.
    pub(crate) const FETCH_ABORT: u64 = 0x20 << Self::CLASS_SHIFT;
    /// EC of a data abort from a lower level.
    pub(crate) const DATA_ABORT: u64 = 0x24 << Self::CLASS_SHIFT;
    /// WnR, of data aborts: the access was a store.
    pub(crate) const STORE: u64 = 1 << 6;
    /// S1PTW: the access was a walk of the guest's stage 1.
    pub(crate) const STAGE_1_WALK: u64 = 1 << 7;
    /// DFSC and IFSC: the fault status code.
    pub(crate) const STATUS: u64 = 0x3f;
    /// EC of a trapped WFI or WFE.
    const SLEEP: u64 = 0x01 << Self::CLASS_SHIFT;
    const CLASS_SHIFT: u32 = 26;

    fn of_last_exception(kind: u64) -> Self {
        let mut registers = AbortRegisters {
            esr: read!("esr_el2"),
            far: read!("far_el2"),
            hpfar: read!("hpfar_el2"),
            stage_1: None,
        };
        if kind == 0 && registers.needs_stage_1() {
            let page = address_translation::stage_1(registers.far).page();
            registers.stage_1 = page.map(GuestPhysAddr::new);
        }
        Self { kind, registers }
    }

    /// The exception class, if the guest was ended by a synchronous exception.
    pub(crate) const fn class(&self) -> Option<u64> {
        match self.kind {
            0 => Some(self.registers.esr & Self::CLASS),
            _ => None,
        }
    }

    pub(crate) const fn is_call(&self) -> bool {
        matches!(self.class(), Some(Self::CALL))
    }

    /// Whether the guest would sleep, by a WFI that traps.
    pub(crate) const fn is_sleep(&self) -> bool {
        matches!(self.class(), Some(Self::SLEEP))
    }

    /// The access that stage 2 does not allow, if that ended the guest.
    pub(crate) fn fault(&self) -> Option<GuestFault> {
        self.class()?;
        GuestFault::decode(&self.registers).ok()
    }
}

impl Vcpu {
    /// A guest that begins at `pc`, with its registers 0.
    pub(crate) fn new(pc: GuestPhysAddr) -> Self {
        Self {
            x: [0; 31],
            pc: pc.as_u64(),
            v: [0; 32],
            fpcr: 0,
            fpsr: 0,
            pstate: EL1H_MASKED,
            hcr: el2::hcr(),
        }
    }

    /// Moves on behind an instruction that was trapped.
    pub(crate) const fn skip_instruction(&mut self) {
        self.pc += 4;
    }

    /// Runs the guest under the table of [`activate`] until something ends it.
    pub(crate) fn run(&mut self) -> Exit {
        // SAFETY: the code below restores what a function call has to keep.
        let kind = unsafe { enter_guest(self) };
        Exit::of_last_exception(kind)
    }
}

/// Makes the table of `space`, which is in `format`, the one of this CPU's guests, and of AT.
///
/// Nothing has to be forgotten for that: translations are tagged with the VMID, and a table takes
/// those of its own with it when it is dropped.
pub(crate) fn activate(format: &Stage2, space: AddressSpaceId) {
    // SAFETY: the register concerns guests only, and none runs on this CPU.
    unsafe { write!("vtcr_el2", format.vtcr()) };
    // SAFETY: as above.
    unsafe { write!("vttbr_el2", space.root_register) };
    // SAFETY: what follows uses the registers as they are now.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

unsafe extern "C" {
    fn enter_guest(vcpu: *mut Vcpu) -> u64;
}

global_asm!(
    r#"
    .altmacro
    .macro two instruction, prefix, first, second, offset, base
        \instruction \prefix\first, \prefix\second, [\base, #\offset]
    .endm
    .macro pairs_of instruction, prefix, first, last, offset, size, base
        .set number, \first
        .rept (\last - \first + 1) / 2
            two \instruction, \prefix, %number, %(number + 1), %(\offset + \size * (number - \first)), \base
            .set number, number + 2
        .endr
    .endm

    .text
    .globl enter_guest
enter_guest:                            // x0: the virtual CPU
    sub sp, sp, #160
    pairs_of stp, x, 19, 30, 0, 8, sp   // 0 to 95
    pairs_of stp, d, 8, 15, 96, 8, sp   // 96 to 159
    msr tpidr_el2, x0
    ldr x1, [x0, #{pc}]
    msr elr_el2, x1
    ldr x1, [x0, #{pstate}]
    msr spsr_el2, x1
    ldr x1, [x0, #{hcr}]
    msr hcr_el2, x1
    ldr x1, [x0, #{fpcr}]
    msr fpcr, x1
    ldr x1, [x0, #{fpsr}]
    msr fpsr, x1
    add x1, x0, #{v}
    pairs_of ldp, q, 0, 31, 0, 16, x1
    pairs_of ldp, x, 2, 29, 16, 8, x0
    ldr x30, [x0, #240]
    ldp x0, x1, [x0]
    eret
    dsb nsh                             // nothing of what follows is executed speculatively
    isb

    .globl leave_guest
leave_guest:                            // x1: the kind of exception; x0 and x1 are on the stack
    mrs x0, tpidr_el2
    pairs_of stp, x, 2, 29, 16, 8, x0
    str x30, [x0, #240]
    ldp x2, x3, [sp], #16
    stp x2, x3, [x0]
    add x2, x0, #{v}
    pairs_of stp, q, 0, 31, 0, 16, x2
    mrs x2, fpcr
    str x2, [x0, #{fpcr}]
    mrs x2, fpsr
    str x2, [x0, #{fpsr}]
    mrs x2, spsr_el2
    str x2, [x0, #{pstate}]
    mrs x2, elr_el2
    str x2, [x0, #{pc}]
    pairs_of ldp, d, 8, 15, 96, 8, sp
    pairs_of ldp, x, 19, 30, 0, 8, sp
    add sp, sp, #160
    mov x0, x1
    ret
    .noaltmacro
    "#,
    pc = const offset_of!(Vcpu, pc),
    v = const offset_of!(Vcpu, v),
    fpcr = const offset_of!(Vcpu, fpcr),
    fpsr = const offset_of!(Vcpu, fpsr),
    pstate = const offset_of!(Vcpu, pstate),
    hcr = const offset_of!(Vcpu, hcr),
);
