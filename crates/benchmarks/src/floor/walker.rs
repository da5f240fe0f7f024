//! A bare range walker: a contender that does any range, and promises nothing.
//!
//! It checks that nothing is in the way and makes leaves as large as they can be. It does not split, undo what it
//! did before an error, order its stores for other CPUs, or keep books about invalidation: the least that a table
//! for general use can cost.

use anyhow::{Context, Result, bail};
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Access, Leaf, Leaves, PageTable, Promises};
use crate::floor::{
    ADDRESS, ENTRIES, FloorTable, HUGE, PERMISSIONS, SHIFTS, TABLE, bits, described, free, read,
    write, zeroed,
};

/// The table.
pub(crate) struct Walker(FloorTable);

/// Where the walker is: in a table that no larger step passes over.
#[derive(Clone, Copy)]
struct Place {
    table: HostPhysAddr,
    /// How many bits of address are below an entry's.
    shift: u32,
}

impl Place {
    /// The index of `address`.
    #[inline(always)]
    const fn index(self, address: u64) -> usize {
        (address >> self.shift) as usize % ENTRIES
    }

    /// How much an entry translates.
    #[inline(always)]
    const fn size(self) -> u64 {
        1 << self.shift
    }

    /// How many entries lie between `at` and `end`, in this table.
    #[inline(always)]
    fn count(self, at: u64, end: u64) -> usize {
        let left = (end - at) >> self.shift;
        (left as usize).min(ENTRIES - self.index(at))
    }

    /// Whether an entry of this table begins at `at` and ends before `end`.
    #[inline(always)]
    const fn begins_whole(self, at: u64, end: u64) -> bool {
        at & (self.size() - 1) == 0 && end - at >= self.size()
    }

    /// The address after the entry for `at`, of which only a part was asked for. It has to be absent.
    fn skip(self, at: u64) -> Result<u64> {
        // SAFETY: the table is one of the walker's.
        if unsafe { read(self.table, self.index(at)) } != 0 {
            bail!("a leaf is not split");
        }
        Ok((at | (self.size() - 1)) + 1)
    }

    /// Whether an entry with these bits is a leaf.
    #[inline(always)]
    const fn is_leaf(self, entry: u64) -> bool {
        self.shift == 12 || entry & HUGE != 0
    }
}

/// The first and the last address of a range, the last one exclusive.
#[inline(always)]
fn bounds(guest: GuestPhysRange) -> (u64, u64) {
    let start = guest.start().as_u64();
    (start, start + guest.size())
}

impl Walker {
    /// The table in which `at` is absent, or a leaf, or a table that ends before `end` and may be taken as a `WHOLE`.
    #[inline(always)]
    fn find<const WHOLE: bool>(&self, at: u64, end: u64) -> Place {
        let mut place = Place {
            table: self.0.root,
            shift: 39,
        };
        loop {
            // SAFETY: the table is one of the walker's.
            let entry = unsafe { read(place.table, place.index(at)) };
            let is_whole = WHOLE && place.begins_whole(at, end);
            if entry == 0 || place.is_leaf(entry) || is_whole {
                return place;
            }
            place = Place {
                table: HostPhysAddr::new(entry & ADDRESS),
                shift: place.shift - 9,
            };
        }
    }

