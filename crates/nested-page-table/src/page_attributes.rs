//! The attributes of the page that was mapped last, since the next one mostly has the same.

use mapping_flags::MappingFlags;

use crate::format::Format;
use crate::host::TableHost;
use crate::level::Level;
use crate::tables::Tables;

/// The flags that a page was mapped with last, and what they are as bits.
///
/// Invariant: the table's format accepts the flags, and has these attributes for them at 4 KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageAttributes {
    newest: Option<(MappingFlags, u64)>,
}

impl PageAttributes {
    /// The attributes of a page with `flags`, or `None` if the format of `tables` refuses them.
    #[inline]
    pub(crate) fn of<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        flags: MappingFlags,
    ) -> Option<u64> {
        match self.newest {
            Some((newest, attributes)) if newest == flags => Some(attributes),
            _ => self.encode(&tables.format, flags),
        }
    }

    #[inline(never)]
    fn encode<F: Format>(&mut self, format: &F, flags: MappingFlags) -> Option<u64> {
        format.check_flags(flags).ok()?;
        let attributes = format.leaf_attributes(Level::PAGE_4K, flags);
        self.newest = Some((flags, attributes));
        Some(attributes)
    }
}
