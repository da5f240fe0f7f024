//! INVEPT. (SDM 3C, "INVEPT - Invalidate Translations Derived from EPT" and "Guidelines for Use of the
//! INVEPT Instruction".)
#![expect(
    unsafe_code,
    reason = "INVEPT is an instruction of VMX root operation, which only inline assembly has"
)]

use nested_page_table::{Change, Invalidation};

use crate::format::Ept;

/// An instruction with the operands that it is executed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// INVEPT type 1, single-context: this CPU forgets all that it derived from one root.
    InveptSingle {
        /// The EPTP, the low half of the descriptor. Its bits 51:12 choose the context.
        eptp: u64,
    },
    /// INVEPT type 2, all-context: this CPU forgets all that it derived from any root.
    InveptAll,
}

impl Instruction {
    /// Executes the instruction on this CPU. Does nothing off bare-metal x86-64.
    ///
    /// # Safety
    ///
    /// - The CPU is in VMX root operation at privilege level 0.
    /// - It has INVEPT of this type (IA32_VMX_EPT_VPID_CAP bits 20 and 25 or 26); where it has not,
    ///   the instruction fails without a trap and nothing is forgotten.
    /// - An EPTP is one that VM entry accepts, for the same reason.
    #[inline]
    pub unsafe fn execute(self) {
        let (kind, descriptor) = match self {
            Self::InveptSingle { eptp } => (1, [eptp, 0]),
            Self::InveptAll => (2, [0, 0]),
        };
        // SAFETY: the caller keeps the same conditions.
        unsafe { invept(kind, &descriptor) }
    }
}

/// # Safety
///
/// - The CPU is in VMX root operation at privilege level 0.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[inline]
unsafe fn invept(kind: u64, descriptor: &[u64; 2]) {
    // SAFETY: the instruction is legal by the caller's condition and reads the 16 bytes of the
    // descriptor. The block is not `nomem`, so earlier stores to tables stay before it.
    unsafe {
        core::arch::asm!(
            "invept {}, [{}]",
            in(reg) kind,
            in(reg) descriptor,
            options(nostack)
        );
    }
}

/// # Safety
///
/// None: it does nothing.
#[cfg(not(all(target_arch = "x86_64", target_os = "none")))]
#[inline]
unsafe fn invept(_kind: u64, _descriptor: &[u64; 2]) {}

impl Ept {
    /// What one CPU executes to carry out `request`: one INVEPT or nothing.
    ///
    /// INVEPT acts on the CPU that executes it, whatever the request's scope, and knows no addresses:
    /// it forgets the whole context. For `Scope::AllCpus` every CPU that ran with the request's EPTP
    /// has to execute the same, at once or before it enters the guest again, and before anything that
    /// was unmapped is reused.
    ///
    /// A request for nothing but [`Change::Fresh`] needs no instruction.
    #[inline]
    pub fn instructions(&self, request: &Invalidation) -> impl Iterator<Item = Instruction> {
        let mut changes = request.ranges().iter().map(|changed| changed.change);
        let is_needed =
            request.covers_everything() || changes.any(|change| change != Change::Fresh);
        let eptp = request.space().root_register;
        let instruction = match self.capabilities().single_context_invept() {
            true => Instruction::InveptSingle { eptp },
            false => Instruction::InveptAll,
        };
        is_needed.then_some(instruction).into_iter()
    }

    /// Carries out `request` on this CPU. Does nothing off bare-metal x86-64.
    ///
    /// # Safety
    ///
    /// - The CPU is in VMX root operation at privilege level 0.
    /// - It has what the capabilities of this format say.
    /// - The request's root register is a value of [`eptp`](Self::eptp) of this format.
    #[inline]
    pub unsafe fn invalidate(&self, request: &Invalidation) {
        for instruction in self.instructions(request) {
            // SAFETY: the first condition is the caller's; the capabilities chose the type; the EPTP
            // is the request's.
            unsafe { instruction.execute() }
        }
    }
}
