//! What flags become in leaves: worked out once for each set of flags.

use core::mem;

use mapping_flags::MappingFlags;

use crate::contract::level::Level;

/// What is remembered of leaves with some flags and some level.
#[derive(Clone, Copy, Debug)]
struct Encoded {
    /// The flags and the level as a number, or [`NOTHING`].
    kind: u64,
    /// All bits but the address.
    attributes: u64,
}

/// No kind.
const NOTHING: u64 = u64::MAX;

impl Encoded {
    const NOTHING: Self = Self {
        kind: NOTHING,
        attributes: 0,
    };
}

/// The last two kinds of leaves that were mapped. The flags of such a leaf are neither checked nor encoded again.
///
/// Not an array, which would be copied by a call when the table is made.
///
/// Invariant: the format accepts the flags of each, and the table makes leaves of the level with these flags.
#[derive(Debug)]
pub(crate) struct EncodedLeaves {
    last: Encoded,
    last_but_one: Encoded,
}

impl EncodedLeaves {
    /// Nothing encoded.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            last: Encoded::NOTHING,
            last_but_one: Encoded::NOTHING,
        }
    }

    /// All bits but the address of a leaf at `level` with `flags`, if its kind is remembered.
    #[inline]
    pub(crate) fn known(&self, level: Level, flags: MappingFlags) -> Option<u64> {
        let kind = kind_of(level, flags);
        if self.last.kind == kind {
            Some(self.last.attributes)
        } else if self.last_but_one.kind == kind {
            Some(self.last_but_one.attributes)
        } else {
            None
        }
    }

    /// Remembers `attributes`, all bits but the address of a leaf at `level` with `flags`, which the format accepts.
    #[inline]
    pub(crate) fn remember(&mut self, level: Level, flags: MappingFlags, attributes: u64) {
        let kind = kind_of(level, flags);
        self.last_but_one = mem::replace(&mut self.last, Encoded { kind, attributes });
    }
}

/// A number for the flags and the level.
#[inline]
fn kind_of(level: Level, flags: MappingFlags) -> u64 {
    u64::from(level.shift()) << 32 | u64::from(flags.bits())
}
