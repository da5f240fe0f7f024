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

/// A table on the way, and what is done in it.
#[derive(Clone, Copy)]
struct Part {
    table: HostPhysAddr,
    /// How many bits of address are below an entry's.
    shift: u32,
    start: u64,
    end: u64,
}

impl Part {
    #[inline(always)]
    fn of(table: &FloorTable, guest: GuestPhysRange) -> Self {
        Self {
            table: table.root,
            shift: 39,
            start: guest.start().as_u64(),
            end: guest.start().as_u64() + guest.size(),
        }
    }

    /// The part of this that the entry for `start` translates; in the table that it leads to.
    #[inline(always)]
    fn below(self, start: u64, table: HostPhysAddr) -> Self {
        let entry_end = ((start >> self.shift) + 1) << self.shift;
        Self {
            table,
            shift: self.shift - 9,
            start,
            end: self.end.min(entry_end),
        }
    }

    /// Whether all that the entry above translates is in this.
    #[inline(always)]
    const fn is_whole(self) -> bool {
        self.end - self.start == 1 << (self.shift + 9)
    }

    /// The index of `address`.
    #[inline(always)]
    const fn index(self, address: u64) -> usize {
        (address >> self.shift) as usize % ENTRIES
    }

    /// The shifts of this table and those below.
    fn shifts(self) -> &'static [u32] {
        let above = SHIFTS.iter().position(|shift| *shift == self.shift);
        SHIFTS.get(above.unwrap_or_default()..).unwrap_or_default()
    }

    /// Whether an entry with these bits is a leaf.
    #[inline(always)]
    const fn is_leaf(self, entry: u64) -> bool {
        self.shift == 12 || entry & HUGE != 0
    }

    /// Calls `change` with each leaf, which is replaced by what it returns. Tables of which nothing is left
    /// are given back if `REMOVE`.
    fn each_leaf<const REMOVE: bool>(self, change: &mut impl FnMut(u64, u32) -> u64) -> Result<()> {
        let mut at = self.start;
        while at < self.end {
            let index = self.index(at);
            // SAFETY: the table is one of the walker's.
            let entry = unsafe { read(self.table, index) };
            let end = ((at >> self.shift) + 1) << self.shift;
            if entry == 0 {
                at = end;
                continue;
            }
            if self.is_leaf(entry) {
                if end > self.end || end - at != 1 << self.shift {
                    bail!("a leaf is not split");
                }
                let changed = change(entry, self.shift);
                if changed != entry {
                    // SAFETY: as above.
                    unsafe { write(self.table, index, changed) };
                }
            } else {
                let table = HostPhysAddr::new(entry & ADDRESS);
                let below = self.below(at, table);
                below.each_leaf::<REMOVE>(change)?;
                if REMOVE && below.is_whole() {
                    // SAFETY: as above.
                    unsafe { write(self.table, index, 0) };
                    // SAFETY: every leaf below was just removed, and every table.
                    unsafe { free(table, &[]) };
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Removes the leaves of 4 KiB that are in this, which is in a table of such leaves.
    #[inline(always)]
    fn unmap_pages(self) {
        let first = self.index(self.start);
        for number in 0..((self.end - self.start) >> 12) as usize {
            // SAFETY: the table is one of the walker's, and the range ends in it.
            unsafe { write(self.table, first + number, 0) };
        }
    }

    /// Maps the same to `host`.
    #[inline(always)]
    fn map_pages(self, host: u64, bits: u64) -> Result<()> {
        let first = self.index(self.start);
        let count = ((self.end - self.start) >> 12) as usize;
        for number in 0..count {
            // SAFETY: the table is one of the walker's, and the range ends in it.
            if unsafe { read(self.table, first + number) } != 0 {
                bail!("something is mapped already");
            }
            let leaf = (host + ((number as u64) << 12)) | bits;
            // SAFETY: as above.
            unsafe { write(self.table, first + number, leaf) };
        }
        Ok(())
    }

    /// Removes every leaf, whole tables at once.
    fn unmap(self) -> Result<()> {
        if self.shift == 12 {
            self.unmap_pages();
            return Ok(());
        }
        let mut at = self.start;
        while at < self.end {
            let index = self.index(at);
            let end = ((at >> self.shift) + 1) << self.shift;
            // SAFETY: the table is one of the walker's.
            let entry = unsafe { read(self.table, index) };
            if entry != 0 {
                let is_whole = end <= self.end && end - at == 1 << self.shift;
                if is_whole {
                    // SAFETY: as above.
                    unsafe { write(self.table, index, 0) };
                }
                if !self.is_leaf(entry) {
                    let below = self.below(at, HostPhysAddr::new(entry & ADDRESS));
                    match is_whole {
                        // SAFETY: nothing leads to the table any more.
                        true => unsafe { free(below.table, below.shifts()) },
                        false => below.unmap()?,
                    }
                } else if !is_whole {
                    bail!("a leaf is not split");
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Maps this to the memory from `host` on, with leaves of `bits`.
    fn map(self, mut host: u64, bits: u64, leaves: Leaves) -> Result<()> {
        if self.shift == 12 {
            return self.map_pages(host, bits);
        }
        let mut at = self.start;
        let size = 1_u64 << self.shift;
        while at < self.end {
            let index = self.index(at);
            // SAFETY: the table is one of the walker's.
            let mut entry = unsafe { read(self.table, index) };
            if self.makes_leaf(at, host, leaves) {
                if entry != 0 {
                    bail!("something is mapped already");
                }
                // SAFETY: as above.
                unsafe { write(self.table, index, host | bits | HUGE) };
                at += size;
                host += size;
                continue;
            }
            if entry == 0 {
                entry = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(self.table, index, entry) };
            } else if entry & HUGE != 0 {
                bail!("something is mapped already");
            }
            let below = self.below(at, HostPhysAddr::new(entry & ADDRESS));
            below.map(host, bits, leaves)?;
            host += below.end - at;
            at = below.end;
        }
        Ok(())
    }

    /// Whether a leaf of this table begins at `at` and leads to `host`.
    #[inline(always)]
    fn makes_leaf(self, at: u64, host: u64, leaves: Leaves) -> bool {
        let size = 1_u64 << self.shift;
        match self.shift {
            21 | 30 if leaves == Leaves::Largest => {
                (at | host) & (size - 1) == 0 && self.end - at >= size
            }
            _ => false,
        }
    }
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
        let leaves = self.0.leaves;
        Part::of(&self.0, guest).map(host.as_u64(), bits(access), leaves)
    }

    #[inline(always)]
    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        Part::of(&self.0, guest).unmap()
    }

    #[inline(always)]
    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        Part::of(&self.0, guest).each_leaf::<true>(&mut |entry, shift| {
            report(described(entry, shift));
            0
        })
    }

    #[inline(always)]
    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        let permissions = bits(access) & PERMISSIONS;
        let change = &mut |entry, _| entry & !PERMISSIONS | permissions;
        Part::of(&self.0, guest).each_leaf::<false>(change)
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        self.0.translate(address)
    }

    #[inline(always)]
    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        Part::of(&self.0, guest).each_leaf::<false>(&mut |entry, shift| {
            visitor(described(entry, shift));
            entry
        })
    }

    fn access(flags: u64) -> Option<Access> {
        FloorTable::access(flags)
    }
}
