//! A virtual processor: entering the guest, and coming back.
#![expect(unsafe_code, reason = "switches to a guest and back")]

use core::arch::global_asm;

use nested_paging::GuestPhysAddr;
use nested_paging::host_services::ept::ExitRegisters;
use test_hypervisor_kit::FramePool;

use super::cpu::read_msr;
use super::vmcs::{self, Controls, Field, Segment};
use super::vmx;

const EFER: u32 = 0xc000_0080;
/// EFER.LME and EFER.LMA.
const EFER_LONG_MODE: u64 = 0x500;
/// CR0.NE, ET and PE: protected mode.
const CR0_PROTECTED: u64 = 0x31;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
/// CR4.VMXE, which has to be 1 while a guest runs too.
const CR4_VMXE: u64 = 1 << 13;

/// Primary controls: exit on HLT, use the MSR bitmap, use the secondary controls.
const PRIMARY: u64 = 1 << 7 | 1 << 28 | 1 << 31;
/// Secondary controls: EPT, unrestricted guest.
const SECONDARY: u64 = 1 << 1 | 1 << 7;
/// Exit controls: the host is in 64-bit mode, EFER is saved and loaded.
const EXIT: u64 = 1 << 9 | 1 << 20 | 1 << 21;
/// Entry controls: EFER is loaded.
const ENTRY: u64 = 1 << 15;
/// Entry controls: the guest is in IA-32e mode.
const ENTRY_LONG_MODE: u64 = 1 << 9;

/// Access rights of segments. (SDM 3C, "Guest Register State", table "Format of Access Rights".)
const CODE_64: u64 = 0xa09b;
const CODE_32: u64 = 0xc09b;
const DATA: u64 = 0xc093;
const BUSY_TSS: u64 = 0x8b;
const UNUSABLE: u64 = 1 << 16;

/// The general registers of a guest while it does not run, but for RSP. The order is known to the
/// code below.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) rax: u64,
    pub(crate) rbx: u64,
    pub(crate) rcx: u64,
    pub(crate) rdx: u64,
    pub(crate) rsi: u64,
    pub(crate) rdi: u64,
    pub(crate) rbp: u64,
    pub(crate) r8_to_r15: [u64; 8],
}

/// A virtual processor. There is one, whose VMCS stays loaded.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) registers: Registers,
    has_run: bool,
}

/// How a guest begins. It has no trap handlers: what traps ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    /// In 32-bit protected mode without paging.
    Protected,
    /// In 64-bit mode, with this page table.
    Long {
        /// CR3.
        page_table: GuestPhysAddr,
    },
}

/// The processor state that a mode consists of.
#[derive(Clone, Copy, Debug)]
struct ModeState {
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    entry_controls: u64,
    code: u64,
}

impl Start {
    const fn mode(self) -> ModeState {
        match self {
            Self::Protected => ModeState {
                cr0: CR0_PROTECTED,
                cr3: 0,
                cr4: CR4_VMXE,
                efer: 0,
                entry_controls: ENTRY,
                code: CODE_32,
            },
            Self::Long { page_table } => ModeState {
                cr0: CR0_PROTECTED | CR0_PAGING,
                cr3: page_table.as_u64(),
                cr4: CR4_VMXE | CR4_PAE,
                efer: EFER_LONG_MODE,
                entry_controls: ENTRY | ENTRY_LONG_MODE,
                code: CODE_64,
            },
        }
    }
}

/// Why a guest ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) registers: ExitRegisters,
    /// For exceptions: which.
    pub(crate) interruption: u64,
}

impl Exit {
    /// The basic exit reason of VMCALL. (SDM 3D, appendix "VMX Basic Exit Reasons".)
    pub(crate) const VMCALL: u64 = 18;

    /// The exit reason.
    pub(crate) const fn reason(&self) -> u64 {
        self.registers.reason
    }
}

