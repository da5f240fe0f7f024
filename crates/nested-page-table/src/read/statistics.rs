//! How much a table maps, and what it costs.

use core::ops::ControlFlow;

use guest_addr::PAGE_SIZE_4K;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::tree::tables::Tables;

/// Counts over a whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// The tables of each level, the root as one.
    pub tables: [u64; Level::COUNT],
    /// The leaves of each level.
    pub leaves: [u64; Level::COUNT],
    /// The frames of 4 KiB that the tables take, root included.
    pub table_frames: u64,
    /// The bytes that the leaves map.
    pub mapped_bytes: u64,
}

impl Statistics {
    /// The bytes that the tables take, root included.
    #[must_use]
    pub const fn table_bytes(&self) -> u64 {
        self.table_frames.saturating_mul(PAGE_SIZE_4K)
    }
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Counts tables and leaves by visiting every entry.
    pub(crate) fn statistics(&self) -> Statistics {
        let geometry = *self.geometry();
        let mut statistics = Statistics {
            table_frames: geometry.root_frames(),
            ..Statistics::default()
        };
        count(&mut statistics.tables, Some(geometry.root_level()));
        let _: ControlFlow<()> = self.visit_entries(geometry.all_guest(), |visited| {
            match visited.entry {
                Entry::Table(_) => {
                    statistics.table_frames += 1;
                    count(&mut statistics.tables, visited.level.below());
                }
                _ => {
                    statistics.mapped_bytes += visited.guest.size();
                    count(&mut statistics.leaves, Some(visited.level));
                }
            }
            ControlFlow::Continue(())
        });
        statistics
    }
}

fn count(counts: &mut [u64; Level::COUNT], level: Option<Level>) {
    let counted = level.and_then(|level| counts.get_mut(usize::from(level.number())));
    if let Some(counted) = counted {
        *counted += 1;
    }
}
