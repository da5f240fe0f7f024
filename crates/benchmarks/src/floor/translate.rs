//! Walks without a check: W5.

use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::floor::{ADDRESS, FloorTable, index, read, write};

impl FloorTable {
    /// W5: where `guest` leads: four dependent loads.
    ///
    /// # Safety
    ///
    /// `guest` is mapped with a leaf of 4 KiB.
    #[inline]
    pub(super) unsafe fn translate_page(&self, guest: GuestPhysAddr) -> HostPhysAddr {
        // SAFETY: the caller vouches for the tables.
        let table = unsafe { self.table_above(guest, 12) };
        // SAFETY: as above, and the index is below the number of entries.
        let entry = unsafe { read(table, index(guest, 12)) };
        HostPhysAddr::new((entry & ADDRESS) | guest.page_offset_4k())
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
