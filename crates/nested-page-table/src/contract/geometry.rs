//! The shape of a table: numbers per level.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange};

use crate::contract::level::Level;

const PAGE_SHIFT: u8 = 12;
/// The width of the index into a table below the root, a frame of 512 entries.
const FRAME: u8 = 9;
const ENTRY_SHIFT: u8 = 3;

/// The shape of a nested page table, as numbers that a backend chooses once at construction.
///
/// Index widths are numbers per level, so that a root of several concatenated tables (RISC-V x4
/// roots with 11 bits, AArch64 roots of 2 to 16 tables with 10 to 13 bits) is no special case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    root: Level,
    root_entries: u64,
    largest_leaf: Level,
    input_bits: u8,
    output_bits: u8,
}

/// Why numbers do not describe a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GeometryError {
    /// There are no levels, or more than five.
    LevelCount {
        /// The number of levels that was given.
        levels: usize,
    },
    /// A level has no index bits, or so many that addresses would exceed 64 bits.
    IndexBits {
        /// The index bits that were given.
        index_bits: u8,
    },
    /// The largest leaf lies above the root.
    LeafAboveRoot {
        /// The largest leaf that was given.
        leaf: Level,
    },
    /// The output width is not between 12 and 56 bits.
    OutputBits {
        /// The output width that was given.
        output_bits: u8,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LevelCount { levels } => write!(f, "{levels} levels; a table has 1 to 5"),
            Self::IndexBits { index_bits } => write!(f, "an index of {index_bits} bits"),
            Self::LeafAboveRoot { leaf } => write!(f, "leaves at {leaf}, above the root"),
            Self::OutputBits { output_bits } => {
                write!(
                    f,
                    "{output_bits} bits of host-physical address; 12 to 56 are possible"
                )
            }
        }
    }
}

impl core::error::Error for GeometryError {}

impl Geometry {
    /// A table with `index_bits` per level, from the pages up to the root, leaves up to
    /// `largest_leaf` and host-physical addresses of `output_bits` bits.
    ///
    /// # Errors
    ///
    /// - [`GeometryError::LevelCount`]: `index_bits` is empty or has more than five elements.
    /// - [`GeometryError::IndexBits`]: an element is zero, or the sum with the 12 bits of the page
    ///   offset exceeds 63, or a level below the root has other than 9 bits (a 4 KiB table).
    /// - [`GeometryError::LeafAboveRoot`]: `largest_leaf` is no level of the table.
    /// - [`GeometryError::OutputBits`]: `output_bits` is not between 12 and 56.
    pub const fn new(
        index_bits: &[u8],
        largest_leaf: Level,
        output_bits: u8,
    ) -> Result<Self, GeometryError> {
        let levels = index_bits.len();
        let [below_root @ .., root_bits] = index_bits else {
            return Err(GeometryError::LevelCount { levels });
        };
        let number = below_root.len() as u8;
        let (Some(root), ..=Level::COUNT) = (Level::new(number), levels) else {
            return Err(GeometryError::LevelCount { levels });
        };
        if largest_leaf.shift() > root.shift() {
            return Err(GeometryError::LeafAboveRoot { leaf: largest_leaf });
        }
        if output_bits < PAGE_SHIFT || output_bits > 56 {
            return Err(GeometryError::OutputBits { output_bits });
        }
        let below_root_bits = root.shift() as u8;
        // Patterns, which a compiler that knows the widths sees through.
        let wrong_size = match below_root {
            [] | [FRAME] | [FRAME, FRAME] | [FRAME, FRAME, FRAME] => None,
            _ => first_of_wrong_size(below_root),
        };
        let wrong_root = *root_bits == 0 || *root_bits > 63 - below_root_bits;
        let index_bits = match wrong_size {
            None if wrong_root => Some(*root_bits),
            _ => wrong_size,
        };
        if let Some(index_bits) = index_bits {
            return Err(GeometryError::IndexBits { index_bits });
        }
        Ok(Self {
            root,
            root_entries: 1 << *root_bits,
            largest_leaf,
            input_bits: below_root_bits + *root_bits,
            output_bits,
        })
    }

    /// The level of the root table's entries.
    #[inline]
    #[must_use]
    pub const fn root_level(&self) -> Level {
        self.root
    }

    /// The number of levels, 1 to 5.
    #[inline]
    #[must_use]
    pub const fn levels(&self) -> u8 {
        self.root.number() + 1
    }

    /// The highest level whose entries may be leaves. All lower levels have leaves too.
    #[inline]
    #[must_use]
    pub const fn largest_leaf(&self) -> Level {
        self.largest_leaf
    }

