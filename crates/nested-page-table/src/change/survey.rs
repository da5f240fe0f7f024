//! What a mapping or an unmapping needs, found without changing anything.

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::pass::{Found, Look, Next, Run, Seen};
use crate::tree::slots::tables_below;
use crate::tree::tables::{Part, Tables};
use crate::tree::words::Word;

/// What a mapping or an unmapping needs.
pub(crate) struct Survey<'t, F: Format, H: TableHost> {
    tables: &'t Tables<F, H>,
    /// What the operation puts tables in the place of: absent entries where it maps, leaves where it unmaps.
    counted: Found,
    /// The highest level at which the operation replaces tables that are covered whole.
    largest: Level,
    /// Frames for new tables.
    pub(crate) frames: u64,
    /// Such tables were found.
    pub(crate) replaces_tables: bool,
    /// The first leaf in the way of a mapping; then the rest was not looked at.
    pub(crate) in_the_way: Option<Mapping>,
}

impl<'t, F: Format, H: TableHost> Survey<'t, F, H> {
    /// A survey for a mapping with leaves of at most `largest`, which has seen nothing yet.
    #[inline]
    pub(crate) fn to_map(tables: &'t Tables<F, H>, largest: Level) -> Self {
        Self {
            tables,
            counted: Found::Absent,
            largest,
            frames: 0,
            replaces_tables: false,
            in_the_way: None,
        }
    }

    /// A survey for an unmapping, which splits the leaves that reach beyond its range.
    #[inline]
    pub(crate) fn to_unmap(tables: &'t Tables<F, H>) -> Self {
        Self {
            counted: Found::Leaf,
            ..Self::to_map(tables, Level::HIGHEST)
        }
    }

    /// Looks at `top`.
    #[inline]
    pub(crate) fn of(&mut self, top: &Part) {
        self.tables.pass_over(top, self);
    }
}

impl<F: Format, H: TableHost> Look for Survey<'_, F, H> {
    /// No frames are for the asking where the operation maps or unmaps whole leaves.
    fn run(&mut self, run: &Run<'_>) -> usize {
        if run.level > self.largest {
            return 0;
        }
        let is_unmapped = self.counted == Found::Leaf;
        let needs_nothing = |entry: &&Word| match self.tables.find(run.level, entry.load()) {
            Found::Absent => true,
            Found::Leaf => is_unmapped,
            Found::Table(_) => false,
        };
        run.entries.iter().take_while(needs_nothing).count()
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        if let Found::Table(_) = seen.found {
            let is_replaced = seen.is_whole && seen.level <= self.largest;
            self.replaces_tables |= is_replaced;
            // Nor are the pages looked at, which are never split.
            let is_settled = is_replaced || seen.level == Level::BLOCK_2M;
            return match self.counted == Found::Leaf && is_settled {
                true => Next::Over,
                false => Next::Into,
            };
        }
        if seen.found == self.counted {
            let (geometry, portion) = (self.tables.geometry(), &seen.portion);
            self.frames += tables_below(geometry, seen.level, portion, self.largest);
            return Next::Over;
        }
        self.in_the_way = self.tables.seen_leaf(seen);
        match self.in_the_way {
            Some(_) => Next::Stop,
            None => Next::Over,
        }
    }
}
