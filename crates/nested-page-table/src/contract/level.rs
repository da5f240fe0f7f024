//! The level of a table entry, counted from the pages upwards.

use core::fmt;

/// How far above the 4 KiB pages an entry stands: 0 maps 4 KiB, 1 maps 2 MiB, 2 maps 1 GiB, 3 maps
/// 512 GiB, 4 maps 256 TiB.
///
/// RISC-V counts the same way; AArch64 counts from the top (its level 3 is level 0 here), and Intel
/// uses names (PT is 0, PD is 1, PDPT is 2, PML4 is 3, PML5 is 4). A *table* of level `n` is one
/// whose entries are of level `n`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// What is needed all the time: the number follows from it.
    shift: u8,
}

/// The address bits below the entries of 4 KiB.
const PAGE_SHIFT: u8 = 12;
/// The address bits that a level takes: a table below the root is a frame of 512 entries.
const INDEX_BITS: u8 = 9;

impl Level {
    /// Entries that map 4 KiB.
    pub const PAGE_4K: Self = Self::numbered(0);
    /// Entries that map 2 MiB.
    pub const BLOCK_2M: Self = Self::numbered(1);
    /// Entries that map 1 GiB.
    pub const BLOCK_1G: Self = Self::numbered(2);
    /// Entries that map 512 GiB.
    pub const BLOCK_512G: Self = Self::numbered(3);
    /// The highest level that any table has.
    pub(crate) const HIGHEST: Self = Self::numbered(4);
    /// The most levels that any table has.
    pub const COUNT: usize = 5;

    const fn numbered(number: u8) -> Self {
        let shift = PAGE_SHIFT + INDEX_BITS * number;
        Self { shift }
    }

    /// The level `number`, or `None` above 4.
    #[inline]
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT {
            Some(Self::numbered(number))
        } else {
            None
        }
    }

    /// The level as a number: 0 for 4 KiB pages.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        (self.shift - PAGE_SHIFT) / INDEX_BITS
    }

    /// The number of address bits below the index of the level: an entry maps `1 << shift` bytes.
    #[inline]
    #[must_use]
    pub const fn shift(self) -> u32 {
        self.shift as u32
    }

    /// The level below, or `None` below the pages.
    #[inline]
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        if self.shift == PAGE_SHIFT {
            return None;
        }
        let shift = self.shift - INDEX_BITS;
        Some(Self { shift })
    }

    /// The level above, or `None` above the highest.
    #[inline]
    #[must_use]
    pub const fn above(self) -> Option<Self> {
        Self::new(self.number() + 1)
    }

    /// Every level from the pages up to and including this one.
    pub fn up_to(self) -> impl DoubleEndedIterator<Item = Self> {
        (0..=self.number()).map(Self::numbered)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Level").field(&self.number()).finish()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}", self.number())
    }
}
