//! Whole runs of leaves in one table at a time: the floors of the envelope.

use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};

use anyhow::{Context, Result};
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Access, Leaf};
use crate::floor::{
    ADDRESS, ENTRIES, FloorTable, HUGE, PERMISSIONS, SHIFTS, TABLE, bits, index, read, write,
    zeroed,
};
use crate::frames;

/// Neighbouring entries of one table.
#[derive(Clone, Copy, Debug)]
struct Run {
    table: HostPhysAddr,
    first: usize,
    count: usize,
}

impl FloorTable {
    /// Maps `guest` with leaves of `1 << shift` bytes: makes the tables that are missing, stores the entries.
    ///
    /// # Safety
    ///
    /// Nothing in `guest` is mapped, and it begins and ends at a multiple of that size.
    #[inline(always)]
    pub(crate) unsafe fn map_leaves(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        access: Access,
        shift: u32,
    ) -> Result<()> {
        let huge = if shift > 12 { HUGE } else { 0 };
        let leaf = host.as_u64() | bits(access) | huge;
        for run in runs(guest, shift) {
            let table = black_box(self.make_table_above(run.address, shift)?);
            for number in 0..run.count {
                let bits = leaf + run.offset + ((number as u64) << shift);
                // SAFETY: the run ends in the table.
                unsafe { write(table, run.first + number, bits) };
            }
        }
        compiler_fence(Ordering::SeqCst);
        Ok(())
    }

    /// Unmaps `guest`: zeroes the entries.
    ///
    /// # Safety
    ///
    /// The tables for leaves of `1 << shift` bytes are there, and `guest` begins and ends at a multiple of that size.
    #[inline(always)]
    pub(crate) unsafe fn unmap_leaves(&mut self, guest: GuestPhysRange, shift: u32) {
        // SAFETY: the caller vouches for the tables.
        for run in unsafe { self.runs(guest, shift) } {
            let entries = frames::pointer(run.table).cast::<u64>();
            // SAFETY: the run ends in the table.
            let first = unsafe { entries.add(run.first) };
            // SAFETY: as above.
            unsafe { ptr::write_bytes(first, 0, run.count) };
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// Unmaps `guest` and reports each leaf: reads and zeroes the entries.
    ///
    /// # Safety
    ///
    /// That of [`unmap_leaves`](Self::unmap_leaves).
    #[inline(always)]
    pub(crate) unsafe fn take_leaves(
        &mut self,
        guest: GuestPhysRange,
        shift: u32,
        mut report: impl FnMut(Leaf),
    ) {
        // SAFETY: the caller vouches for the tables.
        for run in unsafe { self.runs(guest, shift) } {
            for number in run.first..run.first + run.count {
                // SAFETY: the run ends in the table.
                let entry = unsafe { read(run.table, number) };
                if entry != 0 {
                    report(leaf(entry, shift));
                    // SAFETY: as above.
                    unsafe { write(run.table, number, 0) };
                }
            }
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// Changes what the guest may do in `guest`: reads and writes the entries.
    ///
    /// # Safety
    ///
    /// That of [`unmap_leaves`](Self::unmap_leaves).
    #[inline(always)]
    pub(crate) unsafe fn protect_leaves(
        &mut self,
        guest: GuestPhysRange,
        access: Access,
        shift: u32,
    ) {
        let permissions = bits(access) & PERMISSIONS;
        // SAFETY: the caller vouches for the tables.
        for run in unsafe { self.runs(guest, shift) } {
            for number in run.first..run.first + run.count {
                // SAFETY: the run ends in the table.
                let entry = unsafe { read(run.table, number) };
                let changed = match entry {
                    0 => 0,
                    entry => entry & !PERMISSIONS | permissions,
                };
                // SAFETY: as above.
                unsafe { write(run.table, number, changed) };
            }
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// Shows each leaf of `guest`: reads the entries.
    ///
    /// # Safety
    ///
    /// That of [`unmap_leaves`](Self::unmap_leaves).
    #[inline(always)]
    pub(crate) unsafe fn visit_leaves(
        &self,
        guest: GuestPhysRange,
        shift: u32,
        mut visitor: impl FnMut(Leaf),
    ) {
        // SAFETY: the caller vouches for the tables.
        for run in unsafe { self.runs(guest, shift) } {
            for number in run.first..run.first + run.count {
                // SAFETY: the run ends in the table.
                let entry = unsafe { read(run.table, number) };
                if entry != 0 {
                    visitor(leaf(entry, shift));
                }
            }
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// Where `guest` leads, and the bits of the leaf, or `None` where the entry is empty.
    ///
    /// # Safety
    ///
    /// The tables for leaves of `1 << shift` bytes are there.
    #[inline(always)]
    pub(crate) unsafe fn find_leaf(&self, guest: GuestPhysAddr, shift: u32) -> Option<Leaf> {
        // SAFETY: the caller vouches for the tables.
        let leaf = unsafe { self.translate_leaf(guest, shift) };
        (leaf.flags != 0).then_some(leaf)
    }

    /// The runs of `guest`, with their tables.
    ///
    /// # Safety
    ///
    /// That of [`unmap_leaves`](Self::unmap_leaves).
    #[inline(always)]
    unsafe fn runs(&self, guest: GuestPhysRange, shift: u32) -> impl Iterator<Item = Run> {
        runs(guest, shift).map(move |place| Run {
            // SAFETY: the caller vouches for the tables.
            table: unsafe { self.table_above(place.address, shift) },
            first: place.first,
            count: place.count,
        })
    }

    /// The table for the entry of `1 << shift` bytes for `guest`, which is made if it is missing.
    #[inline(always)]
    fn make_table_above(&mut self, guest: GuestPhysAddr, shift: u32) -> Result<HostPhysAddr> {
        let mut table = self.root;
        for above in SHIFTS.into_iter().take_while(|above| *above > shift) {
            // SAFETY: the root is a table, and so is what an entry above the leaves leads to.
            let mut entry = unsafe { read(table, index(guest, above)) };
            if entry == 0 {
                entry = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(table, index(guest, above), entry) };
            }
            table = HostPhysAddr::new(entry & ADDRESS);
        }
        Ok(table)
    }
}

/// Where a [`Run`] is, before its table is known.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: GuestPhysAddr,
    first: usize,
    count: usize,
    /// What the range has before this.
    offset: u64,
}

/// The parts of `guest` that lie in one table each, for leaves of `1 << shift` bytes.
#[inline(always)]
fn runs(guest: GuestPhysRange, shift: u32) -> impl Iterator<Item = Place> {
    let start = guest.start().as_u64();
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = (guest.size() - done) >> shift;
        if left == 0 {
            return None;
        }
        let (address, offset) = (GuestPhysAddr::new(start + done), done);
        let first = index(address, shift);
        let count = (left as usize).min(ENTRIES - first);
        done += (count as u64) << shift;
        Some(Place {
            address,
            first,
            count,
            offset,
        })
    })
}

/// What a leaf of `1 << shift` bytes says.
#[inline(always)]
const fn leaf(entry: u64, shift: u32) -> Leaf {
    Leaf {
        host: HostPhysAddr::new(entry & ADDRESS),
        bytes: 1 << shift,
        flags: entry & PERMISSIONS,
    }
}
