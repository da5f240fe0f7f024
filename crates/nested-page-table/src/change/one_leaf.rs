//! Mapping and unmapping single leaves where that takes one store.

use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange};
use crate::contract::level::Level;
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::pass::Found;

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// Maps one leaf of 4 KiB or 2 MiB if its directory and its kind are remembered, its table is there, and its entry
    /// absent: one store. Returns its level, or `None` where nothing has changed. Nothing pending concerns the range.
    #[inline(always)]
    pub(crate) fn store_leaf(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Option<Level> {
        let level = small_leaf(guest, host.as_u64())?;
        let tables = &self.tables;
        if !tables.geometry().holds_host_address(host) {
            return None;
        }
        let attributes = self.gather.encoded.known(level, flags)?;
        let entry = self.gather.recent.entry(tables, level, guest.start())?;
        if entry.load() != tables.format.absent() {
            return None;
        }
        let leaf = attributes | tables.format.address_bits(host);
        entry.store(leaf, Ordering::Release);
        Some(level)
    }

    /// Unmaps one leaf of 4 KiB or 2 MiB if its directory is remembered: one store. Returns what has to be invalidated, or
    /// `None` where nothing has changed.
    #[inline(always)]
    pub(crate) fn clear_leaf(&mut self, guest: GuestPhysRange) -> Option<InvalidatedRange> {
        let level = small_leaf(guest, 0)?;
        let tables = &self.tables;
        let entry = self.gather.recent.entry(tables, level, guest.start())?;
        if tables.find(level, entry.load()) != Found::Leaf {
            return None;
        }
        entry.store(tables.format.absent(), Ordering::Relaxed);
        Some(InvalidatedRange::leaves(guest, level, Change::Removed))
    }

    /// Remembers the directory over a leaf of 4 KiB or 2 MiB. Returns whether the path of one store should be tried again.
    #[inline(never)]
    pub(crate) fn find_directory(&mut self, guest: GuestPhysRange) -> bool {
        // Where it is not aligned, nothing is lost.
        let is_page = guest.size() == 1 << Level::PAGE_4K.shift();
        let is_block = guest.size() == 1 << Level::BLOCK_2M.shift();
        (is_page || is_block) && self.gather.recent.find(&self.tables, guest.start())
    }

    /// What the mapping of a leaf of `level` has to have invalidated.
    #[inline]
    pub(crate) fn fresh_leaf(
        &self,
        guest: GuestPhysRange,
        level: Level,
    ) -> Option<InvalidatedRange> {
        let needed = self.tables.format.rules().fresh_needs_invalidation;
        needed.then(|| InvalidatedRange::leaves(guest, level, Change::Fresh))
    }
}

/// The level of a single leaf for `guest`, if `guest` and `host` are aligned to the size of one of 4 KiB or 2 MiB.
#[inline]
fn small_leaf(guest: GuestPhysRange, host: u64) -> Option<Level> {
    let size = guest.size();
    let level = if size == 1 << Level::PAGE_4K.shift() {
        Level::PAGE_4K
    } else if size == 1 << Level::BLOCK_2M.shift() {
        Level::BLOCK_2M
    } else {
        return None;
    };
    ((guest.start().as_u64() | host) & (size - 1) == 0).then_some(level)
}
