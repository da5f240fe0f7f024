//! Conversions to and from `page_table_entry`'s flags, which have the same bits.

use crate::flags::MappingFlags;

impl From<MappingFlags> for page_table_entry::MappingFlags {
    /// Keeps every bit, unknown ones included.
    #[inline]
    fn from(flags: MappingFlags) -> Self {
        Self::from_bits_retain(flags.bits() as usize)
    }
}

impl From<page_table_entry::MappingFlags> for MappingFlags {
    /// Keeps the low 32 bits; if a higher bit is set, bit 31 is set in its stead, so that
    /// [`MappingFlags::validate`] still refuses the flags.
    #[inline]
    fn from(flags: page_table_entry::MappingFlags) -> Self {
        let bits = flags.bits();
        Self::from_bits_retain(u32::try_from(bits).unwrap_or(bits as u32 | 1 << 31))
    }
}
