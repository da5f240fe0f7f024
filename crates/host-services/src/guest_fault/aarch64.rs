//! AArch64: stage 2 aborts that are taken to EL2. (Arm Architecture Reference Manual, DDI 0487, the registers of each
//! name; the encodings are in ESR_EL2, "ISS encoding for an exception from an Instruction Abort" and "... from a Data
//! Abort".)

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

use super::{ExitRegisters, FaultSource, GuestFault, NoGuestFault, bit};

/// What a CPU reports of an abort, and what the hypervisor may have to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AbortRegisters {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2: the guest-virtual address.
    pub far: u64,
    /// HPFAR_EL2: the page of the guest-physical address, where it is valid.
    pub hpfar: u64,
    /// The output of the guest's stage 1 for `far`, if [`needs_stage_1`](Self::needs_stage_1): from PAR_EL1 after AT
    /// S1E1R. Otherwise it is not used.
    pub stage_1: Option<GuestPhysAddr>,
}

/// The bits of ESR_EL2.
mod esr {
    /// EC of an instruction abort from a lower exception level.
    pub(super) const INSTRUCTION_ABORT: u64 = 0x20;
    /// EC of a data abort from a lower exception level.
    pub(super) const DATA_ABORT: u64 = 0x24;
    pub(super) const CLASS_SHIFT: u32 = 26;
    pub(super) const CLASS: u64 = 0x3f;
    /// IFSC and DFSC, the fault status codes.
    pub(super) const STATUS: u64 = 0x3f;
    /// WnR: the access was a write.
    pub(super) const WRITE: u32 = 6;
    /// S1PTW: the access was a walk of the guest's stage 1.
    pub(super) const STAGE_1_WALK: u32 = 7;
    /// CM: the access was a cache maintenance or address translation instruction.
    pub(super) const CACHE_MAINTENANCE: u32 = 8;
}

/// The faults that a mapping cures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Translation,
    AccessFlag,
    Permission,
}

/// A fault status code without its level; translation faults of level -1 (FEAT_LPA2) have a code of their own.
const fn status(esr: u64) -> Option<Status> {
    match esr & esr::STATUS {
        0b00_0100..=0b00_0111 | 0b10_1011 => Some(Status::Translation),
        0b00_1000..=0b00_1011 => Some(Status::AccessFlag),
        0b00_1100..=0b00_1111 => Some(Status::Permission),
        _ => None,
    }
}

impl AbortRegisters {
    const fn class(&self) -> u64 {
        self.esr >> esr::CLASS_SHIFT & esr::CLASS
    }

    const fn is_walk(&self) -> bool {
        bit(self.esr, esr::STAGE_1_WALK)
    }

    /// The fault, if this is one that a mapping cures.
    const fn fault_status(&self) -> Option<Status> {
        match self.class() {
            esr::INSTRUCTION_ABORT | esr::DATA_ABORT => status(self.esr),
            _ => None,
        }
    }

    /// Whether HPFAR_EL2 has no valid address: after a permission fault of an access that is no walk of stage 1. Then
    /// ask stage 1 where [`far`](Self::far) leads, by AT S1E1R, and write the answer into
    /// [`stage_1`](Self::stage_1). If another vCPU changes the guest's tables meanwhile, AT may fail: let the guest
    /// repeat the access. (HPFAR_EL2: valid after translation and access flag faults, and faults on a stage 1 walk.)
    #[must_use]
    pub const fn needs_stage_1(&self) -> bool {
        matches!(self.fault_status(), Some(Status::Permission)) && !self.is_walk()
    }

    /// The first byte of the page that HPFAR_EL2 names: FIPA, bits 47:4, is bits 55:12 of the address. Bit 63 (NS) is no
    /// part of it.
    const fn reported_page(&self) -> u64 {
        (self.hpfar & 0x0000_ffff_ffff_fff0) << 8
    }

    fn address(&self) -> Option<GuestPhysAddr> {
        const OFFSET: u64 = 0xfff;
        let page = match self.needs_stage_1() {
            true => self.stage_1?.as_u64() & !OFFSET,
            // FAR_EL2 is the address of the instruction's access, so it has no offset for a walk.
            false if self.is_walk() => return Some(GuestPhysAddr::new(self.reported_page())),
            false => self.reported_page(),
        };
        Some(GuestPhysAddr::new(page | self.far & OFFSET))
    }

    /// The access that a mapping has to allow.
    ///
    /// The syndrome does not say what a walk did, and cache maintenance always has WnR = 1. Both need to read, so that is
    /// the answer as long as nothing is mapped. A permission fault then means that reading was not enough: the walk
    /// updates accessed and dirty state (FEAT_HAFDBS), or DC IVAC needs to write.
    fn access(&self, status: Status) -> MappingFlags {
        let is_unclear = self.is_walk() || bit(self.esr, esr::CACHE_MAINTENANCE);
        match (self.class(), status) {
            (esr::INSTRUCTION_ABORT, _) if !self.is_walk() => MappingFlags::EXECUTE,
            (_, Status::Permission) if is_unclear => MappingFlags::WRITE,
            (esr::DATA_ABORT, _) if !is_unclear && bit(self.esr, esr::WRITE) => MappingFlags::WRITE,
            _ => MappingFlags::READ,
        }
    }
}

impl ExitRegisters for AbortRegisters {
    fn guest_fault(&self) -> Result<GuestFault, NoGuestFault> {
        let status = self.fault_status().ok_or(NoGuestFault::OtherExit)?;
        Ok(GuestFault {
            address: self.address().ok_or(NoGuestFault::AddressUnknown)?,
            access: self.access(status),
            source: match self.is_walk() {
                true => FaultSource::TableWalk,
                false => FaultSource::Instruction,
            },
        })
    }
}
