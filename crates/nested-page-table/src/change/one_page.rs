//! Mapping and unmapping single pages where that takes one store.

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr, PAGE_SIZE_4K};
use mapping_flags::MappingFlags;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange};
use crate::contract::level::Level;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::retired::retired_word;
use crate::tree::words::Word;

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// Maps one page if its directory is remembered and its table there, its entry absent, and its flags
    /// those of the last mapping: one store. Returns whether it did; if not, nothing has changed.
    /// Nothing pending concerns the page.
    #[inline]
    pub(crate) fn store_page(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> bool {
        let (tables, recent) = (&self.tables, &self.gather.recent);
        let format = &tables.format;
        if !is_page(guest) {
            return false;
        }
        let Some(entry) = recent.page_entry(tables, guest.start()) else {
            return false;
        };
        let Some(attributes) = recent.attributes(host, flags) else {
            return false;
        };
        if entry.load() != format.absent() {
            return false;
        }
        entry.store(attributes | format.address_bits(host), Ordering::Release);
        true
    }

    /// Unmaps one page if it has a leaf of its own and its directory is remembered: one store. Says
    /// whether it did; otherwise nothing was changed.
    #[inline]
    pub(crate) fn clear_page(&mut self, guest: GuestPhysRange) -> bool {
        let Some(entry) = self.page_leaf(guest) else {
            return false;
        };
        entry.store(self.tables.format.absent(), Ordering::Relaxed);
        true
    }

    /// [`clear_page`](Self::clear_page), which leaves a note of the leaf in its entry, and returns the leaf as
    /// the hardware left it.
    #[inline]
    pub(crate) fn retire_page(&mut self, guest: GuestPhysRange) -> Option<UnmappedLeaf> {
        let entry = self.page_leaf(guest)?;
        let format = &self.tables.format;
        let bits = entry.swap(format.absent());
        entry.store(
            retired_word(format, Level::PAGE_4K, bits),
            Ordering::Relaxed,
        );
        let Entry::Leaf(leaf) = format.decode_own(Level::PAGE_4K, bits) else {
            return None;
        };
        Some(UnmappedLeaf {
            guest,
            host: leaf.address,
            accessed: format.is_accessed(bits),
            dirty: format.is_dirty(bits),
        })
    }

    /// Forgets the note that [`retire_page`](Self::retire_page) has just left.
    #[inline]
    pub(crate) fn forget_page(&mut self, guest: GuestPhysRange) {
        let (tables, recent) = (&self.tables, &self.gather.recent);
        if let Some(entry) = recent.page_entry(tables, guest.start()) {
            entry.store(tables.format.absent(), Ordering::Relaxed);
        }
    }

    /// Remembers the directory over a page. Returns whether the path of one store should be tried again.
    pub(crate) fn find_page(&mut self, guest: GuestPhysRange) -> bool {
        is_page(guest) && self.gather.recent.find(&self.tables, guest.start())
    }

    /// Remembers the directory over a page, and the flags that it is to have. Says whether it is worth while
    /// to try the page again.
    pub(crate) fn find_page_for(&mut self, guest: GuestPhysRange, flags: MappingFlags) -> bool {
        if !is_page(guest) {
            return false;
        }
        let (tables, recent) = (&self.tables, &mut self.gather.recent);
        recent.find(tables, guest.start()) | recent.learn(tables, flags)
    }

    /// The entry of one page, if there is a leaf in it.
    #[inline]
    fn page_leaf(&self, guest: GuestPhysRange) -> Option<&Word> {
        if !is_page(guest) {
            return None;
        }
        let entry = self.gather.recent.page_entry(&self.tables, guest.start())?;
        let found = self.tables.decode(Level::PAGE_4K, entry);
        matches!(found, Entry::Leaf(_)).then_some(entry)
    }

    /// What the mapping of a page has to have invalidated.
    #[inline]
    pub(crate) fn fresh_page(&self, guest: GuestPhysRange) -> Option<InvalidatedRange> {
        let needed = self.tables.format.rules().fresh_needs_invalidation;
        needed.then(|| InvalidatedRange::leaves(guest, Level::PAGE_4K, Change::Fresh))
    }
}

/// What the unmapping of a page has to have invalidated.
#[inline]
pub(crate) fn removed_page(guest: GuestPhysRange) -> InvalidatedRange {
    InvalidatedRange::leaves(guest, Level::PAGE_4K, Change::Removed)
}

/// Whether `guest` is one page of 4 KiB.
#[inline]
fn is_page(guest: GuestPhysRange) -> bool {
    guest.size() == PAGE_SIZE_4K && guest.start().is_aligned_4k()
}
