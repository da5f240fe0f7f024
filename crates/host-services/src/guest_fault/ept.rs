//! Intel: EPT violations. (Intel SDM 3C, "Basic VM-Exit Information", table "Exit Qualification for EPT Violations".)

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

use super::{FaultSource, GuestFault, NoGuestFault, bit};

/// What a processor reports of a VM exit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExitRegisters {
    /// The exit reason.
    pub reason: u64,
    /// The exit qualification.
    pub qualification: u64,
    /// The guest-physical address.
    pub guest_physical_address: u64,
}

/// Bits of the exit qualification.
mod qualification {
    /// The access was a data write.
    pub(super) const WRITE: u32 = 1;
    /// The access was an instruction fetch.
    pub(super) const FETCH: u32 = 2;
    /// The guest linear-address field is valid.
    pub(super) const LINEAR_ADDRESS_VALID: u32 = 7;
    /// With [`LINEAR_ADDRESS_VALID`]: the access was to the translation of the linear address, not to a
    /// paging-structure entry.
    pub(super) const TRANSLATED: u32 = 8;
    /// The access was asynchronous to the instructions, such as that of a trace.
    pub(super) const ASYNCHRONOUS: u32 = 16;
}

/// Basic exit reasons. (SDM 3D, appendix "VMX Basic Exit Reasons".)
impl ExitRegisters {
    /// EPT violation.
    pub const EPT_VIOLATION: u64 = 48;
    /// EPT misconfiguration: an entry is malformed.
    pub const EPT_MISCONFIGURATION: u64 = 49;
    /// The bits of the exit reason that are the basic exit reason.
    const BASIC: u64 = 0xffff;
}

impl ExitRegisters {
    /// A read sets bit 0, a write bit 1, and a locked or similar access both. With accessed and dirty flags for EPT, a walk
    /// of the guest's paging structures counts as a write. (SDM 3C, "Accessed and Dirty Flags for EPT".)
    const fn access(&self) -> MappingFlags {
        if bit(self.qualification, qualification::WRITE) {
            MappingFlags::WRITE
        } else if bit(self.qualification, qualification::FETCH) {
            MappingFlags::EXECUTE
        } else {
            MappingFlags::READ
        }
    }

    /// The linear address is not valid when MOV to CR loads the guest's PDPTEs, which are a part of its tables, nor for
    /// accesses that are asynchronous, which are none.
    const fn source(&self) -> FaultSource {
        let has_linear = bit(self.qualification, qualification::LINEAR_ADDRESS_VALID);
        let is_instruction = match has_linear {
            true => bit(self.qualification, qualification::TRANSLATED),
            false => bit(self.qualification, qualification::ASYNCHRONOUS),
        };
        match is_instruction {
            true => FaultSource::Instruction,
            false => FaultSource::TableWalk,
        }
    }
}

impl super::ExitRegisters for ExitRegisters {
    fn guest_fault(&self) -> Result<GuestFault, NoGuestFault> {
        match self.reason & Self::BASIC {
            Self::EPT_VIOLATION => Ok(GuestFault {
                address: GuestPhysAddr::new(self.guest_physical_address),
                access: self.access(),
                source: self.source(),
            }),
            _ => Err(NoGuestFault::OtherExit),
        }
    }
}
