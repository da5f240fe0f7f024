//! Filling new tables: W1, W2a, W2b and W8.

use std::hint::black_box;
use std::ops::Range;

use anyhow::{Context, Result};
use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::contender::Access;
use crate::floor::{
    ADDRESS, ENTRIES, FloorTable, HUGE, TABLE, bits, index, read, unspecified, write, zeroed,
};

const NO_FRAME: &str = "no frame for a table";
/// The attributes of every leaf here.
const LEAF: u64 = bits(Access::ReadWrite);

impl FloorTable {
    /// W1: maps `gibibytes` GiB from `guest` on, which is 1 GiB aligned, with leaves of 4 KiB: zeroes
    /// each of the tables, then stores the entries.
    ///
    /// # Safety
    ///
    /// `guest` is less than 512 - `gibibytes` GiB above a multiple of 512 GiB.
    pub(super) unsafe fn map_pages(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        gibibytes: usize,
    ) -> Result<()> {
        let mut host = host.as_u64();
        let (level_2, first) = (self.link(guest)?, index(guest, 30));
        for number in 0..gibibytes {
            let level_1 = zeroed().context(NO_FRAME)?;
            for number in 0..ENTRIES {
                let level_0 = zeroed().context(NO_FRAME)?;
                // SAFETY: the frame is new, and has that many entries.
                unsafe { fill(level_0, 0..ENTRIES, host | LEAF, 12) };
                // SAFETY: `number` is below the number of entries of a table that is new.
                unsafe { write(level_1, number, level_0.as_u64() | TABLE) };
                host += 1 << 21;
            }
            // SAFETY: `link` made a table; the caller vouches that the range ends within.
            unsafe { write(level_2, first + number, level_1.as_u64() | TABLE) };
        }
        Ok(())
    }

    /// W2a: maps `gibibytes` GiB from `guest` on with leaves of 1 GiB.
    ///
    /// # Safety
    ///
    /// That of [`map_pages`](Self::map_pages).
    pub(super) unsafe fn map_1g(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        gibibytes: usize,
    ) -> Result<()> {
        let level_2 = self.link(guest)?;
        let first = index(guest, 30);
        let range = first..first + gibibytes;
        // SAFETY: the caller vouches that the range ends within the table.
        unsafe { fill(level_2, range, host.as_u64() | LEAF | HUGE, 30) };
        Ok(())
    }

    /// W2b: maps `gibibytes` GiB from `guest` on, which is 1 GiB aligned, with leaves of 2 MiB.
    ///
    /// # Safety
    ///
    /// That of [`map_pages`](Self::map_pages).
    pub(super) unsafe fn map_2m(
        &mut self,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        gibibytes: usize,
    ) -> Result<()> {
        let mut host = host.as_u64();
        let (level_2, first) = (self.link(guest)?, index(guest, 30));
        for number in 0..gibibytes {
            let level_1 = zeroed().context(NO_FRAME)?;
            // SAFETY: the frame is new, and has that many entries.
            unsafe { fill(level_1, 0..ENTRIES, host | LEAF | HUGE, 21) };
            // SAFETY: `link` made a table; the caller vouches that the range ends within.
            unsafe { write(level_2, first + number, level_1.as_u64() | TABLE) };
            host += 1 << 30;
        }
        Ok(())
    }

    /// W8: splits each of the leaves of 2 MiB in the GiB from `guest` on, and takes the first page
    /// out: writes the entries of each new table.
    ///
    /// # Safety
    ///
    /// There are 512 such leaves.
    pub(super) unsafe fn split(&mut self, guest: GuestPhysAddr) -> Result<()> {
        // SAFETY: the caller vouches for the leaves.
        let level_1 = unsafe { self.table_above(guest, 21) };
        for number in 0..ENTRIES {
            let level_0 = unspecified().context(NO_FRAME)?;
            // SAFETY: the caller vouches for the table, which has that many entries.
            let leaf = unsafe { read(level_1, number) };
            // SAFETY: the frame is new, and has that many entries.
            unsafe { fill(level_0, 0..ENTRIES, leaf & ADDRESS | LEAF, 12) };
            // SAFETY: as above.
            unsafe { write(level_0, 0, 0) };
            // SAFETY: as for reading the leaf.
            unsafe { write(level_1, number, level_0.as_u64() | TABLE) };
        }
        Ok(())
    }

    /// A new table for the 512 GiB around `guest`, where there is none.
    fn link(&mut self, guest: GuestPhysAddr) -> Result<HostPhysAddr> {
        let level_2 = zeroed().context(NO_FRAME)?;
        // SAFETY: the root is a table.
        unsafe { write(self.root, index(guest, 39), level_2.as_u64() | TABLE) };
        Ok(level_2)
    }
}

/// Writes the `entries` of `table`: `bits` to the first, and `1 << shift` more to each that follows.
///
/// # Safety
///
/// `table` is a frame that is out, and has such entries.
#[inline]
unsafe fn fill(table: HostPhysAddr, entries: Range<usize>, bits: u64, shift: u32) {
    // The compiler must not see that a frame is written twice, first with zeros.
    let table = black_box(table);
    for (number, index) in (0_u64..).zip(entries) {
        // SAFETY: the caller vouches for the entries.
        unsafe { write(table, index, bits + (number << shift)) };
    }
}
