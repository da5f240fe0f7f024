//! Notes: what an absent entry remembers for the table.

use guest_addr::HostPhysAddr;

/// What an absent entry used to be, kept in the entry itself until the invalidation has completed.
///
/// How a note becomes a word is the format's to say: see [`Format`](crate::Format).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A table that still has to be given back.
    Table(HostPhysAddr),
    /// A leaf that still has to be reported.
    Leaf {
        /// Where its first byte led.
        address: HostPhysAddr,
        /// Whether the hardware had marked it as accessed.
        accessed: bool,
        /// Whether the hardware had marked it as written to.
        dirty: bool,
    },
}

const RETIRED: u64 = 1 << 3;
const TABLE: u64 = 1 << 4;
const TABLE_RETIRED: u64 = RETIRED | TABLE;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const ADDRESS: u64 = 0x00ff_ffff_ffff_f000;

impl Note {
    /// The word in which bits 55:12 are the address, bit 3 marks a note, bit 4 a table, and bits 5 and 6 are
    /// the accessed and dirty state. All others are zero, bits 2:0 among them.
    #[inline]
    #[must_use]
    pub const fn to_plain_word(self) -> u64 {
        match self {
            Self::Table(address) => address.as_u64() | TABLE_RETIRED,
            Self::Leaf {
                address,
                accessed,
                dirty,
            } => {
                address.as_u64()
                    | RETIRED
                    | if accessed { ACCESSED } else { 0 }
                    | if dirty { DIRTY } else { 0 }
            }
        }
    }

    /// The note in a word of [`to_plain_word`](Self::to_plain_word), or `None` for any other.
    #[inline]
    #[must_use]
    pub const fn from_plain_word(bits: u64) -> Option<Self> {
        let address = HostPhysAddr::new(bits & ADDRESS);
        match bits & !(ADDRESS | ACCESSED | DIRTY) {
            RETIRED => Some(Self::Leaf {
                address,
                accessed: bits & ACCESSED != 0,
                dirty: bits & DIRTY != 0,
            }),
            TABLE_RETIRED => Some(Self::Table(address)),
            _ => None,
        }
    }
}
