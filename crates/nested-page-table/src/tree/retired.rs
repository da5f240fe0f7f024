//! Notes in absent entries: what was unmapped and waits for its invalidation.
//!
//! Every format ignores such a word (law 3 of [`Format`](crate::Format)): a walker sees an absent
//! entry. The address fills bits 55:12; bits 0, 1, 2, 10 and 63 are zero.

use guest_addr::HostPhysAddr;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::level::Level;

const RETIRED: u64 = 1 << 3;
const TABLE: u64 = 1 << 4;
const TABLE_RETIRED: u64 = RETIRED | TABLE;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const ADDRESS: u64 = 0x00ff_ffff_ffff_f000;

/// What an absent entry used to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// A table that still has to be given back.
    Table(HostPhysAddr),
    /// A leaf that still has to be reported.
    Leaf {
        address: HostPhysAddr,
        accessed: bool,
        dirty: bool,
    },
}

impl Retired {
    /// The note as a word that the hardware takes for an absent entry.
    #[inline]
    pub(crate) const fn encode(self) -> u64 {
        match self {
            Self::Table(address) => address.as_u64() | RETIRED | TABLE,
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

    /// The note in an entry, if there is one: present entries have another bit set.
    #[inline]
    pub(crate) const fn decode(bits: u64) -> Option<Self> {
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

/// The note for the leaf `bits`.
pub(crate) fn retired_word<F: Format>(format: &F, level: Level, bits: u64) -> u64 {
    match format.decode_own(level, bits) {
        Entry::Leaf(leaf) => Retired::Leaf {
            address: leaf.address,
            accessed: format.is_accessed(bits),
            dirty: format.is_dirty(bits),
        }
        .encode(),
        _ => 0,
    }
}
