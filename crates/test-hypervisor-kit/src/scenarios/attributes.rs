//! Memory types.

use nested_paging::MappingFlags;
use reference_mmu::MemoryKind;

use super::{KIB_4, MIB_2, WINDOW, arena};
use crate::ensure;
use crate::guest::Bench;
use crate::machine::Machine;
use crate::report::Failure;

/// Device and uncached memory: the hardware takes the leaf, and sees the type where it shows it.
pub(super) fn memory_types<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let types = [
        MappingFlags::empty(),
        MappingFlags::UNCACHED,
        MappingFlags::DEVICE,
    ];
    let guest = bench.guest()?;
    for (number, memory_type) in (0..).zip(types) {
        let flags = MappingFlags::READ_WRITE | memory_type;
        if !bench.accepts(flags) {
            continue;
        }
        for (gpa, offset, size) in [
            (WINDOW + number * KIB_4, number * KIB_4, KIB_4),
            (WINDOW + (number + 1) * MIB_2, (number + 1) * MIB_2, MIB_2),
        ] {
            let host = arena(bench, offset);
            guest.map(gpa, host, size, flags)?;
            guest.expect(gpa, Some((host, flags)))?;
            let (kind, attributes) = guest.memory_type(gpa)?;
            ensure!(
                means(kind, memory_type),
                "the reference calls {flags} {kind:?}"
            );
            let seen = guest.visible_memory_type(gpa);
            ensure!(
                seen.is_none_or(|seen| seen == attributes),
                "the hardware sees {seen:?}, the reference {attributes:?}"
            );
        }
    }
    Ok(())
}

/// Whether `kind` is what the flag asks for. `Platform` is what is left to the platform.
fn means(kind: MemoryKind, flag: MappingFlags) -> bool {
    match kind {
        MemoryKind::Platform => flag != MappingFlags::UNCACHED,
        MemoryKind::WriteBack => flag.is_empty(),
        MemoryKind::Uncached => flag == MappingFlags::UNCACHED,
        MemoryKind::Device => flag == MappingFlags::DEVICE,
        MemoryKind::Uncacheable => !flag.is_empty(),
        MemoryKind::Other => false,
    }
}
