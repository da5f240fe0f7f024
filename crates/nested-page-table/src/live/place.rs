//! The entry where a walk through a shared reference ends.

use guest_addr::GuestPhysAddr;

use crate::contract::entry::{Entry, Leaf};
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::mapping::Mapping;
use crate::tree::slots::span_of;
use crate::tree::tables::Tables;
use crate::tree::words::Word;

/// An entry, and the word that was read from it. Another CPU may have changed the entry since.
pub(crate) struct Place<'t> {
    pub(crate) level: Level,
    pub(crate) entry: &'t Word,
    pub(crate) bits: u64,
}

/// What the word in a place means to an operation.
pub(crate) enum Occupant {
    /// Nothing: the word is that of an absent entry.
    Nothing,
    /// A note: another CPU has frozen the entry.
    Frozen,
    Leaf(Leaf),
    /// A table where the operation wants a leaf.
    Table,
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Follows tables down to `lowest`, or to the entry above that points to no table. `None` beyond the input width.
    ///
    /// Acquire: a table is complete when its link is seen.
    pub(crate) fn place(&self, address: GuestPhysAddr, lowest: Level) -> Option<Place<'_>> {
        let mut level = self.root().level;
        let mut entry = self.root_entry(level, address)?;
        loop {
            let bits = entry.load_acquire();
            let (Some(below), Entry::Table(table)) =
                (level.below(), self.format.decode_own(level, bits))
            else {
                return Some(Place { level, entry, bits });
            };
            if level <= lowest {
                return Some(Place { level, entry, bits });
            }
            level = below;
            entry = self.entry_in_frame(table, level, address);
        }
    }

    /// What the word in `place` means.
    pub(crate) fn occupant(&self, place: &Place<'_>) -> Occupant {
        match self.format.decode_own(place.level, place.bits) {
            Entry::Leaf(leaf) => Occupant::Leaf(leaf),
            Entry::Table(_) => Occupant::Table,
            // Whatever note it is: this reference has no right to remove it.
            Entry::Absent if place.bits != self.format.absent() => Occupant::Frozen,
            Entry::Absent => Occupant::Nothing,
        }
    }

    /// `leaf`, which is in `place`, over `address`.
    pub(crate) fn mapping(&self, place: &Place<'_>, leaf: Leaf, address: GuestPhysAddr) -> Mapping {
        Mapping {
            guest: span_of(self.geometry(), place.level, address),
            host: leaf.address,
            flags: leaf.flags,
            level: place.level,
        }
    }
}