    /// The width of guest-physical addresses in bits.
    #[inline]
    #[must_use]
    pub const fn input_bits(&self) -> u32 {
        self.input_bits as u32
    }

    /// The width of host-physical addresses in bits.
    #[inline]
    #[must_use]
    pub const fn output_bits(&self) -> u32 {
        self.output_bits as u32
    }

    /// The number of address bits below the index of `level`: an entry maps `1 << shift` bytes.
    #[inline]
    #[must_use]
    pub const fn shift(&self, level: Level) -> u32 {
        level.shift()
    }

    /// The bytes that an entry of `level` maps.
    #[inline]
    #[must_use]
    pub const fn entry_size(&self, level: Level) -> u64 {
        1 << self.shift(level)
    }

    /// The width of the index into a table of `level`, in bits.
    #[inline]
    #[must_use]
    pub const fn index_bits(&self, level: Level) -> u32 {
        if level.shift() == self.root.shift() {
            self.root_entries.trailing_zeros()
        } else {
            FRAME as u32
        }
    }

    /// The number of entries in a table of `level`.
    #[inline]
    #[must_use]
    pub const fn entries(&self, level: Level) -> usize {
        if level.shift() == self.root.shift() {
            self.root_entries()
        } else {
            1 << FRAME
        }
    }

    /// The number of entries in the root.
    #[inline]
    pub(crate) const fn root_entries(&self) -> usize {
        // Every usize has 64 bits here.
        self.root_entries as usize
    }

    /// The index of `address` in the table of `level` that translates it.
    #[inline]
    #[must_use]
    pub fn index(&self, level: Level, address: GuestPhysAddr) -> usize {
        let number = address.as_u64() >> self.shift(level);
        number as usize & (self.entries(level) - 1)
    }

    /// The bytes of the root's entries. Less than a frame where the root's index has fewer than 9
    /// bits; what it takes is [`root_frames`](Self::root_frames).
    #[inline]
    #[must_use]
    pub fn root_size(&self) -> u64 {
        // Each index has at most 51 bits.
        self.root_entries << ENTRY_SHIFT
    }

    /// What the root's address must be a multiple of, in bytes: its size, at least 4 KiB.
    #[inline]
    #[must_use]
    pub fn root_alignment(&self) -> u64 {
        self.root_size().max(guest_addr::PAGE_SIZE_4K)
    }

    /// The number of 4 KiB frames that the root takes.
    #[inline]
    #[must_use]
    pub fn root_frames(&self) -> u64 {
        self.root_size().div_ceil(guest_addr::PAGE_SIZE_4K)
    }

    /// Whether every byte of `range` lies within the input width.
    #[inline]
    #[must_use]
    pub const fn holds_guest(&self, range: &GuestPhysRange) -> bool {
        // At most 63 bits.
        range.last().as_u64() >> (self.input_bits & 63) == 0
    }

    /// Whether every byte of `range` lies within the output width.
    #[inline]
    #[must_use]
    pub const fn holds_host(&self, range: &HostPhysRange) -> bool {
        self.holds_host_address(range.last())
    }

    /// Whether `address` lies within the output width.
    #[inline]
    #[must_use]
    pub const fn holds_host_address(&self, address: HostPhysAddr) -> bool {
        // At most 56 bits.
        address.as_u64() >> (self.output_bits & 63) == 0
    }

    /// The last guest-physical address that the table can translate.
    #[inline]
    #[must_use]
    pub fn last_guest(&self) -> GuestPhysAddr {
        GuestPhysAddr::new(u64::MAX >> (64 - self.input_bits()))
    }

    /// Everything that the table can translate.
    pub(crate) fn all_guest(&self) -> GuestPhysRange {
        GuestPhysRange::block_at(GuestPhysAddr::ZERO, self.input_bits())
    }

    /// The last host-physical page that an entry can lead to: all bits that the address of a page may
    /// have.
    #[inline]
    pub(crate) fn last_host_page(&self) -> HostPhysAddr {
        HostPhysAddr::new(u64::MAX >> (64 - self.output_bits())).align_down_4k()
    }

    /// Whether `address` can be the first byte of a leaf of `level`.
    #[inline]
    #[must_use]
    pub fn is_leaf_aligned(&self, level: Level, address: HostPhysAddr) -> bool {
        address.as_u64() & (self.entry_size(level) - 1) == 0
    }
}

/// The first width that is not that of a frame.
const fn first_of_wrong_size(below_root: &[u8]) -> Option<u8> {
    let mut rest = below_root;
    while let [index_bits, above @ ..] = rest {
        if *index_bits != FRAME {
            return Some(*index_bits);
        }
        rest = above;
    }
    None
}
