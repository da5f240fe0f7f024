//! A virtual hart: entering the guest, and coming back.
#![expect(unsafe_code, reason = "switches to a guest and back")]

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use nested_paging::host_services::riscv64::TrapRegisters;
use nested_paging::native::Instruction;
use nested_paging::{GuestPhysAddr, Inside, RemoteInvalidation};

use super::cpus::{self, CPUS};
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
    pub(crate) registers: TrapRegisters,
}

impl Exit {
    /// scause of a call from VS-mode.
    pub(crate) const CALL: u64 = 10;
    /// scause of an interrupt by another hart.
    pub(crate) const INTERRUPT: u64 = 1 << 63 | 1;

    /// What this hart says about the trap that it took last.
    pub(crate) fn of_last_trap() -> Self {
        Self {
            registers: TrapRegisters {
                scause: csr::read!(csr::SCAUSE),
                stval: csr::read!(csr::STVAL),
                htval: csr::read!(csr::HTVAL),
                htinst: csr::read!(csr::HTINST),
            },
        }
    }

    /// scause.
    pub(crate) const fn cause(&self) -> u64 {
        self.registers.scause
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

/// Which harts have a table in hgatp. All tables share it, so a hart that has to forget forgets all of them.
pub(crate) static SPACES: RemoteInvalidation<CPUS> = RemoteInvalidation::new();

/// The table that each hart had last.
static LAST: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];

/// A table is in hgatp of this hart until this is dropped. For so long the hart may walk it.
#[derive(Debug)]
#[must_use = "without it there is no table in hgatp"]
pub(crate) struct Active {
    _inside: Inside<'static, CPUS>,
}

/// Makes `hgatp` the table of this hart's guests, and of HLV, HSV and HLVX.
///
/// QEMU does not tag translations by VMID, so those of another table are dropped.
pub(crate) fn activate(hgatp: u64) -> Active {
    let inside = SPACES.enter(cpus::this(), forget);
    let inside = inside.unwrap_or_else(|| panic!("hgatp has a table already"));
    let last = LAST.get(inside.cpu());
    if last.is_some_and(|last| last.swap(hgatp, Ordering::Relaxed) != hgatp) {
        forget();
    }
    csr::write!(csr::HSTATUS, HSTATUS_SPVP | HSTATUS_VSXL_64);
    csr::write!(csr::VSATP, 0);
    csr::write!(csr::HGATP, hgatp);
    Active { _inside: inside }
}

impl Drop for Active {
    /// No table is in hgatp any more when the hart counts as outside.
    fn drop(&mut self) {
        csr::write!(csr::HGATP, 0);
    }
}

/// Drops what this hart has of all tables.
fn forget() {
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
    csr::write!(csr::VSATP, 0);
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
