//! Changing tables that exist: W3, W4, W6 and W7.

use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use anyhow::{Context, Result};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::contender::Access;
use crate::floor::{ADDRESS, ENTRIES, FloorTable, SHIFTS, TABLE, bits, index, read, write, zeroed};
use crate::frames;

/// What makes a leaf writable.
const WRITABLE: u64 = 1 << 1;

impl FloorTable {
    /// W3: unmaps the GiB from `guest` on, which has leaves of 4 KiB: zeroes the leaf tables.
    ///
    /// # Safety
    ///
    /// It has such leaves, all 262144.
    pub(super) unsafe fn unmap_pages(&mut self, guest: GuestPhysAddr) {
        // SAFETY: the caller vouches for the leaves.
        for table in unsafe { self.leaf_tables(guest) } {
            // SAFETY: a frame of this table is as long as that.
            unsafe { ptr::write_bytes(frames::pointer(table), 0, PAGE_SIZE_4K as usize) };
        }
    }

    /// W4: makes the GiB from `guest` on, which has leaves of 4 KiB, read-only: a plain read and a
    /// plain write of each leaf.
    ///
    /// # Safety
    ///
    /// It has such leaves, all 262144.
    pub(super) unsafe fn protect_pages(&mut self, guest: GuestPhysAddr) {
        // SAFETY: the caller vouches for the leaves.
        for table in unsafe { self.leaf_tables(guest) } {
            for number in 0..ENTRIES {
                // SAFETY: a table has that many entries.
                let leaf = unsafe { read(table, number) };
                // SAFETY: as above.
                unsafe { write(table, number, leaf & !WRITABLE) };
            }
        }
    }

    /// W6: maps and unmaps the page at `guest`, the tables of which are there: two walks, two stores.
    ///
    /// # Safety
    ///
    /// `guest` has a leaf table.
    #[inline]
    pub(super) unsafe fn map_and_unmap_page(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        access: Access,
    ) {
        // SAFETY: the caller vouches for the table.
        unsafe { self.write_page(guest, host.as_u64() | bits(access)) };
        // Two calls of a hypervisor: neither the walk nor the store may be saved.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { self.write_page(guest, 0) };
        compiler_fence(Ordering::SeqCst);
    }

    /// W7: maps the page at `guest`: a walk that makes the tables that are missing, one store.
    #[inline]
    pub(super) fn map_new_page(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        access: Access,
    ) -> Result<()> {
        let mut table = self.root;
        for shift in SHIFTS.into_iter().take(3) {
            // SAFETY: the root is a table, and so is what an entry above the pages leads to.
            let mut entry = unsafe { read(table, index(guest, shift)) };
            if entry == 0 {
                entry = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(table, index(guest, shift), entry) };
            }
            table = HostPhysAddr::new(entry & ADDRESS);
        }
        // SAFETY: as above.
        unsafe { write(table, index(guest, 12), host.as_u64() | bits(access)) };
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// The leaf tables of the GiB from `guest` on.
    ///
    /// # Safety
    ///
    /// It has leaves of 4 KiB, all 262144.
    #[inline]
    unsafe fn leaf_tables(&self, guest: GuestPhysAddr) -> impl Iterator<Item = HostPhysAddr> {
        // SAFETY: the caller vouches for the tables.
        let level_1 = unsafe { self.table_above(guest, 21) };
        (0..ENTRIES).map(move |number| {
            // SAFETY: a table has that many entries.
            HostPhysAddr::new(unsafe { read(level_1, number) } & ADDRESS)
        })
    }
}
