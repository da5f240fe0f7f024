//! A cache of the last single page's directory and flags. The next page usually has the same.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::tree::tables::Tables;
use crate::tree::words::Word;

/// The directory that was used last, and the flags that a page was mapped with last.
///
/// A *directory* is the table, or the part of a root, of which the 512 entries of 2 MiB translate one
/// GiB: for any page of that GiB the walk begins there, as the hardware's own does.
///
/// Invariants: the directory is linked, or is the root, and translates the whole GiB, or what of it lies
/// within the input width, behind which it is zero; the format accepts `flags` and has `attributes` for
/// them at 4 KiB. With a table that is unlinked, the directory is [forgotten](Self::forget).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    /// A guest-physical address in units of 1 GiB, or [`NOTHING`].
    gib: u64,
    directory: HostPhysAddr,
    /// The flags as a number, or [`NOTHING`].
    flags: u64,
    attributes: u64,
    /// The bits that no host address of a page has.
    never_in_host: u64,
}

/// No address in units of 1 GiB, and no flags.
const NOTHING: u64 = u64::MAX;

impl Recent {
    /// Nothing remembered.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            gib: NOTHING,
            directory: HostPhysAddr::ZERO,
            flags: NOTHING,
            attributes: 0,
            never_in_host: 0,
        }
    }

    /// The entry of 4 KiB for `address`, if its directory is remembered and has a leaf table there.
    #[inline]
    pub(crate) fn page_entry<'t, F: Format, H: TableHost>(
        &self,
        tables: &'t Tables<F, H>,
        address: GuestPhysAddr,
    ) -> Option<&'t Word> {
        if gib_of(address) != self.gib {
            return None;
        }
        let above = tables.entry_in_frame(self.directory, Level::BLOCK_2M, address);
        let Entry::Table(leaf_table) = tables.decode(Level::BLOCK_2M, above) else {
            return None;
        };
        Some(tables.entry_in_frame(leaf_table, Level::PAGE_4K, address))
    }

    /// Remembers the directory over `address`. Returns `false` if there is none, or if it was remembered
    /// already.
    pub(crate) fn find<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        address: GuestPhysAddr,
    ) -> bool {
        let gib = gib_of(address);
        if gib == self.gib {
            return false;
        }
        let Some(directory) = tables.directory(address) else {
            return false;
        };
        (self.gib, self.directory) = (gib, directory);
        true
    }

    /// All bits but the address of a page at `host` with `flags`, if they are the flags of last time
    /// and the page is one that an entry can point to.
    #[inline]
    pub(crate) fn attributes(&self, host: HostPhysAddr, flags: MappingFlags) -> Option<u64> {
        let possible = u64::from(flags.bits()) == self.flags;
        (possible && host.as_u64() & self.never_in_host == 0).then_some(self.attributes)
    }

    /// Remembers `flags`. Says whether the format accepts them, and others were remembered before.
    pub(crate) fn learn<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        flags: MappingFlags,
    ) -> bool {
        let number = flags.bits().into();
        if number == self.flags || tables.check_flags(flags).is_err() {
            return false;
        }
        self.flags = number;
        self.attributes = tables.leaf_attributes(Level::PAGE_4K, flags);
        self.never_in_host = !tables.geometry().last_host_page().as_u64();
        true
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