impl Vcpu {
    /// The virtual processor.
    pub(crate) fn new(frames: &FramePool) -> Self {
        // SAFETY: the processor is in VMX root operation, and the frame is never given back.
        unsafe { vmcs::load_new(vmx::region(frames)) };
        Controls::PIN.set(0);
        Controls::PRIMARY.set(PRIMARY);
        Controls::SECONDARY.set(SECONDARY);
        Controls::EXIT.set(EXIT);
        vmcs::write(Field::MsrBitmap, vmx::zeroed(frames));
        vmcs::write(Field::ExceptionBitmap, u64::from(u32::MAX));
        vmcs::write(Field::LinkPointer, u64::MAX);
        vmcs::write(Field::Cr4Mask, CR4_VMXE);
        vmcs::write(Field::GuestDr7, 0x400);
        // SAFETY: the processor is in 64-bit mode, so it has the register.
        let efer = unsafe { read_msr(EFER) };
        vmcs::set_host_state(leave_guest as *const () as u64, efer);
        Self {
            registers: Registers::default(),
            has_run: false,
        }
    }

    /// Begins anew at `entry`, with all registers 0.
    pub(crate) fn start(&mut self, start: Start, entry: GuestPhysAddr) {
        self.registers = Registers::default();
        let mode = start.mode();
        for segment in Segment::ALL {
            let (limit, access_rights) = match segment {
                Segment::Cs => (0xffff_ffff, mode.code),
                Segment::Tr => (0x67, BUSY_TSS),
                Segment::Ldtr => (0, UNUSABLE),
                _ => (0xffff_ffff, DATA),
            };
            segment.set(limit, access_rights);
        }
        Controls::ENTRY.set(mode.entry_controls);
        vmcs::write(Field::GuestCr0, mode.cr0);
        vmcs::write(Field::GuestCr3, mode.cr3);
        vmcs::write(Field::GuestCr4, mode.cr4);
        vmcs::write(Field::GuestEfer, mode.efer);
        vmcs::write(Field::GuestRflags, 2);
        vmcs::write(Field::GuestRip, entry.as_u64());
    }

    /// Runs the guest under the table that `eptp` selects until something ends it.
    pub(crate) fn run(&mut self, eptp: u64) -> Exit {
        vmcs::write(Field::EptPointer, eptp);
        // SAFETY: the code below restores what a function call has to keep, and the VMCS says that
        // an exit leads there.
        let entered = unsafe { enter_guest(&mut self.registers, u64::from(self.has_run)) };
        self.has_run = true;
        if !entered {
            let error = vmcs::read(Field::InstructionError);
            panic!("VM entry failed: VM-instruction error {error}");
        }
        Exit {
            registers: ExitRegisters {
                reason: vmcs::read(Field::ExitReason),
                qualification: vmcs::read(Field::ExitQualification),
                guest_physical_address: vmcs::read(Field::GuestPhysicalAddress),
            },
            interruption: vmcs::read(Field::ExitInterruption),
        }
    }
}

unsafe extern "C" {
    fn enter_guest(registers: *mut Registers, has_run: u64) -> bool;
    fn leave_guest();
}

global_asm!(
    r#"
    .macro guest_registers instruction
        \instruction rax, 0x00
        \instruction rbx, 0x08
        \instruction rcx, 0x10
        \instruction rdx, 0x18
        \instruction rsi, 0x20
        \instruction rbp, 0x30
        \instruction r8, 0x38
        \instruction r9, 0x40
        \instruction r10, 0x48
        \instruction r11, 0x50
        \instruction r12, 0x58
        \instruction r13, 0x60
        \instruction r14, 0x68
        \instruction r15, 0x70
    .endm
    .macro load_from_rdi register, offset
        movq \offset(%rdi), %\register
    .endm
    .macro save_to_rdi register, offset
        movq %\register, \offset(%rdi)
    .endm

    .text
    .globl enter_guest, leave_guest
enter_guest:                        // rdi: the registers, rsi: whether to resume
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdi
    movl ${host_rsp}, %eax
    vmwrite %rsp, %rax
    testq %rsi, %rsi
    guest_registers load_from_rdi
    movq 0x28(%rdi), %rdi
    jnz 1f
    vmlaunch
    jmp 2f
1:  vmresume
2:  popq %rdi                       // the guest was not entered
    xorl %eax, %eax
    jmp 3f
leave_guest:
    pushq %rdi
    movq 8(%rsp), %rdi
    guest_registers save_to_rdi
    popq 0x28(%rdi)
    popq %rdi
    movl $1, %eax
3:  popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq
    "#,
    host_rsp = const Field::HostRsp as u64,
    options(att_syntax)
);
