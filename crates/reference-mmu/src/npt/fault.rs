//! Nested page faults.

use core::fmt;

/// A #VMEXIT(NPF) that a translation causes, EXITCODE 400h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The level of the entry where the walk stopped: 1 for a PTE to 5 for a PML5E.
    pub level: u8,
    /// Why it stopped.
    pub why: Why,
    /// EXITINFO1 (15.25.6; the low bits are those of 8.4.2 "Page-Fault Error Code"): P 0, write 1, user 2, reserved bit 3, fetch 4, and 32,
    /// for an access to the final guest-physical address rather than to a table of the guest. 0 for what the
    /// processor does not detect.
    ///
    /// A user access is what every access of a guest is. A fetch is reported where the host has EFER.NXE.
    pub information: u64,
}

/// Why a guest-physical address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The guest-physical address has bits above those that the walk uses: 47:0 with 4 levels, 56:0 with 5. The
    /// manual does not say what a processor does that can produce such an address.
    AddressWidth,
    /// P = 0.
    NotPresent,
    /// A reserved bit of a present entry is set.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
    /// An entry on the way has U/S = 0, and every access of a guest is a user access (15.25.5).
    NotUser,
    /// An entry on the way does not grant the access.
    Permission,
    /// There is no memory where the entry should be. What a processor reads then is up to the
    /// platform.
    NoMemory,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, level, information) = (self.why, self.level, self.information);
        match why {
            Why::NoMemory => write!(f, "the walk stops at level {level}: {why}"),
            _ => write!(
                f,
                "nested page fault {information:#x} at level {level}: {why}"
            ),
        }
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBits { bits } => return write!(f, "reserved bits {bits:#x} are set"),
            Self::AddressWidth => "the guest-physical address is wider than the walk",
            Self::NotPresent => "the entry is not present",
            Self::NotUser => "U/S is 0 in an entry",
            Self::Permission => "an entry forbids the access",
            Self::NoMemory => "there is no memory where the entry should be",
        })
    }
}
