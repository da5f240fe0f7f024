//! Replacing a huge leaf by a table, while others look.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use core::mem;
use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use crate::change::reserve::Reserve;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{
    Change, InvalidatedRange, Invalidation, InvalidationFailed, Scope,
};
use crate::contract::level::Level;
use crate::contract::live_error::SplitError;
use crate::contract::outcome::{Due, SplitOutcome};
use crate::live::place::{Occupant, Place};
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::retired::retired_word;
use crate::tree::slots::span_of;
use crate::tree::tables::Tables;
use crate::tree::words::{self, Exchange, FRAME_WORDS, Word};

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`NestedPageTable::split`](crate::NestedPageTable::split).
    pub(crate) fn split(
        &self,
        address: GuestPhysAddr,
        largest: Level,
    ) -> Result<SplitOutcome, SplitError> {
        let tables = &self.tables;
        let (mut reserve, mut reserved) = (Reserve::empty(tables), 0);
        loop {
            let place = match tables.place_to_split(address, largest) {
                Ok(place) => place,
                Err(outcome) => return Ok(outcome),
            };
            // Before the entry is looked at for good, which is the exchange.
            let frames = u64::from(place.level.number() - largest.number());
            if !reserve.take(frames.saturating_sub(reserved)) {
                return Err(SplitError::OutOfMemory { frames });
            }
            reserved = reserved.max(frames);
            // Lost where the hardware set a bit, or another CPU raised the leaf or froze it: look again.
            let Some(frozen) = Frozen::freeze(tables, &place) else {
                continue;
            };
            self.forget_leaf(&place, address)
                .map_err(SplitError::NotInvalidated)?;
            let pieces = Pieces { address, largest };
            let Some(table) = pieces.build(&mut reserve, place.level, place.bits) else {
                // Impossible: the frames were counted. The leaf is put back.
                return Err(SplitError::OutOfMemory { frames });
            };
            frozen.replace_by(table);
            return Ok(SplitOutcome::Split(self.due(&place, address)));
        }
    }

    /// Has every CPU forget the leaf in `place`, which is frozen.
    fn forget_leaf(
        &self,
        place: &Place<'_>,
        address: GuestPhysAddr,
    ) -> Result<(), InvalidationFailed> {
        let span = span_of(self.tables.geometry(), place.level, address);
        let range = InvalidatedRange::leaves(span, place.level, Change::Removed);
        let request = Invalidation::range(self.gather.space(), Scope::AllCpus, range);
        self.tables.host.invalidate(&request)
    }

    /// What is due after a table took the place of a frozen leaf: this CPU may remember that nothing was there.
    fn due(&self, place: &Place<'_>, address: GuestPhysAddr) -> Due {
        match self.tables.format.rules().fresh_needs_invalidation {
            true => {
                let span = span_of(self.tables.geometry(), place.level, address);
                Due::fresh(span, place.level, true)
            }
            false => Due::Nothing,
        }
    }
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// The leaf over `address` if it is larger than `largest`, or what is to be said instead.
    fn place_to_split(
        &self,
        address: GuestPhysAddr,
        largest: Level,
    ) -> Result<Place<'_>, SplitOutcome> {
        let place = self
            .place(address, Level::PAGE_4K)
            .ok_or(SplitOutcome::Absent)?;
        match self.occupant(&place) {
            Occupant::Leaf(_) if place.level > largest => Ok(place),
            Occupant::Leaf(leaf) => {
                let leaf = self.mapping(&place, leaf, address);
                Err(SplitOutcome::Unchanged(leaf))
            }
            Occupant::Frozen => Err(SplitOutcome::Busy),
            Occupant::Nothing | Occupant::Table => Err(SplitOutcome::Absent),
        }
    }
}

/// A leaf whose entry holds a note in its place. Nobody else touches the entry until this is dropped, which puts the leaf
/// back: also where the host fails or unwinds.
struct Frozen<'t, F: Format> {
    format: &'t F,
    entry: &'t Word,
    leaf: u64,
}

impl<'t, F: Format> Frozen<'t, F> {
    /// Puts the note of the leaf into its place, if the leaf is still as it was read. With it stays what the hardware wrote.
    fn freeze<H: TableHost>(tables: &'t Tables<F, H>, place: &Place<'t>) -> Option<Self> {
        let format = &tables.format;
        let note = retired_word(format, place.level, place.bits);
        if place.entry.compare_exchange(place.bits, note) == Exchange::Lost {
            return None;
        }
        format.publish();
        Some(Self {
            format,
            entry: place.entry,
            leaf: place.bits,
        })
    }

    /// Links `table` in the place of the leaf.
    fn replace_by(self, table: u64) {
        // A plain store: the note is ours.
        self.entry.store(table, Ordering::Release);
        self.format.publish();
        mem::forget(self);
    }
}

impl<F: Format> Drop for Frozen<'_, F> {
    fn drop(&mut self) {
        self.entry.store(self.leaf, Ordering::Release);
        self.format.publish();
    }
}

/// What a leaf is split into: leaves of at most `largest` over `address`, and as large as possible elsewhere.
struct Pieces {
    address: GuestPhysAddr,
    largest: Level,
}

impl Pieces {
    /// Builds the table that takes the place of the leaf `bits` of `level`, and returns the entry that links it. `None` if
    /// there are no frames.
    fn build<F: Format, H: TableHost>(
        &self,
        reserve: &mut Reserve<'_, F, H>,
        level: Level,
        bits: u64,
    ) -> Option<u64> {
        let below = level.below()?;
        let tables = reserve.tables;
        let (format, geometry) = (&tables.format, tables.geometry());
        let frame = reserve.pop()?;
        // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
        let words = unsafe { words::private(tables.frames(), frame, FRAME_WORDS) };
        let step = format.address_bits(HostPhysAddr::new(geometry.entry_size(below)));
        let mut piece = format.split_leaf(level, bits);
        for word in words.iter_mut() {
            *word = piece;
            piece = piece.wrapping_add(step);
        }
        if below > self.largest {
            let index = (self.address.as_u64() >> geometry.shift(below)) as usize % FRAME_WORDS;
            let word = words.get_mut(index)?;
            *word = self.build(reserve, below, *word)?;
        }
        Some(format.encode_table(frame))
    }
}
