//! The exceptions that a G-stage translation raises.

use core::fmt;

use crate::access::Access;

/// An exception during G-stage translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The access that was attempted.
    pub access: Access,
    /// The level i of VATP where the walk stopped: LEVELS - 1 at the root, 0 for 4 KiB pages.
    pub level: u8,
    /// Why it stopped.
    pub why: Why,
}

/// Why a G-stage translation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The guest-physical address has bits above the mode's width ("Guest Physical Address
    /// Translation": they must all be zero, there is no sign extension).
    AddressWidth,
    /// There is no memory where the PTE should be (step 2): an access fault.
    AccessFault,
    /// V = 0 (step 3).
    NotValid,
    /// R = 0 and W = 1 (step 3, table "Encoding of PTE R/W/X fields").
    WriteWithoutRead,
    /// Bits are set that the manual or a missing extension reserves (step 3): 60:54, or 58:54 with
    /// Svrsw60t59b; PBMT (62:61) without PBMTE; N (63) without Svnapot.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
    /// PBMT is 3 (Svpbmt, table "Encodings for PBMT field").
    ReservedMemoryType,
    /// D, A, U, PBMT or N is set in a pointer ("Sv32": D, A and U are reserved in non-leaf PTEs;
    /// Svpbmt and Svnapot: so are theirs).
    NonLeafBits {
        /// Those that are set.
        bits: u64,
    },
    /// N is set where Svnapot defines no encoding: above level 0, or ppn\[3:0\] is not 1000 (table
    /// "Page table entry encodings when pte.N=1").
    NapotEncoding,
    /// A pointer at level 0 (step 4).
    PointerAtLevel0,
    /// A superpage whose physical page number is not aligned to it (step 5).
    MisalignedSuperpage,
    /// U = 0: every G-stage access is checked as though made in U-mode ("Guest Physical Address
    /// Translation").
    NotUser,
    /// R, W or X does not grant the access.
    Permission,
    /// A = 0 under Svade.
    AccessedClear,
    /// A store with D = 0 under Svade.
    DirtyClear,
}

impl Fault {
    /// The exception code in `scause` (table "Machine and supervisor cause register values when the
    /// hypervisor extension is implemented"): 20, 21 or 23 for a guest-page fault; 1, 5 or 7 for an
    /// access fault.
    #[must_use]
    pub const fn cause(&self) -> u64 {
        let is_access_fault = matches!(self.why, Why::AccessFault);
        match (self.access, is_access_fault) {
            (Access::Execute(_), false) => 20,
            (Access::Read, false) => 21,
            (Access::Write, false) => 23,
            (Access::Execute(_), true) => 1,
            (Access::Read, true) => 5,
            (Access::Write, true) => 7,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, level) = (self.cause(), self.level);
        write!(f, "exception {cause} at level {level}: {}", self.why)
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::ReservedBits { bits } => return write!(f, "reserved bits {bits:#x} are set"),
            Self::NonLeafBits { bits } => {
                return write!(f, "bits {bits:#x} of a leaf are set in a pointer");
            }
            Self::AddressWidth => "the guest-physical address is wider than the mode",
            Self::AccessFault => "there is no memory where the entry should be",
            Self::NotValid => "V is 0",
            Self::WriteWithoutRead => "W is set without R",
            Self::ReservedMemoryType => "PBMT is 3, which is reserved",
            Self::NapotEncoding => "N is set in an encoding that Svnapot does not define",
            Self::PointerAtLevel0 => "a pointer at level 0",
            Self::MisalignedSuperpage => "a superpage at an address not aligned to it",
            Self::NotUser => "U is 0",
            Self::Permission => "R, W or X forbids the access",
            Self::AccessedClear => "A is 0 and hardware does not set it",
            Self::DirtyClear => "D is 0 and hardware does not set it",
        };
        f.write_str(text)
    }
}
