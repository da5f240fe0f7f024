//! The same table with every check, for what is not timed.

use anyhow::{Context, Result, bail};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Leaves, PageTable};
use crate::floor::{
    ADDRESS, FloorTable, HUGE, LEAF, SHIFTS, TABLE, WRITABLE, index, read, write, zeroed,
};

/// The size of a page, as a shift.
const PAGE_SHIFT: u32 = 12;

impl FloorTable {
    /// The leaf for `address`: the table it is in, its bits, and the bits of address below it.
    fn leaf(&self, address: GuestPhysAddr) -> Option<(HostPhysAddr, u64, u32)> {
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
    fn put(&mut self, address: GuestPhysAddr, host: HostPhysAddr, leaf_shift: u32) -> Result<()> {
        let mut table = self.root;
        for shift in SHIFTS.into_iter().filter(|shift| *shift > leaf_shift) {
            // SAFETY: the root is a table of this, and so is what `bits` lead to.
            let mut bits = unsafe { read(table, index(address, shift)) };
            if bits & HUGE != 0 {
                bail!("a leaf is in the way at {address}");
            } else if bits == 0 {
                bits = zeroed().context("no frame for a table")?.as_u64() | TABLE;
                // SAFETY: as above.
                unsafe { write(table, index(address, shift), bits) };
            }
            table = HostPhysAddr::new(bits & ADDRESS);
        }
        let size_bit = if leaf_shift > PAGE_SHIFT { HUGE } else { 0 };
        let leaf = host.as_u64() | LEAF | size_bit;
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

    /// Replaces each leaf of 4 KiB in `range` by what `change` makes of it.
    fn change(&mut self, range: GuestPhysRange, change: impl Fn(u64) -> u64) -> Result<()> {
        for offset in (0..range.size()).step_by(PAGE_SIZE_4K as usize) {
            let address = range.start().checked_add(offset).context("past the end")?;
            let Some((table, leaf, PAGE_SHIFT)) = self.leaf(address) else {
                bail!("no page at {address}");
            };
            // SAFETY: the leaf was found there.
            unsafe { write(table, index(address, PAGE_SHIFT), change(leaf)) };
        }
        Ok(())
    }
}

impl PageTable for FloorTable {
    const NAME: &'static str = "floor";

    fn new(leaves: Leaves) -> Result<Self> {
        let root = zeroed().context("no frame for a root")?;
        Ok(Self { root, leaves })
    }

    fn map(&mut self, guest: GuestPhysRange, host: HostPhysAddr) -> Result<()> {
        let mut done = 0;
        while done < guest.size() {
            let from = guest.start().checked_add(done).context("past the end")?;
            let to = host.checked_add(done).context("past the end")?;
            let shift = self.leaf_shift(from, to, guest.size() - done);
            self.put(from, to, shift)?;
            done += 1 << shift;
        }
        Ok(())
    }

    fn unmap(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.change(guest, |_| 0)
    }

    fn protect(&mut self, guest: GuestPhysRange) -> Result<()> {
        self.change(guest, |leaf| leaf & !WRITABLE)
    }

    fn map_page(&mut self, guest: GuestPhysAddr, host: HostPhysAddr) -> Result<()> {
        self.put(guest, host, PAGE_SHIFT)
    }

    fn unmap_page(&mut self, guest: GuestPhysAddr) -> Result<()> {
        self.unmap(GuestPhysRange::from_start_size(guest, PAGE_SIZE_4K)?)
    }

    fn translate(&self, address: GuestPhysAddr) -> Option<HostPhysAddr> {
        let (_, leaf, shift) = self.leaf(address)?;
        let mask = (1 << shift) - 1;
        let start = leaf & ADDRESS & !mask;
        Some(HostPhysAddr::new(start | (address.as_u64() & mask)))
    }

    fn is_writable(&self, address: GuestPhysAddr) -> Option<bool> {
        let (_, leaf, _) = self.leaf(address)?;
        Some(leaf & WRITABLE != 0)
    }
}
