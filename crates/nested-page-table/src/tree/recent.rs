//! From the root to the entries of a small range, with a cache of the last directory on the way.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::tree::tables::Tables;
use crate::tree::words::Word;

/// The directory that was used last, since the next leaf usually has the same.
///
/// A *directory* is the table of which the 512 entries of 2 MiB translate one GiB: for any leaf of at most 2 MiB in
/// that GiB the walk begins there, as the hardware's own does.
///
/// Invariant: the directory is linked, and translates the whole GiB. With a table that is unlinked, the directory is
/// [forgotten](Self::forget).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    /// A guest-physical address in units of 1 GiB, or [`NOTHING`].
    gib: u64,
    directory: HostPhysAddr,
}

/// No address in units of 1 GiB.
const NOTHING: u64 = u64::MAX;

impl Recent {
    /// Nothing remembered.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            gib: NOTHING,
            directory: HostPhysAddr::ZERO,
        }
    }

    /// The entry of `level`, 4 KiB or 2 MiB, that translates `address`, if its directory is remembered and there is a
    /// table of that level.
    #[inline]
    pub(crate) fn entry<'t, F: Format, H: TableHost>(
        &self,
        tables: &'t Tables<F, H>,
        level: Level,
        address: GuestPhysAddr,
    ) -> Option<&'t Word> {
        if gib_of(address) != self.gib {
            return None;
        }
        let entry = tables.entry_in_frame(self.directory, Level::BLOCK_2M, address);
        if level == Level::BLOCK_2M {
            return Some(entry);
        }
        match tables.decode(Level::BLOCK_2M, entry) {
            Entry::Table(table) => Some(tables.entry_in_frame(table, Level::PAGE_4K, address)),
            _ => None,
        }
    }

    /// Remembers the directory over `address`. Returns whether there is one, and it is another.
    #[inline]
    pub(crate) fn find<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        address: GuestPhysAddr,
    ) -> bool {
        let gib = gib_of(address);
        // A root has another number of entries.
        if gib != self.gib && tables.geometry().root_level() > Level::BLOCK_2M {
            // The walk to an entry of 2 MiB ends at the directory.
            let block = GuestPhysRange::block_at(address, Level::BLOCK_2M.shift());
            let table = tables.lowest_over(block).part.table;
            if table.level == Level::BLOCK_2M {
                (self.gib, self.directory) = (gib, table.address);
                return true;
            }
        }
        false
    }

    /// Forgets the directory, which may have been unlinked.
    #[inline]
    pub(crate) fn forget(&mut self) {
        self.gib = NOTHING;
    }
}

/// `address` in units of 1 GiB.
#[inline]
fn gib_of(address: GuestPhysAddr) -> u64 {
    address.as_u64() >> 30
}
