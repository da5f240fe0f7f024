//! Putting a leaf into an absent entry.

use guest_addr::{GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;

use crate::contract::entry::Leaf;
use crate::contract::format::Format;
use crate::contract::geometry::Geometry;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::live_error::FillError;
use crate::contract::outcome::{Due, FillOutcome};
use crate::live::place::{Occupant, Place};
use crate::live::spare::SpareTables;
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::tables::Tables;
use crate::tree::words::Exchange;

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`NestedPageTable::fill`](crate::NestedPageTable::fill).
    pub(crate) fn fill(
        &self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<FillOutcome, FillError> {
        let new = NewLeaf::checked(&self.tables, guest, host, flags)?;
        // Where something was removed and a CPU may not have forgotten it. This does not change meanwhile: only
        // operations with an exclusive reference gather.
        if self.gather.overlaps(guest) {
            return Err(FillError::Unsettled);
        }
        new.fill(&self.tables)
    }
}

/// A leaf whose arguments were checked.
struct NewLeaf {
    guest: GuestPhysRange,
    level: Level,
    word: u64,
}

impl NewLeaf {
    /// Checks in the order in which [`FillError`] lists its variants.
    fn checked<F: Format, H: TableHost>(
        tables: &Tables<F, H>,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<Self, FillError> {
        let geometry = tables.geometry();
        let (size, bits) = (guest.size(), geometry.output_bits());
        let level = match size {
            PAGE_SIZE_4K => Some(Level::PAGE_4K),
            _ => huge_level(geometry, size),
        };
        let is_aligned = |address: u64| address & size.wrapping_sub(1) == 0;
        let Some(level) =
            level.filter(|_| is_aligned(guest.start().as_u64()) && is_aligned(host.as_u64()))
        else {
            return Err(FillError::NotALeaf { guest, host });
        };
        if !geometry.holds_guest(&guest) {
            let bits = geometry.input_bits();
            return Err(FillError::GuestTooWide { guest, bits });
        }
        let range = HostPhysRange::from_start_size(host, size);
        if !range.is_ok_and(|range| geometry.holds_host(&range)) {
            return Err(FillError::HostTooWide { host, size, bits });
        }
        tables.check_flags(flags)?;
        let largest = tables.policy.largest_for(flags);
        if level > largest {
            return Err(FillError::TooLarge { largest });
        }
        let leaf = Leaf {
            address: host,
            flags,
        };
        let word = tables.format.encode_leaf(level, leaf);
        Ok(Self { guest, level, word })
    }

    /// Puts the leaf where it belongs, if nothing is there.
    ///
    /// Most fills find their table there and their entry absent. They take no frame, and have nothing to give back.
    #[inline]
    fn fill<F: Format, H: TableHost>(
        &self,
        tables: &Tables<F, H>,
    ) -> Result<FillOutcome, FillError> {
        if let Some(place) = tables.place(self.guest.start(), self.level)
            && place.level == self.level
            && place.bits == tables.format.absent()
            && place.entry.compare_exchange(place.bits, self.word) == Exchange::Done
        {
            tables.format.publish();
            return Ok(FillOutcome::Filled(self.due(tables, &place)));
        }
        self.fill_in_any_case(tables)
    }

    /// [`fill`](Self::fill), whatever is there.
    ///
    /// A lost exchange means that the entry is no longer absent, and it never becomes absent again under a shared
    /// reference. So the walk ends deeper, or otherwise, the next time: each level is lost at most once.
    #[cold]
    #[inline(never)]
    fn fill_in_any_case<F: Format, H: TableHost>(
        &self,
        tables: &Tables<F, H>,
    ) -> Result<FillOutcome, FillError> {
        let mut spare = SpareTables::none(tables);
        loop {
            let Some(place) = tables.place(self.guest.start(), self.level) else {
                let (guest, bits) = (self.guest, tables.geometry().input_bits());
                return Err(FillError::GuestTooWide { guest, bits });
            };
            return Ok(match tables.occupant(&place) {
                Occupant::Leaf(leaf) => {
                    FillOutcome::Present(tables.mapping(&place, leaf, self.guest.start()))
                }
                Occupant::Table => FillOutcome::Divided,
                Occupant::Frozen => FillOutcome::Busy,
                Occupant::Nothing => match self.link(tables, &mut spare, &place)? {
                    Exchange::Done => FillOutcome::Filled(self.due(tables, &place)),
                    Exchange::Lost => continue,
                },
            });
        }
    }

    /// Takes the frames that are missing, and puts the leaf with the tables above it into the absent entry in `place` by
    /// one exchange. Whoever loses keeps the frames in `spare`.
    fn link<F: Format, H: TableHost>(
        &self,
        tables: &Tables<F, H>,
        spare: &mut SpareTables<'_, F, H>,
        place: &Place<'_>,
    ) -> Result<Exchange, FillError> {
        let (top, address) = (place.level, self.guest.start());
        let missing = top.number().saturating_sub(self.level.number());
        // Before the entry is looked at for good, which is the exchange.
        if spare.take(missing.into()).is_err() {
            let frames = missing.into();
            return Err(FillError::OutOfMemory { frames });
        }
        let word = spare.chain(top, self.level, address, self.word);
        let exchange = place.entry.compare_exchange(place.bits, word);
        if exchange == Exchange::Done {
            spare.linked(top, self.level);
            tables.format.publish();
        }
        Ok(exchange)
    }

    /// What is due after the leaf was linked at `place`.
    fn due<F: Format, H: TableHost>(&self, tables: &Tables<F, H>, place: &Place<'_>) -> Due {
        match tables.format.rules().fresh_needs_invalidation {
            true => Due::fresh(self.guest, self.level, place.level > self.level),
            false => Due::Nothing,
        }
    }
}

/// The level of the leaves of `size` bytes above the pages, if the hardware has such.
#[inline(never)]
fn huge_level(geometry: &Geometry, size: u64) -> Option<Level> {
    let mut levels = geometry.largest_leaf().up_to();
    levels.find(|&level| geometry.entry_size(level) == size)
}
