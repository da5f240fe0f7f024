//! A virtual hart: entering the guest, and coming back.
#![expect(unsafe_code, reason = "switches to a guest and back")]

use core::arch::global_asm;
use core::mem::offset_of;

use nested_paging::GuestPhysAddr;
use nested_paging::native::Instruction;

use super::csr;

/// hstatus.SPV: the next sret enters a guest.
const HSTATUS_SPV: u64 = 1 << 7;
/// hstatus.SPVP: the guest was, or HLV plays that it is, in VS-mode.
const HSTATUS_SPVP: u64 = 1 << 8;
/// hstatus.VSXL: registers of 64 bits.
const HSTATUS_VSXL_64: u64 = 2 << 32;
/// sstatus.SPP: the next sret enters a supervisor mode.
const SSTATUS_SPP: u64 = 1 << 8;
/// sstatus.FS: the guest may use floating-point registers.
const SSTATUS_FS_DIRTY: u64 = 3 << 13;

/// What a guest does while it does not run. The order is known to the code below.
#[repr(C)]
#[derive(Clone, Debug)]
pub(crate) struct Vcpu {
    /// x0 to x31; the first is not used.
    pub(crate) x: [u64; 32],
    /// f0 to f31.
    pub(crate) f: [u64; 32],
    pub(crate) fcsr: u64,
    pub(crate) pc: u64,
    pub(crate) sstatus: u64,
    pub(crate) hstatus: u64,
    host_sp: u64,
    host_stvec: u64,
}

/// Why a guest ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    /// scause.
    pub(crate) cause: u64,
    /// stval.
    pub(crate) value: u64,
    /// For guest-page faults: where.
    pub(crate) address: GuestPhysAddr,
}

impl Exit {
    /// scause of a call from VS-mode.
    pub(crate) const CALL: u64 = 10;
    /// scause of a guest-page fault: a fetch.
    pub(crate) const FETCH_FAULT: u64 = 20;
    /// scause of a guest-page fault: a load.
    pub(crate) const LOAD_FAULT: u64 = 21;
    /// scause of a guest-page fault: a store.
    pub(crate) const STORE_FAULT: u64 = 23;

    /// What this hart says about the trap that it took last.
    ///
    /// htval is the guest-physical address shifted right by 2; the two bits that are missing are
    /// those of stval. (Privileged Architecture 20250508, "Hypervisor Trap Value Register (htval)".)
    pub(crate) fn of_last_trap() -> Self {
        let value = csr::read!(csr::STVAL);
        let address = csr::read!(csr::HTVAL) << 2 | value & 3;
        Self {
            cause: csr::read!(csr::SCAUSE),
            value,
            address: GuestPhysAddr::new(address),
        }
    }

    pub(crate) const fn is_guest_page_fault(&self) -> bool {
        matches!(
            self.cause,
            Self::FETCH_FAULT | Self::LOAD_FAULT | Self::STORE_FAULT
        )
    }
}

impl Vcpu {
    /// A guest that begins at `pc` in VS-mode, with its registers 0.
    pub(crate) const fn new(pc: GuestPhysAddr) -> Self {
        Self {
            x: [0; 32],
            f: [0; 32],
            fcsr: 0,
            pc: pc.as_u64(),
            sstatus: SSTATUS_SPP | SSTATUS_FS_DIRTY,
            hstatus: HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_VSXL_64,
            host_sp: 0,
            host_stvec: 0,
        }
    }

    /// Runs the guest under the table of [`activate`] until something ends it.
    pub(crate) fn run(&mut self) -> Exit {
        // SAFETY: the code below restores what a function call has to keep.
        unsafe { enter_guest(self) };
        Exit::of_last_trap()
    }
}

/// Makes `hgatp` the table of this hart's guests, and of HLV, HSV and HLVX.
///
/// Everything that the hart remembers of guests is dropped when the table changes: a VMID may have
/// had another table before, and QEMU does not tag translations by VMID.
pub(crate) fn activate(hgatp: u64) {
    csr::write!(csr::HSTATUS, HSTATUS_SPVP | HSTATUS_VSXL_64);
    if csr::read!(csr::HGATP) == hgatp {
        return;
    }
    csr::write!(csr::VSATP, 0);
    csr::write!(csr::HGATP, hgatp);
    let all = Instruction::HfenceGvma {
        rs1: None,
        rs2: None,
    };
    // SAFETY: the hypervisor is in HS-mode, and OpenSBI leaves mstatus.TVM 0.
    unsafe { all.execute() };
}

