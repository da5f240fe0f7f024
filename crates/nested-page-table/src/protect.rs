//! Changing the permissions of a range in place.

use core::sync::atomic::AtomicU64;

use guest_addr::GuestPhysRange;
use mapping_flags::MappingFlags;

use crate::edit::Edit;
use crate::entry::Entry;
use crate::error::ProtectError;
use crate::format::Format;
use crate::gather::Changes;
use crate::geometry::Geometry;
use crate::host::TableHost;
use crate::invalidation::{Change, InvalidatedRange};
use crate::level::Level;
use crate::mapping::Mapping;
use crate::reserve::Reserve;
use crate::rewrite::Rewrite;
use crate::slots::{Slot, slots, tables_below};
use crate::split::{Action, Operation};
use crate::tables::{Table, Tables};

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Gives every leaf in `guest` the permissions `permissions`, and nothing else: address, memory
    /// type, accessed and dirty state stay. Leaves that reach beyond the range are split, and what
    /// lies outside keeps its permissions. Holes are skipped. Leaves that have the permissions
    /// already are left alone.
    ///
    /// When this returns, CPUs may still use the old permissions; when the edit is finished, no
    /// more. All or nothing; O(leaves).
    ///
    /// # Errors
    ///
    /// - [`ProtectError::Unaligned`]: the range does not begin and end at multiples of 4 KiB.
    /// - [`ProtectError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`ProtectError::NotAPermission`]: a flag was given other than `READ`, `WRITE`, `EXECUTE`
    ///   and `USER`.
    /// - [`ProtectError::Flags`]: the permissions mean nothing, or the format cannot express them.
    /// - [`ProtectError::Leaf`]: a leaf in the range cannot have them, because of its memory type.
    /// - [`ProtectError::OutOfMemory`]: there are not enough frames to split leaves.
    pub fn protect(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        check(self.table.format(), &guest, permissions)?;
        let (tables, gather) = self.parts();
        let top = tables.lowest_over(&guest);
        let action = Action::Protect {
            flags: permissions,
            largest: tables.policy.largest_for(permissions),
        };
        let frames = survey(tables, top, guest, permissions, action)?;
        let reserve =
            Reserve::take_for(tables, frames).ok_or(ProtectError::OutOfMemory { frames })?;
        let changes = Changes::default();
        let mut operation = Operation {
            tables,
            gather,
            reserve,
            changes,
            action,
        };
        operation.protect(top, guest);
        Ok(())
    }
}

fn check<F: Format>(
    format: &F,
    guest: &GuestPhysRange,
    permissions: MappingFlags,
) -> Result<(), ProtectError> {
    let (guest, geometry): (GuestPhysRange, &Geometry) = (*guest, format.geometry());
    if !guest.is_aligned_4k() {
        return Err(ProtectError::Unaligned { guest });
    }
    if !geometry.holds_guest(&guest) {
        return Err(ProtectError::GuestTooWide {
            guest,
            bits: geometry.input_bits(),
        });
    }
    if !MappingFlags::PERMISSIONS.contains(permissions) {
        return Err(ProtectError::NotAPermission { flags: permissions });
    }
    format.check_flags(permissions).map_err(ProtectError::Flags)
}

/// The tables that the splits take. Without `EXECUTE` every leaf can have the permissions and only
/// the edges can need a split; with it, each leaf is looked at.
fn survey<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    top: Table,
    range: GuestPhysRange,
    permissions: MappingFlags,
    action: Action,
) -> Result<u64, ProtectError> {
    let mut frames = 0_u64;
    survey_below(tables, top, range, permissions, action, &mut frames)?;
    Ok(frames)
}

fn survey_below<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    table: Table,
    range: GuestPhysRange,
    permissions: MappingFlags,
    action: Action,
    frames: &mut u64,
) -> Result<(), ProtectError> {
    let (level, entries) = (table.level, tables.entries(table));
    let executes = permissions.contains(MappingFlags::EXECUTE);
    for slot in slots(tables.geometry(), level, range) {
        let Some(entry) = entries.get(slot.index) else {
            continue;
        };
        match tables.decode(level, entry) {
            Entry::Absent => {}
            Entry::Table(address) => {
                let Some(child) = tables.child(table, address) else {
                    continue;
                };
                let only_pages = child.level == Level::PAGE_4K;
                if executes || !only_pages {
                    survey_below(tables, child, slot.portion, permissions, action, frames)?;
                }
            }
            Entry::Leaf(leaf) => {
                let flags = leaf.flags.intersection(MappingFlags::MEMORY_TYPE) | permissions;
                if let Err(reason) = tables.format.check_flags(flags) {
                    let (guest, host, flags) = (slot.span, leaf.address, leaf.flags);
                    let existing = Mapping {
                        guest,
                        host,
                        flags,
                        level,
                    };
                    return Err(ProtectError::Leaf { existing, reason });
                }
                if flags != leaf.flags && !(slot.is_whole() && action.fits(level)) {
                    *frames += split_tables(tables, level, &slot.portion, action);
                }
            }
        }
    }
    Ok(())
}

fn split_tables<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    portion: &GuestPhysRange,
    action: Action,
) -> u64 {
    let largest = match action {
        Action::Protect { largest, .. } => largest,
        Action::Clear | Action::Retire => level,
    };
    tables_below(tables.geometry(), level, portion, largest)
}

impl<F: Format, H: TableHost> Operation<'_, F, H> {
    /// Changes the permissions in the part `range` of `table`.
    fn protect(&mut self, table: Table, range: GuestPhysRange) {
        let Action::Protect { flags, .. } = self.action else {
            return;
        };
        let entries = self.tables.entries(table);
        if table.level == Level::PAGE_4K {
            let geometry = self.tables.geometry();
            let first = geometry.index(table.level, range.start());
            let last = geometry.index(table.level, range.last());
            let words = entries.get(first..=last).unwrap_or_default();
            self.protect_leaves(table.level, words, range, flags);
            return;
        }
        for slot in slots(self.tables.geometry(), table.level, range) {
            let Some(entry) = entries.get(slot.index) else {
                continue;
            };
            match self.tables.decode(table.level, entry) {
                Entry::Absent => {}
                Entry::Table(address) => {
                    if let Some(child) = self.tables.child(table, address) {
                        self.protect(child, slot.portion);
                    }
                }
                Entry::Leaf(leaf) => {
                    let kept = leaf.flags.difference(MappingFlags::PERMISSIONS);
                    if leaf.flags != kept | flags {
                        self.protect_leaf(table.level, entry, &slot, flags);
                    }
                }
            }
        }
    }

    fn protect_leaf(&mut self, level: Level, entry: &AtomicU64, slot: &Slot, flags: MappingFlags) {
        if slot.is_whole() && self.action.fits(level) {
            self.protect_leaves(level, core::slice::from_ref(entry), slot.span, flags);
        } else {
            self.split(level, entry, slot);
        }
    }

    /// Changes the permissions of the leaves among `words`, which translate `range`.
    fn protect_leaves(
        &mut self,
        level: Level,
        words: &[AtomicU64],
        range: GuestPhysRange,
        flags: MappingFlags,
    ) {
        let format = self.tables.format;
        let Some(change) = Rewrite::new(&format, level, flags).all(words) else {
            return;
        };
        self.gather.note_stored();
        if change == Change::Removed || format.rules().raised_needs_invalidation {
            self.changes
                .add(InvalidatedRange::leaves(range, level, change));
        }
    }
}
