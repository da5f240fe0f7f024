//! What a guest may do.

use nested_paging::MappingFlags;

use super::{GIB_1, KIB_4, MIB_2, WINDOW, arena};
use crate::guest::Bench;
use crate::machine::Machine;
use crate::report::Failure;

/// Nothing is there: every access faults, next to what is mapped too.
pub(super) fn unmapped<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = bench.guest()?;
    for gpa in [0, WINDOW, WINDOW + GIB_1 - KIB_4] {
        guest.expect(gpa, None)?;
    }
    let flags = MappingFlags::READ_WRITE;
    guest.map(WINDOW, arena(bench, 0), KIB_4, flags)?;
    guest.expect(WINDOW, Some((arena(bench, 0), flags)))?;
    guest.expect(WINDOW - KIB_4, None)?;
    guest.expect(WINDOW + KIB_4, None)
}

/// Every combination that the format accepts, read-only, execute-only and no-execute among them, in
/// pages and in a block.
pub(super) fn permissions<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = bench.guest()?;
    let all = 0..=MappingFlags::PERMISSIONS.bits();
    let all = all.map(MappingFlags::from_bits_truncate);
    for flags in all.filter(|&flags| bench.accepts(flags)) {
        let number = u64::from(flags.bits());
        let page = WINDOW + number * KIB_4;
        let host = arena(bench, number * KIB_4);
        guest.map(page, host, KIB_4, flags)?;
        guest.expect(page, Some((host, flags)))?;
        let block = WINDOW + (number + 1) * MIB_2;
        let host = arena(bench, (number + 1) * MIB_2);
        guest.map(block, host, MIB_2, flags)?;
        guest.expect(block, Some((host, flags)))?;
    }
    Ok(())
}
