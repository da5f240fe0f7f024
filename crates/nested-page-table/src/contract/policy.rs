//! How large leaves may get.

use mapping_flags::MappingFlags;

use crate::contract::level::Level;

/// A cap on the size of the leaves that a table makes, beyond what the hardware allows.
///
/// Leaves that exist are not changed by a new policy until they are mapped anew or protected. What a split
/// leaves of one is a level smaller, whatever the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeafPolicy {
    /// The highest level at which any leaf is made.
    pub largest: Level,
    /// The highest level at which a leaf with `EXECUTE` is made. [`Level::PAGE_4K`] is the remedy
    /// for processors where a guest can raise a machine check by changing the size of an executable
    /// page (CVE-2018-12207: Intel without `IF_PSCHANGE_MC_NO`, bit 6 of IA32_ARCH_CAPABILITIES). The
    /// format of such a processor asks for it by itself ([`Format::leaf_policy`](crate::Format::leaf_policy)).
    pub largest_executable: Level,
}

impl LeafPolicy {
    /// As large as the hardware allows.
    pub const HARDWARE: Self = Self::up_to(Level::BLOCK_512G);

    /// Leaves of at most `level`, executable or not.
    #[must_use]
    pub const fn up_to(level: Level) -> Self {
        Self {
            largest: level,
            largest_executable: level,
        }
    }

    /// The same policy, with executable leaves of at most `level`.
    #[must_use]
    pub const fn with_largest_executable(self, level: Level) -> Self {
        Self {
            largest_executable: level,
            ..self
        }
    }

    /// What both policies allow.
    #[inline]
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self {
            largest: self.largest.min(other.largest),
            largest_executable: self.largest_executable.min(other.largest_executable),
        }
    }

    /// The highest level for a leaf with `flags`.
    #[inline]
    #[must_use]
    pub fn largest_for(&self, flags: MappingFlags) -> Level {
        if flags.contains(MappingFlags::EXECUTE) {
            self.largest.min(self.largest_executable)
        } else {
            self.largest
        }
    }
}

impl Default for LeafPolicy {
    fn default() -> Self {
        Self::HARDWARE
    }
}
