//! MMU faults at stage 2, and what the architecture leaves open.

use core::fmt;

use guest_addr::HostPhysAddr;

/// A fault of a stage 2 translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The level that is reported: that of the descriptor, 0 for an address out of range.
    pub level: u8,
    /// Why the walk stopped.
    pub why: Why,
}

/// Why an intermediate physical address is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Translation fault: the address has more bits than T0SZ allows (`AArch64.IPAIsOutOfRange`).
    AddressWidth,
    /// Translation fault: bit 0 of the descriptor is 0 (`AArch64.DecodeDescriptorType`).
    Invalid,
    /// Translation fault: bits 1:0 are 01 at level 3, which is reserved.
    ReservedAtLevel3,
    /// Translation fault: a block at level 0, which only FEAT_LPA2 has (`AArch64.BlockDescSupported`).
    BlockAtLevel0,
    /// Address size fault: an address in the descriptor does not fit the output size
    /// (`AArch64.OAOutOfRange`).
    AddressSize {
        /// The address of the next table, or of the block or page.
        address: HostPhysAddr,
    },
    /// Access flag fault: AF is 0 and hardware does not set it.
    AccessFlag,
    /// Permission fault: S2AP or XN forbids the access (`AArch64.S2CheckPermissions`).
    Permission,
    /// Synchronous External abort on a translation table walk: no memory where the descriptor
    /// should be.
    ExternalAbort,
    /// No fault that the architecture promises, but nothing that software may rely on.
    Strict(Strict),
}

/// A descriptor with bits that software must not set: RES0, reserved, or of CONSTRAINED
/// UNPREDICTABLE effect. Hardware may ignore them, today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strict {
    /// RES0 bits are set, or bits of features that are missing or not modelled: in a table 63:59 and
    /// 50:48; in a block or page 50:48, 11 (FnXS), 51 (DBM) without the hardware dirty state, and 53
    /// (XN\[0\]) without FEAT_XNX.
    Res0 {
        /// Those that are set.
        bits: u64,
    },
    /// A block whose output address is not aligned to its size. Bit 16 (nT) counts as address.
    MisalignedBlock {
        /// The address bits below the size.
        bits: u64,
    },
    /// MemAttr is reserved: 0100, 1000 and 1100; with FWB 0100 and 1000 to 1111.
    ReservedMemAttr {
        /// The value of bits 5:2.
        mem_attr: u8,
    },
    /// SH is 01.
    ReservedShareability,
    /// The contiguous bit, which demands sixteen descriptors that agree: that is not checked here.
    Contiguous,
    /// An instruction fetch that XN permits from Device memory: it may also get a Permission fault.
    DeviceExecute,
}

impl Fault {
    /// DFSC or IFSC, the low six bits of ESR_EL2.ISS; `None` for what the architecture does not
    /// report (table "Data Fault Status Code").
    #[must_use]
    pub const fn status_code(&self) -> Option<u8> {
        let base = match self.why {
            Why::AddressSize { .. } => 0b00_0000,
            Why::AddressWidth | Why::Invalid | Why::ReservedAtLevel3 | Why::BlockAtLevel0 => {
                0b00_0100
            }
            Why::AccessFlag => 0b00_1000,
            Why::Permission => 0b00_1100,
            Why::ExternalAbort => 0b01_0100,
            Why::Strict(_) => return None,
        };
        Some(base | self.level)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}: {}", self.level, self.why)
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AddressSize { address } => {
                return write!(f, "Address size fault, {address} is above the output size");
            }
            Self::Strict(rule) => return rule.fmt(f),
            Self::AddressWidth => "Translation fault, the address is wider than T0SZ allows",
            Self::Invalid => "Translation fault, the descriptor is invalid",
            Self::ReservedAtLevel3 => "Translation fault, descriptor type 01 at level 3",
            Self::BlockAtLevel0 => "Translation fault, a block at level 0",
            Self::AccessFlag => "Access flag fault",
            Self::Permission => "Permission fault",
            Self::ExternalAbort => "External abort, there is no memory at the descriptor",
        };
        f.write_str(text)
    }
}

impl fmt::Display for Strict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Res0 { bits } => write!(f, "RES0 bits {bits:#x} are set"),
            Self::MisalignedBlock { bits } => {
                write!(
                    f,
                    "the block's address has the bits {bits:#x} below its size"
                )
            }
            Self::ReservedMemAttr { mem_attr } => write!(f, "MemAttr {mem_attr:#06b} is reserved"),
            Self::ReservedShareability => f.write_str("SH 01 is reserved"),
            Self::Contiguous => f.write_str("the contiguous bit is not modelled"),
            Self::DeviceExecute => f.write_str("an instruction fetch from Device memory"),
        }
    }
}
