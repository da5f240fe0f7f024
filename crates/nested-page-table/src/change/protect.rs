//! Changing the permissions of a range in place.

use guest_addr::GuestPhysRange;
use mapping_flags::MappingFlags;

use crate::change::edit::Edit;
use crate::change::rewrite::Rewrite;
use crate::change::split::{Action, Operation};
use crate::contract::error::ProtectError;
use crate::contract::format::Format;
use crate::contract::geometry::Geometry;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange, InvalidationFailed};
use crate::contract::level::Level;
use crate::tree::pass::{Found, Next};
use crate::tree::slots::tables_below;
use crate::tree::tables::{Table, Tables};
use crate::tree::words::Word;

impl<F: Format, H: TableHost> Edit<'_, F, H> {
    /// Gives every leaf in `guest` the permissions `permissions`. Address, memory
    /// type, accessed and dirty state stay. A leaf that reaches beyond the range is split, and what
    /// lies outside keeps its permissions. Holes are skipped. Leaves that already have the permissions
    /// do not change.
    ///
    /// CPUs may use the old permissions until the edit is finished. All or nothing; O(leaves).
    ///
    /// # Errors
    ///
    /// - [`ProtectError::Unaligned`]: the range does not begin and end at multiples of 4 KiB.
    /// - [`ProtectError::GuestTooWide`]: the range goes beyond the input width.
    /// - [`ProtectError::NotAPermission`]: a flag was given other than `READ`, `WRITE`, `EXECUTE`
    ///   and `USER`.
    /// - [`ProtectError::Flags`]: the permissions are invalid, or the format cannot express them.
    /// - [`ProtectError::Leaf`]: a leaf in the range cannot have them, because of its memory type.
    /// - [`ProtectError::OutOfMemory`]: there are not enough frames to split leaves.
    /// - [`ProtectError::NotInvalidated`]: a leaf had to be invalidated before it was split (break before
    ///   make), and that failed. It is whole; what lies below it in the range has the permissions.
    pub fn protect(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        check(&self.tree.tables.format, &guest, permissions)?;
        let (tables, gather) = (&self.tree.tables, &mut self.tree.gather);
        let top = tables.lowest_over(guest);
        let largest = tables.policy.largest_for(permissions);
        let frames = survey(tables, top, guest, permissions, largest)?;
        let action = Permit {
            permissions,
            largest,
        };
        let mut operation = Operation::new(tables, gather, action);
        if !operation.reserve.take(frames) {
            return Err(ProtectError::OutOfMemory { frames });
        }
        operation
            .protect(top, guest, permissions, largest)
            .map_err(ProtectError::NotInvalidated)
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
    largest: Level,
) -> Result<u64, ProtectError> {
    let (mut frames, mut refused) = (0, None);
    let executes = permissions.contains(MappingFlags::EXECUTE);
    tables.pass(top, range, |seen| {
        let Some(existing) = tables.seen_leaf(seen) else {
            let leads_to_pages = seen.level == Level::BLOCK_2M;
            return match executes || !leads_to_pages {
                true => Next::Into,
                false => Next::Over,
            };
        };
        let flags = existing.flags.intersection(MappingFlags::MEMORY_TYPE) | permissions;
        if let Err(reason) = tables.format.check_flags(flags) {
            refused = Some(ProtectError::Leaf { existing, reason });
            return Next::Stop;
        }
        if flags != existing.flags && !(seen.is_whole && seen.level <= largest) {
            let (geometry, portion) = (tables.geometry(), seen.portion);
            frames += tables_below(geometry, seen.level, &portion, largest);
        }
        Next::Over
    });
    refused.map_or(Ok(frames), Err)
}

/// Leaves of at most a level get permissions.
struct Permit {
    permissions: MappingFlags,
    largest: Level,
}

impl Action for Permit {
    fn apply<F: Format>(&self, format: &F, level: Level, bits: u64) -> Option<u64> {
        (level <= self.largest).then(|| format.with_permissions(level, bits, self.permissions))
    }
}

impl<F: Format, H: TableHost, A: Action> Operation<'_, F, H, A> {
    /// Changes the permissions in the part `range` of `top`, in leaves of at most `largest`, up to a leaf that
    /// could not be split.
    fn protect(
        &mut self,
        top: Table,
        range: GuestPhysRange,
        flags: MappingFlags,
        largest: Level,
    ) -> Result<(), InvalidationFailed> {
        let tables = self.tables();
        let format = &tables.format;
        let mut pages = Rewrite::new(format, Level::PAGE_4K, flags);
        if top.level == Level::PAGE_4K {
            self.protect_leaves(&mut pages, tables.entries_of(top, &range), range);
            return Ok(());
        }
        let mut result = Ok(());
        tables.pass(top, range, |seen| {
            if let Found::Table(address) = seen.found {
                if seen.level > Level::BLOCK_2M {
                    return Next::Into;
                }
                let (level, portion) = (Level::PAGE_4K, seen.portion);
                let words = tables.entries_of(Table { address, level }, &portion);
                self.protect_leaves(&mut pages, words, portion);
            } else if let Some(leaf) = tables.seen_leaf(seen)
                && leaf.flags.intersection(MappingFlags::PERMISSIONS) != flags
            {
                if seen.is_whole && seen.level <= largest {
                    let words = core::slice::from_ref(seen.entry);
                    let mut leaves = Rewrite::new(format, seen.level, flags);
                    self.protect_leaves(&mut leaves, words, seen.span());
                } else {
                    result = self.split(seen);
                    if result.is_err() {
                        return Next::Stop;
                    }
                }
            }
            Next::Over
        });
        result
    }

    /// Changes the permissions of the leaves among `words`, which translate `range`.
    fn protect_leaves(
        &mut self,
        rewrite: &mut Rewrite<'_, F>,
        words: &[Word],
        range: GuestPhysRange,
    ) {
        let Some(change) = rewrite.all(words) else {
            return;
        };
        self.gather.note_stored();
        let rules = self.tables().format.rules();
        if change == Change::Removed || rules.raised_needs_invalidation {
            let changed = InvalidatedRange::leaves(range, rewrite.level, change);
            self.gather.add_part(changed);
        }
    }
}
