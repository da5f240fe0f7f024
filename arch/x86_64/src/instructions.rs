//! INVEPT. (SDM 3C, "INVEPT - Invalidate Translations Derived from EPT" and "Guidelines for Use of the
//! INVEPT Instruction".)
#![expect(
    unsafe_code,
    reason = "executing instructions of VMX root operation has conditions"
)]

use nested_page_table::{Change, Invalidation};

use crate::format::Ept;
use crate::hardware;
use crate::vm_fail::{InstructionFailed, VmFail};

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
    /// Executes the instruction on this CPU.
    ///
    /// # Errors
    ///
    /// [`InstructionFailed`]: nothing was forgotten. The processor lacks INVEPT of this type
    /// (IA32_VMX_EPT_VPID_CAP bits 20 and 25 or 26), or it would refuse a VM entry with the EPTP.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU is in VMX root operation at privilege level 0.
    #[inline]
    pub unsafe fn execute(self) -> Result<(), InstructionFailed> {
        let (kind, descriptor) = self.operands();
        // SAFETY: the caller keeps the same condition.
        let flags = unsafe { hardware::invept(kind, &descriptor) };
        VmFail::check(flags).map_err(|how| InstructionFailed {
            instruction: self,
            how,
        })
    }

    /// The INVEPT type and the INVEPT descriptor: the EPTP, and a word that must be 0.
    #[inline]
    #[must_use]
    pub const fn operands(self) -> (u64, [u64; 2]) {
        match self {
            Self::InveptSingle { eptp } => (1, [eptp, 0]),
            Self::InveptAll => (2, [0, 0]),
        }
    }
}

impl Ept {
    /// What one CPU executes to carry out `request`: one INVEPT or nothing.
    ///
    /// INVEPT acts on the CPU that executes it, whatever the request's scope, and knows no addresses:
    /// it forgets the whole context. For `Scope::AllCpus` every CPU that ran with the request's EPTP
    /// has to execute the same before the request is done. A CPU that may be inside the guest has to
    /// be interrupted for that. One that is outside may do it before it enters the guest again, if it
    /// cannot enter without.
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

    /// Carries out `request` on this CPU.
    ///
    /// # Errors
    ///
    /// [`InstructionFailed`]: this CPU may still use the translations. The frames behind them must
    /// stay out, so pass the error on: it converts into
    /// [`InvalidationFailed`](nested_page_table::InvalidationFailed).
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures, unless the request needs no
    /// instruction.
    ///
    /// # Safety
    ///
    /// - The CPU is in VMX root operation at privilege level 0.
    #[inline]
    pub unsafe fn invalidate(&self, request: &Invalidation) -> Result<(), InstructionFailed> {
        for instruction in self.instructions(request) {
            // SAFETY: the condition is the caller's.
            unsafe { instruction.execute()? }
        }
        Ok(())
    }
}