    /// The table in which a leaf of `1 << shift` bytes for `at` stands; missing ones are made.
    #[inline(always)]
    fn make(&mut self, at: u64, shift: u32) -> Result<Place> {
        let mut place = Place {
            table: self.0.root,
            shift: 39,
        };
        while place.shift > shift {
            // SAFETY: the table is one of the walker's.
            let mut entry = unsafe { read(place.table, place.index(at)) };
            if entry == 0 {
                entry = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(place.table, place.index(at), entry) };
            } else if place.is_leaf(entry) {
                bail!("something is mapped already");
            }
            place = Place {
                table: HostPhysAddr::new(entry & ADDRESS),
                shift: place.shift - 9,
            };
        }
        Ok(place)
    }

    /// Changes each leaf between `at` and `end` to what `change` makes of its bits and its shift.
    #[inline(always)]
    fn each_leaf(
        &self,
        (mut at, end): (u64, u64),
        mut change: impl FnMut(u64, u32) -> u64,
    ) -> Result<()> {
        while at < end {
            let place = self.find::<false>(at, end);
            if !place.begins_whole(at, end) {
                at = place.skip(at)?;
                continue;
            }
            let (first, count) = (place.index(at), place.count(at, end));
            let mut done = 0;
            while done < count {
                // SAFETY: the table is one of the walker's, and has that many entries.
                let entry = unsafe { read(place.table, first + done) };
                if entry != 0 {
                    if !place.is_leaf(entry) {
                        break;
                    }
                    let changed = change(entry, place.shift);
                    if changed != entry {
                        // SAFETY: as above.
                        unsafe { write(place.table, first + done, changed) };
                    }
                }
                done += 1;
            }
            at += (done as u64) << place.shift;
        }
        Ok(())
    }

    /// Removes every leaf, whole tables at once.
    #[inline(always)]
    fn remove(&mut self, (mut at, end): (u64, u64)) -> Result<()> {
        while at < end {
            let place = self.find::<true>(at, end);
            if !place.begins_whole(at, end) {
                at = place.skip(at)?;
                continue;
            }
            let (first, count) = (place.index(at), place.count(at, end));
            for number in first..first + count {
                // SAFETY: the table is one of the walker's, and has that many entries.
                let entry = unsafe { read(place.table, number) };
                // SAFETY: as above.
                unsafe { write(place.table, number, 0) };
                if place.shift > 12 && entry != 0 && !place.is_leaf(entry) {
                    release(HostPhysAddr::new(entry & ADDRESS), place.shift - 9);
                }
            }
            at += (count as u64) << place.shift;
        }
        Ok(())
    }

    /// Maps what lies between `at` and `end` to `host`, with the attributes `bits`.
    #[inline(always)]
    fn place(&mut self, (mut at, end): (u64, u64), host: u64, bits: u64) -> Result<()> {
        let delta = host.wrapping_sub(at);
        while at < end {
            let shift = self.leaf_shift(at, end, delta);
            let place = self.make(at, shift)?;
            let (first, count) = (place.index(at), place.count(at, end));
            let huge = if shift > 12 { HUGE } else { 0 };
            let leaf = at.wrapping_add(delta) | bits | huge;
            for number in 0..count {
                // SAFETY: the table is one of the walker's, and has that many entries.
                if unsafe { read(place.table, first + number) } != 0 {
                    bail!("something is mapped already");
                }
                let leaf = leaf + ((number as u64) << shift);
                // SAFETY: as above.
                unsafe { write(place.table, first + number, leaf) };
            }
            at += (count as u64) << shift;
        }
        Ok(())
    }

    /// The shift of the largest leaf that may begin at `at`.
    #[inline(always)]
    fn leaf_shift(&self, at: u64, end: u64, delta: u64) -> u32 {
        let fits = |shift: u32| (at | delta) & ((1 << shift) - 1) == 0 && end - at >= 1 << shift;
        match self.0.leaves {
            Leaves::Largest if fits(30) => 30,
            Leaves::Largest if fits(21) => 21,
            _ => 12,
        }
    }
}

/// Gives back `table`, which nothing leads to any more, and those below it.
#[cold]
fn release(table: HostPhysAddr, shift: u32) {
    let above = SHIFTS.iter().position(|of_table| *of_table == shift);
    let shifts = SHIFTS.get(above.unwrap_or_default()..).unwrap_or_default();
    // SAFETY: it was one of the walker's tables, and nothing leads to it.
    unsafe { free(table, shifts) }
}

impl PageTable for Walker {
    const NAME: &'static str = "range walker";
    const PROMISES: Promises = Promises::Bare;

    fn refuses(workload: &str) -> Option<&'static str> {
        (workload == "W8").then_some("no huge leaf is split")
    }

    fn new(leaves: Leaves) -> Result<Self> {
        FloorTable::new(leaves).map(Self)
    }

    #[inline(always)]
    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        self.place(bounds(guest), host.as_u64(), bits(access))
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.remove(bounds(guest))
    }

    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        self.each_leaf(bounds(guest), |entry, shift| {
            report(described(entry, shift));
            0
        })?;
        self.remove(bounds(guest))
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let permissions = bits(access) & PERMISSIONS;
        self.each_leaf(bounds(guest), |entry, _| entry & !PERMISSIONS | permissions)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        self.0.translate(address)
    }

    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        self.each_leaf(bounds(guest), |entry, shift| {
            visitor(described(entry, shift));
            entry
        })
    }

    fn access(flags: u64) -> Option<Access> {
        FloorTable::access(flags)
    }
}
