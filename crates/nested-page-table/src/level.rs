//! The level of a table entry, counted from the pages upwards.

use core::fmt;

/// How far above the 4 KiB pages an entry stands: 0 maps 4 KiB, 1 maps 2 MiB, 2 maps 1 GiB, 3 maps
/// 512 GiB, 4 maps 256 TiB.
///
/// RISC-V counts the same way; AArch64 counts from the top (its level 3 is level 0 here), and Intel
/// uses names (PT is 0, PD is 1, PDPT is 2, PML4 is 3, PML5 is 4). A *table* of level `n` is one
/// whose entries are of level `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Entries that map 4 KiB.
    pub const PAGE_4K: Self = Self(0);
    /// Entries that map 2 MiB.
    pub const BLOCK_2M: Self = Self(1);
    /// Entries that map 1 GiB.
    pub const BLOCK_1G: Self = Self(2);
    /// Entries that map 512 GiB.
    pub const BLOCK_512G: Self = Self(3);
    /// The highest level that any table has.
    pub(crate) const HIGHEST: Self = Self(4);
    /// The most levels that any table has.
    pub const COUNT: usize = 5;

    /// The level `number`, or `None` above 4.
    #[inline]
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The level as a number: 0 for 4 KiB pages.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The level below, or `None` below the pages.
    #[inline]
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The level above, or `None` above the highest.
    #[inline]
    #[must_use]
    pub const fn above(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// Every level from the pages up to and including this one.
    pub fn up_to(self) -> impl DoubleEndedIterator<Item = Self> {
        (0..=self.0).map(Self)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}", self.0)
    }
}
