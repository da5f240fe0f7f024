//! AMD: nested page faults. (AMD64 Architecture Programmer's Manual 2, 24593, section 15.25.6 "Nested versus Guest Page
//! Faults, Fault Ordering".)

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

use super::{FaultSource, GuestFault, NoGuestFault, bit};

/// What a processor leaves in the VMCB of a #VMEXIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExitRegisters {
    /// EXITCODE.
    pub exit_code: u64,
    /// EXITINFO1: a page-fault error code, and what was being translated.
    pub exit_info_1: u64,
    /// EXITINFO2: the guest-physical address.
    pub exit_info_2: u64,
}

/// Bits of EXITINFO1.
mod error {
    /// R/W: the access was a write.
    pub(super) const WRITE: u32 = 1;
    /// RSV: a reserved bit was set in an entry.
    pub(super) const RESERVED: u32 = 3;
    /// I/D: the access was an instruction fetch.
    pub(super) const FETCH: u32 = 4;
    /// The fault occurred while the guest's page tables were translated, not its final physical address (bit 32).
    pub(super) const TABLE_WALK: u32 = 33;
}

/// Exit codes. (APM 2, appendix C "SVM Intercept Exit Codes".)
impl ExitRegisters {
    /// VMEXIT_NPF.
    pub const NESTED_PAGE_FAULT: u64 = 0x400;
}

impl ExitRegisters {
    const fn is_walk(&self) -> bool {
        bit(self.exit_info_1, error::TABLE_WALK)
    }

    /// A walk of the guest's page tables counts as a write by a user, whatever the instruction does.
    const fn access(&self) -> MappingFlags {
        if bit(self.exit_info_1, error::WRITE) {
            MappingFlags::WRITE
        } else if bit(self.exit_info_1, error::FETCH) && !self.is_walk() {
            MappingFlags::EXECUTE
        } else {
            MappingFlags::READ
        }
    }
}

impl super::ExitRegisters for ExitRegisters {
    fn guest_fault(&self) -> Result<GuestFault, NoGuestFault> {
        let is_malformed = bit(self.exit_info_1, error::RESERVED);
        if self.exit_code != Self::NESTED_PAGE_FAULT || is_malformed {
            return Err(NoGuestFault::OtherExit);
        }
        Ok(GuestFault {
            address: GuestPhysAddr::new(self.exit_info_2),
            access: self.access(),
            source: match self.is_walk() {
                true => FaultSource::TableWalk,
                false => FaultSource::Instruction,
            },
        })
    }
}
