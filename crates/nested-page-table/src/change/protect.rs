//! Changing the permissions of a range in place.

use guest_addr::GuestPhysRange;
use mapping_flags::MappingFlags;

use crate::change::edit::Edit;
use crate::change::permission_survey::PermissionSurvey;
use crate::change::permit::Permitted;
use crate::change::rewrite::Rewrite;
use crate::change::split::{Action, Operation};
use crate::contract::error::ProtectError;
use crate::contract::format::Format;
use crate::contract::geometry::Geometry;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange, InvalidationFailed};
use crate::contract::level::Level;
use crate::settle::gathering_tree::GatheringTree;
use crate::tree::pass::{Look, Next, Run, Seen};
use crate::tree::tables::Part;

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
        match self.tree.tables.permit(guest, permissions) {
            Permitted::Already => Ok(()),
            Permitted::Now(changed) => {
                self.tree.gather.note_stored();
                if let Some(changed) = changed {
                    self.tree.gather.add(changed);
                }
                Ok(())
            }
            Permitted::Nothing => self.tree.protect_range(guest, permissions),
        }
    }
}

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`Edit::protect`] of everything but equal leaves in one table.
    #[cold]
    #[inline(never)]
    pub(crate) fn protect_range(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        check(&self.tables.format, &guest, permissions)?;
        let (tables, gather) = (&self.tables, &mut self.gather);
        let top = tables.lowest_over(guest);
        let action = Permit {
            permissions,
            largest: tables.policy.largest_for(permissions),
        };
        let frames = PermissionSurvey::of(tables, &action).frames(&top.part)?;
        let mut operation = Operation::new(tables, gather, action);
        if !operation.reserve.take(frames) {
            return Err(ProtectError::OutOfMemory { frames });
        }
        operation
            .protect(&top.part)
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

/// Leaves of at most a level get permissions.
#[derive(Clone, Copy)]
pub(crate) struct Permit {
    pub(crate) permissions: MappingFlags,
    pub(crate) largest: Level,
}

impl Action for Permit {
    fn apply<F: Format>(&self, format: &F, level: Level, bits: u64) -> Option<u64> {
        (level <= self.largest).then(|| format.with_permissions(level, bits, self.permissions))
    }
}

/// The second half: changes permissions, up to a leaf that could not be split.
struct Protecting<'o, 'a, F: Format, H: TableHost> {
    operation: &'o mut Operation<'a, F, H, Permit>,
    /// Two, so that what was learned from the pages of one table holds for the next.
    pages: Rewrite<'a, F>,
    blocks: Rewrite<'a, F>,
    result: Result<(), InvalidationFailed>,
}

impl<F: Format, H: TableHost> Look for Protecting<'_, '_, F, H> {
    fn run(&mut self, run: &Run<'_>) -> usize {
        let Permit {
            permissions,
            largest,
        } = self.operation.action;
        let tables = self.operation.tables();
        if run.level > largest {
            return 0;
        }
        let rewrite = match run.level {
            Level::PAGE_4K => &mut self.pages,
            _ => &mut self.blocks,
        };
        if run.level != rewrite.level {
            *rewrite = Rewrite::new(&tables.format, run.level, permissions);
        }
        let (count, rewritten) = rewrite.leading(run.entries);
        if let Some(rewritten) = rewritten {
            let range = run.span(rewritten.first, rewritten.last);
            self.operation
                .note_permissions(range, run.level, rewritten.change);
        }
        count
    }

    fn at(&mut self, seen: &Seen<'_>) -> Next {
        let tables = self.operation.tables();
        let Some(leaf) = tables.seen_leaf(seen) else {
            return Next::Into;
        };
        // A leaf that is small enough and asked for whole was rewritten in a run.
        if leaf.flags.intersection(MappingFlags::PERMISSIONS) != self.operation.action.permissions {
            self.result = self.operation.split(seen);
        }
        match self.result {
            Ok(()) => Next::Over,
            Err(_) => Next::Stop,
        }
    }
}

impl<F: Format, H: TableHost> Operation<'_, F, H, Permit> {
    /// Changes the permissions in `top`, up to a leaf that could not be split.
    fn protect(&mut self, top: &Part) -> Result<(), InvalidationFailed> {
        let tables = self.tables();
        let permissions = self.action.permissions;
        let rewrite = |level| Rewrite::new(&tables.format, level, permissions);
        let mut protecting = Protecting {
            operation: self,
            pages: rewrite(Level::PAGE_4K),
            blocks: rewrite(top.table.level),
            result: Ok(()),
        };
        tables.pass_over(top, &mut protecting);
        protecting.result
    }

    /// Notes that leaves in `range` got other permissions.
    fn note_permissions(&mut self, range: GuestPhysRange, level: Level, change: Change) {
        self.gather.note_stored();
        let rules = self.tables().format.rules();
        if rules.needs_invalidation(change) {
            self.gather
                .add_part(InvalidatedRange::leaves(range, level, change));
        }
    }
}
