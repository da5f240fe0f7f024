//! The same table with every check, for what is not timed.

use anyhow::{Context, Result, bail};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{ALL_ACCESS, Access, Leaf, Leaves, PageTable, Promises};
use crate::floor::{
    ADDRESS, FloorTable, HUGE, PERMISSIONS, SHIFTS, TABLE, bits, index, read, write, zeroed,
};

/// The size of a page, as a shift.
const PAGE_SHIFT: u32 = 12;

impl FloorTable {
    /// The leaf for `address`: the table it is in, its bits, and the bits of address below it.
    #[inline]
    pub(super) fn leaf(&self, address: GuestPhysAddr) -> Option<(HostPhysAddr, u64, u32)> {
        let mut table = self.root;
        for shift in SHIFTS {
            // SAFETY: the root is a table of this, and so is what an entry above a leaf leads to.
            match unsafe { read(table, index(address, shift)) } {
                0 => return None,
                bits if shift == PAGE_SHIFT || bits & HUGE != 0 => {
                    return Some((table, bits, shift));
                }
                bits => table = HostPhysAddr::new(bits & ADDRESS),
            }
        }
        None
    }

    /// Makes the leaf of `1 << leaf_shift` bytes for `address`, and the tables above it.
    fn put(
        &mut self,
        address: GuestPhysAddr,
        host: HostPhysAddr,
        leaf_shift: u32,
        access: Access,
    ) -> Result<()> {
        let mut table = self.root;
        for shift in SHIFTS.into_iter().filter(|shift| *shift > leaf_shift) {
            // SAFETY: the root is a table of this, and so is what `bits` lead to.
            let mut entry = unsafe { read(table, index(address, shift)) };
            if entry & HUGE != 0 {
                bail!("a leaf is in the way at {address}");
            } else if entry == 0 {
                entry = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(table, index(address, shift), entry) };
            }
            table = HostPhysAddr::new(entry & ADDRESS);
        }
        let size_bit = if leaf_shift > PAGE_SHIFT { HUGE } else { 0 };
        let leaf = host.as_u64() | bits(access) | size_bit;
        // SAFETY: as above.
        unsafe { write(table, index(address, leaf_shift), leaf) };
        Ok(())
    }

    /// The largest leaf that may begin at `guest` and `host`, `bytes` before the end.
    fn leaf_shift(&self, guest: GuestPhysAddr, host: HostPhysAddr, bytes: u64) -> u32 {
        let fits = |shift: &u32| {
            let aligned = guest.has_zero_low_bits(*shift) && host.has_zero_low_bits(*shift);
            aligned && bytes >= 1 << shift
        };
        match self.leaves {
            Leaves::Pages => PAGE_SHIFT,
            Leaves::Largest => [30, 21].into_iter().find(fits).unwrap_or(PAGE_SHIFT),
        }
    }

    /// Calls `change` with the table, the index and the bits of each leaf in `range`, all of which are as large
    /// as [`leaf_shift`](Self::leaf_shift) makes them.
    fn each_leaf(
        &self,
        range: GuestPhysRange,
        mut change: impl FnMut(HostPhysAddr, usize, u64, u32),
    ) -> Result<()> {
        let mut done = 0;
        while done < range.size() {
            let address = range.start().checked_add(done).context("past the end")?;
            done += match self.leaf(address) {
                Some((table, leaf, shift)) => {
                    change(table, index(address, shift), leaf, shift);
                    1 << shift
                }
                None => PAGE_SIZE_4K,
            };
        }
        Ok(())
    }
}

/// What a leaf says, in words that others understand.
#[inline(always)]
pub(super) fn described(bits: u64, shift: u32) -> Leaf {
    Leaf {
        host: HostPhysAddr::new(bits & ADDRESS),
        bytes: 1 << shift,
        flags: bits & PERMISSIONS,
    }
}

impl PageTable for FloorTable {
    const NAME: &'static str = "floor";
    const PROMISES: Promises = Promises::Bare;

    fn new(leaves: Leaves) -> Result<Self> {
        let root = zeroed().context("no frame for a root")?;
        Ok(Self { root, leaves })
    }

    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr, access: Access) -> Result<()> {
        let mut done = 0;
        while done < guest.size() {
            let from = guest.start().checked_add(done).context("past the end")?;
            let to = host.checked_add(done).context("past the end")?;
            let shift = self.leaf_shift(from, to, guest.size() - done);
            self.put(from, to, shift, access)?;
            done += 1 << shift;
        }
        Ok(())
    }

    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.unmap_reporting(guest, |_| {})
    }

    fn unmap_reporting(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(Leaf),
    ) -> Result<()> {
        self.each_leaf(guest, |table, index, leaf, shift| {
            report(described(leaf, shift));
            // SAFETY: the leaf was found there.
            unsafe { write(table, index, 0) };
        })
    }

    fn protect(&mut self, guest: GuestPhysRange, access: Access) -> Result<()> {
        self.each_leaf(guest, |table, index, leaf, _| {
            let protected = leaf & !PERMISSIONS | bits(access);
            // SAFETY: the leaf was found there.
            unsafe { write(table, index, protected) };
        })
    }

    #[inline(always)]
    fn translate(&self, address: GuestPhysAddr) -> Option<Leaf> {
        let (_, leaf, shift) = self.leaf(address)?;
        let leaf = described(leaf, shift);
        let offset = address.as_u64() & (leaf.bytes - 1);
        Some(Leaf {
            host: HostPhysAddr::new(leaf.host.as_u64() | offset),
            ..leaf
        })
    }

    fn visit(&self, guest: GuestPhysRange, mut visitor: impl FnMut(Leaf)) -> Result<()> {
        self.each_leaf(guest, |_, _, leaf, shift| visitor(described(leaf, shift)))
    }

    fn access(flags: u64) -> Option<Access> {
        ALL_ACCESS
            .into_iter()
            .find(|access| bits(*access) & PERMISSIONS == flags)
    }
}
