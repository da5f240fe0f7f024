//! The behaviour of the memory behind a mapping.

use crate::flags::MappingFlags;

/// How the memory behind a mapping is cached and ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryType {
    /// Normal memory, write-back cacheable.
    WriteBack,
    /// Normal memory that is not cached.
    Uncached,
    /// Device memory.
    Device,
}

impl MemoryType {
    /// The flag that chooses this type; none for write-back.
    #[inline]
    #[must_use]
    pub const fn flags(self) -> MappingFlags {
        match self {
            Self::WriteBack => MappingFlags::empty(),
            Self::Uncached => MappingFlags::UNCACHED,
            Self::Device => MappingFlags::DEVICE,
        }
    }
}
