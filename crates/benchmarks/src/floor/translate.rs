//! Walks without a check: W5 and W5h.

use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::contender::Leaf;
use crate::floor::{ADDRESS, FloorTable, PERMISSIONS, index, read, write};

impl FloorTable {
    /// W5: where `guest` leads, and the bits of the leaf: dependent loads, four for a leaf of 4 KiB.
    ///
    /// # Safety
    ///
    /// `guest` is mapped with a leaf of `1 << shift` bytes.
    #[inline(always)]
    pub(super) unsafe fn translate_leaf(&self, guest: GuestPhysAddr, shift: u32) -> Leaf {
        // SAFETY: the caller vouches for the tables.
        let table = unsafe { self.table_above(guest, shift) };
        // SAFETY: as above, and the index is below the number of entries.
        let entry = unsafe { read(table, index(guest, shift)) };
        let bytes = 1_u64 << shift;
        Leaf {
            host: HostPhysAddr::new(
                (entry & ADDRESS & !(bytes - 1)) | (guest.as_u64() & (bytes - 1)),
            ),
            bytes,
            flags: entry & PERMISSIONS,
        }
    }

    /// Writes the entry for the page at `guest`.
    ///
    /// # Safety
    ///
    /// `guest` has a leaf table.
    #[inline]
    pub(super) unsafe fn write_page(&mut self, guest: GuestPhysAddr, bits: u64) {
        // SAFETY: the caller vouches for the tables.
        let table = unsafe { self.table_above(guest, 12) };
        // SAFETY: as above, and the index is below the number of entries.
        unsafe { write(table, index(guest, 12), bits) }
    }

    /// The table that holds the entry for `guest` which spans `1 << shift` bytes.
    ///
    /// # Safety
    ///
    /// There is one.
    #[inline]
    pub(super) unsafe fn table_above(&self, guest: GuestPhysAddr, shift: u32) -> HostPhysAddr {
        let mut table = self.root;
        let mut above = 39;
        while above > shift {
            // SAFETY: the root is a table, and so is, by the caller, what the entries lead to.
            let entry = unsafe { read(table, index(guest, above)) };
            table = HostPhysAddr::new(entry & ADDRESS);
            above -= 9;
        }
        table
    }
}