/// Lets this hart's guest handle its own exceptions, interrupts and timer from now on.
///
/// To the guest go: misaligned and faulting accesses, illegal instructions, breakpoints, calls from
/// its user mode, its page faults; its software, timer and external interrupts. (Privileged
/// Architecture 20250508, "Hypervisor Trap Delegation (hedeleg and hideleg) Registers".)
pub(crate) fn delegate_to_guest() {
    const EXCEPTIONS: u64 = 0xb1ff;
    const INTERRUPTS: u64 = 1 << 2 | 1 << 6 | 1 << 10;
    /// The guest reads cycle, time and instret.
    const COUNTERS: u64 = 7;
    /// henvcfg.STCE: the guest has a timer of its own, vstimecmp. (Sstc.)
    const OWN_TIMER: u64 = 1 << 63;
    csr::write!(csr::HEDELEG, EXCEPTIONS);
    csr::write!(csr::HIDELEG, INTERRUPTS);
    csr::write!(csr::HCOUNTEREN, COUNTERS);
    csr::write!(csr::HENVCFG, OWN_TIMER);
    csr::write!(csr::VSTIMECMP, u64::MAX);
    csr::write!(csr::HVIP, 0);
    csr::write!(csr::VSSTATUS, 0);
    csr::write!(csr::VSIE, 0);
}

unsafe extern "C" {
    fn enter_guest(vcpu: *mut Vcpu);
}

global_asm!(
    r#"
    .attribute arch, "rv64gc"
    .altmacro
    .macro one instruction, prefix, number, offset, base
        \instruction \prefix\number, (\offset + 8 * \number)(\base)
    .endm
    .macro run_of instruction, prefix, first, last, offset, base
        .set number, \first
        .rept \last - \first + 1
            one \instruction, \prefix, %number, \offset, \base
            .set number, number + 1
        .endr
    .endm

    .text
    .globl enter_guest
enter_guest:                            // a0: the virtual hart
    addi sp, sp, -224
    sd ra, 0(sp)
    sd gp, 8(sp)
    sd tp, 16(sp)
    sd s0, 24(sp)
    sd s1, 32(sp)
    run_of sd, s, 2, 11, 24, sp         // 40 to 119
    run_of fsd, fs, 0, 11, 120, sp      // 120 to 215
    sd sp, {host_sp}(a0)
    csrw sscratch, a0
    la t0, leave_guest
    csrrw t0, stvec, t0
    sd t0, {host_stvec}(a0)
    ld t0, {pc}(a0)
    csrw sepc, t0
    ld t0, {hstatus}(a0)
    csrw 0x600, t0
    ld t0, {sstatus}(a0)
    csrw sstatus, t0
    ld t0, {fcsr}(a0)
    fscsr t0
    run_of fld, f, 0, 31, {f}, a0
    run_of ld, x, 1, 9, 0, a0
    run_of ld, x, 11, 31, 0, a0
    ld a0, 80(a0)
    fence.i
    sret

    .balign 4
leave_guest:
    csrrw a0, sscratch, a0
    run_of sd, x, 1, 9, 0, a0
    run_of sd, x, 11, 31, 0, a0
    csrr t0, sscratch
    sd t0, 80(a0)
    run_of fsd, f, 0, 31, {f}, a0
    frcsr t0
    sd t0, {fcsr}(a0)
    csrr t0, sstatus
    sd t0, {sstatus}(a0)
    csrr t0, 0x600
    sd t0, {hstatus}(a0)
    csrr t0, sepc
    sd t0, {pc}(a0)
    ld t0, {host_stvec}(a0)
    csrw stvec, t0
    ld sp, {host_sp}(a0)
    run_of fld, fs, 0, 11, 120, sp
    run_of ld, s, 2, 11, 24, sp
    ld s1, 32(sp)
    ld s0, 24(sp)
    ld tp, 16(sp)
    ld gp, 8(sp)
    ld ra, 0(sp)
    addi sp, sp, 224
    ret
    .noaltmacro
    "#,
    f = const offset_of!(Vcpu, f),
    fcsr = const offset_of!(Vcpu, fcsr),
    pc = const offset_of!(Vcpu, pc),
    sstatus = const offset_of!(Vcpu, sstatus),
    hstatus = const offset_of!(Vcpu, hstatus),
    host_sp = const offset_of!(Vcpu, host_sp),
    host_stvec = const offset_of!(Vcpu, host_stvec),
);
