//! Leaves of every size, and the edges of the guest-physical address space.
#![expect(unsafe_code, reason = "maps more memory than the guest may use")]

use nested_paging::nested_page_table::{Format, Level};
use nested_paging::{GuestPhysAddr, HostPhysAddr, MappingFlags};

use super::{GIB_1, KIB_4, MIB_2, WINDOW, arena};
use crate::ensure;
use crate::guest::{Bench, Guest};
use crate::machine::Machine;
use crate::report::Failure;
use crate::test_hal::approve_all;

const FLAGS: MappingFlags = MappingFlags::ACCESS;

/// Pages, 2 MiB and, where the arena holds one, 1 GiB.
pub(super) fn page_sizes<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let levels = [
        (Level::PAGE_4K, KIB_4),
        (Level::BLOCK_2M, MIB_2),
        (Level::BLOCK_1G, GIB_1),
    ];
    let fits = |size| size <= bench.machine.arena().size();
    let largest = bench.mode.format.geometry().largest_leaf();
    for (level, size) in levels.into_iter().filter(|&(_, size)| fits(size)) {
        if level > largest {
            break;
        }
        let guest = bench.guest()?;
        let host = arena(bench, 0);
        guest.map(WINDOW, host, size, FLAGS)?;
        expect_level(&guest, WINDOW, level)?;
        for offset in [0, (size / 2) & !(KIB_4 - 1), size - KIB_4] {
            guest.expect(WINDOW + offset, Some((arena(bench, offset), FLAGS)))?;
        }
        guest.expect(WINDOW - KIB_4, None)?;
        guest.expect(WINDOW + size, None)?;
    }
    Ok(())
}

/// The 512 GiB from host address 0 on as one leaf, where there are such leaves.
pub(super) fn largest_leaf<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    const SIZE: u64 = 512 * GIB_1;
    let geometry = bench.mode.format.geometry();
    let arena_at = bench.machine.arena();
    let reachable = arena_at.last().as_u64() < SIZE;
    if geometry.largest_leaf() < Level::BLOCK_512G || !reachable {
        return Ok(());
    }
    let guest = bench.guest()?;
    // SAFETY: the guest is asked below for accesses to the arena alone.
    unsafe { approve_all(true) };
    let mapped = guest.map(SIZE, HostPhysAddr::ZERO, SIZE, FLAGS);
    // SAFETY: nothing is approved from here on that was not before.
    unsafe { approve_all(false) };
    mapped?;
    expect_level(&guest, SIZE, Level::BLOCK_512G)?;
    for offset in [0, arena_at.size() - KIB_4] {
        let host = arena(bench, offset);
        guest.expect(SIZE + host.as_u64(), Some((host, FLAGS)))?;
    }
    guest.expect(2 * SIZE, None)
}

/// The last page that the mode can translate and a guest can name: where the two agree, every index is
/// at its maximum.
pub(super) fn last_page<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = bench.guest()?;
    let bits = bench.mode.format.geometry().input_bits();
    let bits = bits.min(M::ADDRESS_BITS);
    let last = (1_u64 << bits) - KIB_4;
    guest.expect(last, None)?;
    guest.map(last, arena(bench, 0), KIB_4, FLAGS)?;
    guest.expect(last, Some((arena(bench, 0), FLAGS)))?;
    guest.expect(last - KIB_4, None)?;
    // The index is not cut short: what has the same low bits is another page.
    guest.expect(last & ((1 << (bits - 1)) - 1), None)
}

/// An address that is too wide faults: it is no alias of a narrower one.
pub(super) fn beyond_the_width<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let bits = bench.mode.format.geometry().input_bits();
    if bits >= M::ADDRESS_BITS {
        return Ok(());
    }
    let guest = bench.guest()?;
    guest.map(WINDOW, arena(bench, 0), KIB_4, FLAGS)?;
    guest.expect(WINDOW | 1 << bits, None)?;
    guest.expect(WINDOW, Some((arena(bench, 0), FLAGS)))
}

fn expect_level<M: Machine>(guest: &Guest<'_, M>, gpa: u64, level: Level) -> Result<(), Failure> {
    let leaf = guest.vm.translate(GuestPhysAddr::new(gpa));
    let found = leaf.map(|leaf| leaf.level);
    ensure!(found == Some(level), "{found:x?} at {gpa:#x}, not {level}");
    Ok(())
}
