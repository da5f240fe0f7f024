//! Changes of what is mapped, seen by a processor that has used the old.

use nested_paging::MappingFlags;

use super::{GIB_1, KIB_4, MIB_2, WINDOW, arena};
use crate::ensure;
use crate::guest::Bench;
use crate::machine::Machine;
use crate::report::Failure;

const ALL: MappingFlags = MappingFlags::ACCESS;

/// Blocks of which a page is taken: the rest stays, to the page.
pub(super) fn split_by_unmap<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    for (size, hole) in blocks(bench) {
        let guest = bench.guest()?;
        guest.map(WINDOW, arena(bench, 0), size, ALL)?;
        for offset in around(size, hole) {
            guest.expect(WINDOW + offset, Some((arena(bench, offset), ALL)))?;
        }
        guest.unmap(WINDOW + hole, KIB_4)?;
        for offset in around(size, hole) {
            let there = (offset != hole).then(|| (arena(bench, offset), ALL));
            guest.expect(WINDOW + offset, there)?;
        }
    }
    Ok(())
}

/// Blocks of which a page loses permissions: the rest keeps them, to the page.
pub(super) fn split_by_protect<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    for (size, page) in blocks(bench) {
        let guest = bench.guest()?;
        guest.map(WINDOW, arena(bench, 0), size, ALL)?;
        guest.expect(WINDOW + page, Some((arena(bench, page), ALL)))?;
        guest.protect(WINDOW + page, KIB_4, MappingFlags::READ)?;
        for offset in around(size, page) {
            let flags = if offset == page {
                MappingFlags::READ
            } else {
                ALL
            };
            guest.expect(WINDOW + offset, Some((arena(bench, offset), flags)))?;
        }
    }
    Ok(())
}

/// What is left of a block of device or uncached memory is still that.
pub(super) fn split_keeps_memory_type<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    for memory_type in [MappingFlags::DEVICE, MappingFlags::UNCACHED] {
        let flags = MappingFlags::READ_WRITE | memory_type;
        if !bench.accepts(flags) {
            continue;
        }
        let guest = bench.guest()?;
        guest.map(WINDOW, arena(bench, 0), MIB_2, flags)?;
        let before = guest.memory_type(WINDOW)?;
        guest.unmap(WINDOW + KIB_4, KIB_4)?;
        guest.protect(WINDOW + 4 * KIB_4, KIB_4, MappingFlags::READ)?;
        for page in [0, 2, 4, 511] {
            let after = guest.memory_type(WINDOW + page * KIB_4)?;
            ensure!(
                before == after,
                "{flags}: {before:?} became {after:?} at page {page}"
            );
        }
        guest.expect(WINDOW, Some((arena(bench, 0), flags)))?;
    }
    Ok(())
}

/// The same guest address leads elsewhere after it was unmapped and mapped again.
pub(super) fn remap<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = bench.guest()?;
    for (size, stride) in [(KIB_4, KIB_4), (MIB_2, MIB_2)] {
        for round in 0..4 {
            let host = arena(bench, round * stride);
            guest.map(WINDOW, host, size, ALL)?;
            guest.expect(WINDOW, Some((host, ALL)))?;
            guest.unmap(WINDOW, size)?;
            guest.expect(WINDOW, None)?;
        }
    }
    Ok(())
}

/// Permissions go and come back, and the hardware has forgotten the old ones each time.
pub(super) fn permissions<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let steps = [
        MappingFlags::READ,
        MappingFlags::READ_WRITE,
        MappingFlags::READ | MappingFlags::EXECUTE,
        ALL,
        MappingFlags::EXECUTE,
        MappingFlags::READ,
        ALL,
    ];
    let guest = bench.guest()?;
    let host = arena(bench, 0);
    guest.map(WINDOW, host, MIB_2, ALL)?;
    guest.expect(WINDOW, Some((host, ALL)))?;
    for flags in steps.into_iter().filter(|&flags| bench.accepts(flags)) {
        guest.protect(WINDOW, MIB_2, flags)?;
        guest.expect(WINDOW, Some((host, flags)))?;
    }
    Ok(())
}

/// Blocks that fit the arena, each with a page in it.
fn blocks<M: Machine>(bench: &Bench<'_, M>) -> impl Iterator<Item = (u64, u64)> {
    let arena = bench.machine.arena().size();
    let blocks = [
        (MIB_2, 0),
        (MIB_2, 5 * KIB_4),
        (MIB_2, MIB_2 - KIB_4),
        (GIB_1, 7 * MIB_2 + 3 * KIB_4),
    ];
    blocks.into_iter().filter(move |&(size, _)| size <= arena)
}

/// `page`, its neighbours in the block, and the pages at the block's ends and a 2 MiB further.
fn around(size: u64, page: u64) -> impl Iterator<Item = u64> {
    let offsets = [
        Some(page),
        page.checked_sub(KIB_4),
        page.checked_add(KIB_4),
        page.checked_add(MIB_2),
        Some(0),
        size.checked_sub(KIB_4),
    ];
    offsets
        .into_iter()
        .flatten()
        .filter(move |&offset| offset < size)
}
