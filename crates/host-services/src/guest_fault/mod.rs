//! What a guest did when its nested page table ended it, from the registers that say so.

pub mod aarch64;
pub mod ept;
pub mod npt;
pub mod riscv64;

use core::fmt;

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

/// An access by a guest that its nested page table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuestFault {
    /// The guest-physical address. Where the registers name a page only, its first byte.
    pub address: GuestPhysAddr,
    /// The one permission that the access lacks at least: `READ`, `WRITE` or `EXECUTE`. For a fault handler.
    pub access: MappingFlags,
    /// What accessed the address.
    pub source: FaultSource,
}

/// What accessed guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultSource {
    /// An instruction: its fetch, its load or its store.
    Instruction,
    /// The processor's walk of the guest's own page tables. The access concerns the guest's table, not the data that the
    /// instruction wants, and never executes.
    TableWalk,
}

/// Why exit registers hold no [`GuestFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoGuestFault {
    /// The guest ended for another reason: a call, an interrupt, an exception of its own, or an entry that the hardware
    /// finds malformed, which no mapping can cure.
    OtherExit,
    /// It is a fault, but the registers do not say where. Translate the guest-virtual address by the guest's own
    /// tables; see the module of the architecture.
    AddressUnknown,
}

impl fmt::Display for NoGuestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherExit => "the guest did not end by a fault of its nested page table",
            Self::AddressUnknown => "the registers do not hold the guest-physical address",
        })
    }
}

impl core::error::Error for NoGuestFault {}

/// The registers with which an architecture reports why a guest ended. They are plain numbers: they can be decoded on
/// any machine.
pub trait ExitRegisters {
    /// The fault that the registers report.
    ///
    /// # Errors
    ///
    /// - [`NoGuestFault::OtherExit`]: they report something else.
    /// - [`NoGuestFault::AddressUnknown`]: they do not report where.
    fn guest_fault(&self) -> Result<GuestFault, NoGuestFault>;
}

impl GuestFault {
    /// The fault that `registers` report: [`riscv64::TrapRegisters`], [`aarch64::AbortRegisters`],
    /// [`ept::ExitRegisters`] or [`npt::ExitRegisters`].
    ///
    /// ```
    /// use host_services::{FaultSource, GuestFault, riscv64};
    /// use mapping_flags::MappingFlags;
    ///
    /// // A store. The hart walked the guest's page table for it, whose page at 0x8400_0000 is absent.
    /// let registers = riscv64::TrapRegisters {
    ///     scause: 23,
    ///     stval: 0xffff_ffd8_0012_3456,
    ///     htval: 0x8400_0ff8 >> 2,
    ///     htinst: 0x3000,
    /// };
    /// let fault = GuestFault::decode(&registers)?;
    /// assert_eq!(fault.address.as_u64(), 0x8400_0ff8);
    /// assert_eq!(fault.access, MappingFlags::READ);
    /// assert_eq!(fault.source, FaultSource::TableWalk);
    /// # Ok::<(), host_services::NoGuestFault>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`NoGuestFault::OtherExit`]: the guest ended for another reason.
    /// - [`NoGuestFault::AddressUnknown`]: the registers do not report where.
    pub fn decode(registers: &impl ExitRegisters) -> Result<Self, NoGuestFault> {
        registers.guest_fault()
    }
}

const fn bit(word: u64, number: u32) -> bool {
    word >> number & 1 != 0
}
