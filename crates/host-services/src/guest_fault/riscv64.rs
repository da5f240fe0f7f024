//! RISC-V: guest-page faults. (RISC-V Privileged Architecture 20250508, chapter "H" Extension for Hypervisor Support.)

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

use super::{ExitRegisters, FaultSource, GuestFault, NoGuestFault};

/// What a hart reports of a trap from VS-mode or VU-mode into HS-mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrapRegisters {
    /// The cause.
    pub scause: u64,
    /// The guest-virtual address, for guest-page faults.
    pub stval: u64,
    /// The guest-physical address, shifted right by 2. A hart that never reports it writes 0; such harts are not
    /// supported, since 0 is also the address 0.
    pub htval: u64,
    /// The instruction, or what the hart did without one.
    pub htinst: u64,
}

/// Causes of [`TrapRegisters::scause`]. ("Hypervisor and Virtual Supervisor Trap Cause Codes".)
impl TrapRegisters {
    /// Instruction guest-page fault.
    pub const FETCH_FAULT: u64 = 20;
    /// Load guest-page fault.
    pub const LOAD_FAULT: u64 = 21;
    /// Store/AMO guest-page fault.
    pub const STORE_FAULT: u64 = 23;
}

impl TrapRegisters {
    /// The access of the hart's own walk of VS-stage tables, if the trap comes from one.
    ///
    /// The cause is then that of the instruction, and `htinst` says what the walk did: it read an entry, or it wrote
    /// accessed and dirty bits, for entries of 32 and of 64 bits. Zero is not allowed there. (Table "Special
    /// pseudoinstruction values for guest-page faults".)
    const fn walk(&self) -> Option<MappingFlags> {
        match self.htinst {
            0x2000 | 0x3000 => Some(MappingFlags::READ),
            0x2020 | 0x3020 => Some(MappingFlags::WRITE),
            _ => None,
        }
    }
}

impl ExitRegisters for TrapRegisters {
    fn guest_fault(&self) -> Result<GuestFault, NoGuestFault> {
        let of_instruction = match self.scause {
            Self::FETCH_FAULT => MappingFlags::EXECUTE,
            Self::LOAD_FAULT => MappingFlags::READ,
            Self::STORE_FAULT => MappingFlags::WRITE,
            _ => return Err(NoGuestFault::OtherExit),
        };
        let page_and_word = self.htval << 2;
        Ok(match self.walk() {
            Some(access) => GuestFault {
                address: GuestPhysAddr::new(page_and_word),
                access,
                source: FaultSource::TableWalk,
            },
            // The two bits that htval lacks are those of the virtual address, but not for a walk, whose addresses are
            // multiples of 4. ("Hypervisor Trap Value Register (htval)".)
            None => GuestFault {
                address: GuestPhysAddr::new(page_and_word | self.stval & 0b11),
                access: of_instruction,
                source: FaultSource::Instruction,
            },
        })
    }
}
