//! How a VMX instruction says that it failed.

use core::fmt;

use nested_page_table::InvalidationFailed;

use crate::instructions::Instruction;

/// What a VMX instruction leaves in RFLAGS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    pub(crate) carry: bool,
    pub(crate) zero: bool,
}

/// How a VMX instruction failed. It changed nothing, and trapped nowhere. (SDM 3D, "VMX Instruction
/// Reference", section "Conventions".)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VmFail {
    /// VMfailInvalid, CF is 1: there is no current VMCS that could hold an error number.
    Invalid,
    /// VMfailValid, ZF is 1: the VM-instruction error field of the current VMCS (encoding 4400H) holds
    /// the reason. INVEPT gives 28, "Invalid operand to INVEPT/INVVPID", for a type that the
    /// processor lacks and for an EPTP that VM entry would refuse.
    Valid,
}

impl VmFail {
    /// The outcome that `flags` tell.
    #[inline]
    pub(crate) const fn check(flags: Flags) -> Result<(), Self> {
        match (flags.carry, flags.zero) {
            (true, _) => Err(Self::Invalid),
            (false, true) => Err(Self::Valid),
            (false, false) => Ok(()),
        }
    }
}

impl fmt::Display for VmFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "VMfailInvalid (CF is 1): there is no current VMCS",
            Self::Valid => "VMfailValid (ZF is 1): VMCS field 4400H holds the reason",
        })
    }
}

/// An instruction failed: this CPU may still use the translations that it was to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstructionFailed {
    /// The instruction.
    pub instruction: Instruction,
    /// How it failed.
    pub how: VmFail,
}

impl fmt::Display for InstructionFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.instruction {
            Instruction::InveptSingle { eptp } => write!(f, "INVEPT of the EPTP {eptp:#x}")?,
            Instruction::InveptAll => f.write_str("INVEPT of all contexts")?,
        }
        write!(f, ": {}", self.how)
    }
}

impl core::error::Error for InstructionFailed {}

/// What a [`TableHost`](nested_page_table::TableHost) returns, so that `?` passes the failure on.
impl From<InstructionFailed> for InvalidationFailed {
    fn from(_: InstructionFailed) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_tell_success_from_both_failures() {
        let check = |carry, zero| VmFail::check(Flags { carry, zero });
        assert_eq!(check(false, false), Ok(()));
        assert_eq!(check(true, false), Err(VmFail::Invalid));
        assert_eq!(check(false, true), Err(VmFail::Valid));
    }
}
