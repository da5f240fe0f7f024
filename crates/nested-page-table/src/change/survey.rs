//! What a mapping or an unmapping needs, found without changing anything.

use guest_addr::GuestPhysRange;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::pass::{Found, Next, Seen};
use crate::tree::slots::tables_below;
use crate::tree::tables::{Table, Tables};

/// What a mapping or an unmapping needs.
pub(crate) struct Survey {
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

impl Survey {
    /// A survey for a mapping with leaves of at most `largest`, which has seen nothing yet.
    #[inline]
    pub(crate) fn to_map(largest: Level) -> Self {
        Self {
            counted: Found::Absent,
            largest,
            frames: 0,
            replaces_tables: false,
            in_the_way: None,
        }
    }

    /// A survey for an unmapping, which splits the leaves that reach beyond its range.
    #[inline]
    pub(crate) fn to_unmap() -> Self {
        Self {
            counted: Found::Leaf,
            ..Self::to_map(Level::HIGHEST)
        }
    }

    /// Looks at the part `range` of `top`.
    #[inline(never)]
    pub(crate) fn of<F: Format, H: TableHost>(
        &mut self,
        tables: &Tables<F, H>,
        top: Table,
        range: GuestPhysRange,
    ) {
        tables.pass(top, range, |seen| self.look_at(tables, seen));
    }

    #[inline]
    fn look_at<F: Format, H: TableHost>(&mut self, tables: &Tables<F, H>, seen: &Seen<'_>) -> Next {
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
            self.frames += tables_below(tables.geometry(), seen.level, &seen.portion, self.largest);
            return Next::Over;
        }
        self.in_the_way = tables.seen_leaf(seen);
        match self.in_the_way {
            Some(_) => Next::Stop,
            None => Next::Over,
        }
    }
}
