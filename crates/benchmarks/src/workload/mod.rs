//! What is measured.

mod fill;
mod map;
mod protect;
mod single_pages;
mod split;
mod translate;
mod unmap;

pub(crate) use fill::Fill;
pub(crate) use map::Map;
pub(crate) use protect::Protect;
pub(crate) use single_pages::SinglePages;
pub(crate) use split::Split;
pub(crate) use translate::{Answer, Translate};
pub(crate) use unmap::Unmap;

use std::fmt::Debug;

use anyhow::{Context, Result, ensure};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Access, PageTable};

/// Where the guest's memory begins: a multiple of 1 GiB that is not 0.
pub(crate) const GUEST: GuestPhysAddr = GuestPhysAddr::new(0x10_0000_0000);
/// Where the host memory begins: a multiple of 1 GiB. Nothing reads or writes it.
pub(crate) const HOST: HostPhysAddr = HostPhysAddr::new(0x40_0000_0000);
/// A gibibyte.
pub(crate) const GIB: u64 = 1 << 30;
/// The size of a leaf of level 1.
pub(crate) const BLOCK_2M: u64 = 1 << 21;
/// The pages in 2 MiB.
const PAGES_OF_BLOCK: u32 = (BLOCK_2M / PAGE_SIZE_4K) as u32;
/// The pages in a GiB.
pub(crate) const PAGES: u64 = GIB / PAGE_SIZE_4K;
/// How many queries, or pairs of map and unmap, one round makes.
pub(crate) const OPERATIONS: u64 = 1_000_000;
/// How many addresses are compared when a run is verified.
const SAMPLES: u64 = 1009;

/// Something that is done to page tables, alike for every contender.
pub(crate) trait Workload {
    /// The name in reports.
    fn name(&self) -> &'static str;

    /// How many units one run does.
    fn units(&self) -> u64;

    /// The tables that a run begins with. Not timed.
    fn prepare<T: PageTable>(&self) -> Result<Vec<T>>;

    /// What is timed.
    fn run<T: PageTable>(&self, tables: &mut [T]) -> Result<()>;

    /// Compares, by samples, what a run has left with what it should have. Not timed.
    fn verify<T: PageTable>(&self, tables: &[T]) -> Result<()>;
}

/// `bytes` of guest memory from [`GUEST`] on.
pub(crate) fn guest(bytes: u64) -> Result<GuestPhysRange> {
    Ok(GuestPhysRange::from_start_size(GUEST, bytes)?)
}

/// The guest page `number`.
#[inline]
pub(crate) const fn guest_page(number: u32) -> GuestPhysAddr {
    GuestPhysAddr::new(GUEST.as_u64() + number as u64 * PAGE_SIZE_4K)
}

/// The guest page `number`, where the pages of each 2 MiB stay together. `SPREAD`: these 2 MiB are apart, so
/// that 1 GiB of pages lies in 64 GiB.
#[inline(always)]
pub(crate) const fn placed_page<const SPREAD: bool>(number: u32) -> GuestPhysAddr {
    let distance = match SPREAD {
        true => 64 * BLOCK_2M,
        false => BLOCK_2M,
    };
    let (block, page) = (number / PAGES_OF_BLOCK, number % PAGES_OF_BLOCK);
    let offset = block as u64 * distance + page as u64 * PAGE_SIZE_4K;
    GuestPhysAddr::new(GUEST.as_u64() + offset)
}

/// What the guest may do in the page that is mapped as number `turn`. `FLAGS`: two kinds take turns.
#[inline(always)]
pub(crate) const fn access_in_turn<const FLAGS: bool>(turn: usize) -> Access {
    match FLAGS && turn % 2 == 1 {
        true => Access::ReadWriteExecute,
        false => Access::ReadWrite,
    }
}

/// The host page `number`.
#[inline]
pub(crate) const fn host_page(number: u32) -> HostPhysAddr {
    HostPhysAddr::new(HOST.as_u64() + number as u64 * PAGE_SIZE_4K)
}

/// Numbers below `count`, in an order that is the same in every run.
pub(crate) fn random_numbers(count: u64, below: u32) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(count);
    (0..count).map(|_| random.u32(0..below)).collect()
}

/// Offsets spread over `bytes`, the first and the last byte included.
fn samples(bytes: u64) -> impl Iterator<Item = u64> {
    let spread = (0..SAMPLES).map(move |number| bytes / SAMPLES * number + number % PAGE_SIZE_4K);
    spread.chain([bytes - 1])
}

/// Checks that each table maps `bytes` from [`GUEST`] on to `host`, and nothing around them.
fn verify_linear<T: PageTable>(tables: &[T], host: HostPhysAddr, bytes: u64) -> Result<()> {
    for table in tables {
        for offset in samples(bytes) {
            let address = GUEST.checked_add(offset).context("past the end")?;
            let expected = host.checked_add(offset);
            verify_equal(address, table.host_of(address), expected)?;
        }
        verify_absent_around(table, bytes)?;
    }
    Ok(())
}

/// Checks that the bytes before and after `bytes` from [`GUEST`] on are not mapped.
fn verify_absent_around<T: PageTable>(table: &T, bytes: u64) -> Result<()> {
    for address in [GUEST.checked_sub(1), GUEST.checked_add(bytes)] {
        let address = address.context("past the end")?;
        verify_equal(address, table.host_of(address), None)?;
    }
    Ok(())
}

/// Checks that nothing of `bytes` from [`GUEST`] on is mapped.
fn verify_absent<T: PageTable>(table: &T, bytes: u64) -> Result<()> {
    for offset in samples(bytes) {
        let address = GUEST.checked_add(offset).context("past the end")?;
        verify_equal(address, table.host_of(address), None)?;
    }
    Ok(())
}

/// Checks what was found at `address`.
fn verify_equal<V: Debug + PartialEq>(at: GuestPhysAddr, found: V, expected: V) -> Result<()> {
    ensure!(
        found == expected,
        "at {at}: found {found:?}, expected {expected:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Leaves;
    use crate::floor::FloorTable;
    use crate::{arena, frames};

    /// The only test of this program that uses the arena, which is for one thread.
    #[test]
    fn a_wrong_table_is_noticed() {
        arena::map().unwrap();
        frames::fill();
        let mut tables = [FloorTable::new(Leaves::Pages).unwrap()];
        let all = guest(GIB).unwrap();
        tables[0].map(all, HOST, Access::ReadWrite).unwrap();
        assert!(verify_linear(&tables, HOST, GIB).is_ok());
        assert!(verify_linear(&tables, HOST, GIB / 2).is_err());
        assert!(verify_linear(&tables, HostPhysAddr::ZERO, GIB).is_err());
        assert!(verify_absent(&tables[0], GIB).is_err());
        assert!(Protect::W4.verify(&tables).is_err());
        tables[0].unmap_page(guest_page(0)).unwrap();
        assert!(verify_linear(&tables, HOST, GIB).is_err());
        assert!(frames::restore_order().is_err());
        drop(tables);
        assert!(frames::restore_order().is_ok());
    }
}
