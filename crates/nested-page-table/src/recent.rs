//! What single pages were mapped in last, since the next page is mostly like it.

use core::sync::atomic::AtomicU64;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::format::Format;
use crate::host::TableHost;
use crate::level::Level;
use crate::tables::Tables;

/// The leaf table that was used last, and the flags that a page was mapped with last.
///
/// Invariants: the table at `leaf_table` is linked and translates `block`; the format accepts `flags`
/// and has `attributes` for them at 4 KiB. What may unlink a table [`forgets`](Self::forget) first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    /// A guest-physical address in units of 2 MiB, or [`NOTHING`].
    block: u64,
    leaf_table: HostPhysAddr,
    /// The flags as a number, or [`NOTHING`].
    flags: u64,
    attributes: u64,
}

/// No address in units of 2 MiB, and no flags.
const NOTHING: u64 = u64::MAX;

impl Recent {
    pub(crate) const NOTHING: Self = Self {
        block: NOTHING,
        leaf_table: HostPhysAddr::ZERO,
        flags: NOTHING,
        attributes: 0,
    };

    /// The entry of 4 KiB for `address`, or `None` where there is no leaf table below the root.
    #[inline]
    pub(crate) fn page_entry<'t, F: Format, H: TableHost>(
        &mut self,
        tables: &'t Tables<F, H>,
        address: GuestPhysAddr,
    ) -> Option<&'t AtomicU64> {
        let block = address.as_u64() >> tables.geometry().shift(Level::BLOCK_2M);
        if block != self.block {
            self.leaf_table = tables.leaf_table(address)?;
            self.block = block;
        }
        Some(tables.entry_below_root(self.leaf_table, Level::PAGE_4K, address))
    }

    /// The attributes of a page with `flags`, if they are the ones of last time.
    #[inline]
    pub(crate) fn attributes(&self, flags: MappingFlags) -> Option<u64> {
        (u64::from(flags.bits()) == self.flags).then_some(self.attributes)
    }

    /// Remembers `flags`, which `format` has accepted.
    pub(crate) fn remember<F: Format>(&mut self, format: &F, flags: MappingFlags) {
        self.flags = flags.bits().into();
        self.attributes = format.leaf_attributes(Level::PAGE_4K, flags);
    }

    /// Forgets the leaf table, which may be unlinked from now on.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.block = NOTHING;
    }
}
