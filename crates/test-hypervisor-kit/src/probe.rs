//! One access by a guest, and what came of it.

use core::fmt;

use nested_paging::{GuestPhysAddr, MappingFlags};
use reference_mmu::{Access, GuestMode};

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It loads a word.
    Load,
    /// It stores this word.
    Store(u64),
    /// It jumps there. The word is a [`signature`](crate::Machine::signature), which ends the guest.
    Execute,
}

impl Action {
    /// The same in the terms of the reference.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::Load => Access::Read,
            Self::Store(_) => Access::Write,
            Self::Execute => Access::Execute(GuestMode::Supervisor),
        }
    }

    /// The flag that allows it.
    #[must_use]
    pub const fn flag(self) -> MappingFlags {
        match self {
            Self::Load => MappingFlags::READ,
            Self::Store(_) => MappingFlags::WRITE,
            Self::Execute => MappingFlags::EXECUTE,
        }
    }
}

/// Who asks the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A guest does it.
    Guest,
    /// The hypervisor does it in the guest's name by an instruction made for that: HLV, HSV and
    /// HLVX; AT.
    Instruction,
}

/// One question to the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where. A multiple of 8.
    pub address: GuestPhysAddr,
    /// What.
    pub action: Action,
    /// Who.
    pub way: Way,
}

/// What the hardware answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The access went through: the word that was loaded or stored, or the tag of the signature that
    /// was executed.
    Done(u64),
    /// The nested translation faulted.
    Fault(Fault),
    /// Something else ended the guest.
    Other {
        /// The architecture's number for it.
        cause: u64,
        /// What the architecture reports with it.
        detail: u64,
    },
}

/// A fault as the hypervisor gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The architecture's number for it.
    pub cause: u64,
    /// The guest-physical address.
    pub address: GuestPhysAddr,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            action,
            way,
        } = self;
        write!(f, "{action:x?} at {address}, by {way:?}")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(word) => write!(f, "done, {word:#x}"),
            Self::Fault(Fault { cause, address }) => write!(f, "fault {cause:#x} at {address}"),
            Self::Other { cause, detail } => write!(f, "exit {cause:#x} with {detail:#x}"),
        }
    }
}
