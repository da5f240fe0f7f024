//! Operations that are edits of their own: invalidated when they return.

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::change::edit::Edit;
use crate::change::permit::Permitted;
use crate::change::take::Taken;
use crate::contract::error::{MapError, ProtectError, UnmapError};
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidatedRange;
use crate::contract::mapping::UnmappedLeaf;
use crate::settle::gathering_tree::GatheringTree;
use crate::settle::release;

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// [`Edit::map`] as an edit of its own.
    #[inline(always)]
    pub(crate) fn map_alone(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<(), MapError> {
        loop {
            if self.gather.is_idle()
                && let Some(level) = self.store_leaf(guest, host, flags)
            {
                let fresh = self.fresh_leaf(guest, level);
                return release::publish_and_invalidate(&self.tables, &mut self.gather, fresh)
                    .map_err(MapError::NotInvalidated);
            }
            if self.map_in_edit(guest, host, flags)? {
                return Ok(());
            }
        }
    }

    /// [`map_alone`](Self::map_alone) for everything but leaves that take one store. Returns `false` if it mapped
    /// nothing, and the leaf may take one store now: its directory is remembered.
    ///
    /// Cold, so that a loop over such leaves keeps its values in registers.
    #[cold]
    #[inline(never)]
    fn map_in_edit(
        &mut self,
        guest: GuestPhysRange,
        host: HostPhysAddr,
        flags: MappingFlags,
    ) -> Result<bool, MapError> {
        if self.find_directory(guest) {
            return Ok(false);
        }
        let edit = Edit::new(self);
        edit.tree.map_range(guest, host, flags)?;
        edit.finish().map_err(MapError::NotInvalidated)?;
        Ok(true)
    }

    /// [`Edit::unmap`] as an edit of its own.
    #[inline(always)]
    pub(crate) fn unmap_alone(&mut self, guest: GuestPhysRange) -> Result<(), UnmapError> {
        loop {
            if self.gather.is_idle()
                && let Some(removed) = self.clear_leaf(guest)
            {
                let removed = Some(removed);
                return release::publish_and_invalidate(&self.tables, &mut self.gather, removed)
                    .map_err(UnmapError::NotInvalidated);
            }
            if self.unmap_in_edit(guest)? {
                return Ok(());
            }
        }
    }

    /// [`unmap_alone`](Self::unmap_alone) for everything but leaves that take one store. Returns `false` if it unmapped
    /// nothing, and the leaf may take one store now: its directory is remembered.
    ///
    /// Cold, as [`map_in_edit`](Self::map_in_edit) is.
    #[cold]
    #[inline(never)]
    fn unmap_in_edit(&mut self, guest: GuestPhysRange) -> Result<bool, UnmapError> {
        if self.find_directory(guest) {
            return Ok(false);
        }
        let edit = Edit::new(self);
        edit.tree.unmap_range(guest)?;
        edit.finish().map_err(UnmapError::NotInvalidated)?;
        Ok(true)
    }

    /// [`Edit::unmap_reporting`] as an edit of its own.
    pub(crate) fn unmap_reporting_alone(
        &mut self,
        guest: GuestPhysRange,
        mut report: impl FnMut(UnmappedLeaf),
    ) -> Result<(), UnmapError> {
        if self.gather.is_idle()
            && let Some(taken) = Taken::of(&self.tables, &mut self.gather, guest)
        {
            return taken.report(&mut report);
        }
        Edit::new(self).unmap_reporting(guest, report)
    }

    /// [`Edit::protect`] as an edit of its own.
    #[inline]
    pub(crate) fn protect_alone(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        if self.gather.is_idle() {
            match self.tables.permit(guest, permissions) {
                Permitted::Already => return Ok(()),
                Permitted::Now(changed) => return self.publish_permitted(changed),
                Permitted::Nothing => {}
            }
        }
        self.protect_in_edit(guest, permissions)
    }

    #[inline]
    fn publish_permitted(&mut self, changed: Option<InvalidatedRange>) -> Result<(), ProtectError> {
        release::publish_and_invalidate(&self.tables, &mut self.gather, changed)
            .map_err(ProtectError::NotInvalidated)
    }

    /// [`protect_alone`](Self::protect_alone) for everything but equal leaves in one table.
    ///
    /// Cold, as [`map_in_edit`](Self::map_in_edit) is.
    #[cold]
    #[inline(never)]
    fn protect_in_edit(
        &mut self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Result<(), ProtectError> {
        if self.gather.is_idle() {
            match self.tables.permit_each(guest, permissions) {
                Permitted::Already => return Ok(()),
                Permitted::Now(changed) => return self.publish_permitted(changed),
                Permitted::Nothing => {}
            }
        }
        let edit = Edit::new(self);
        edit.tree.protect_range(guest, permissions)?;
        edit.finish().map_err(ProtectError::NotInvalidated)
    }
}
