//! Giving a leaf more: permissions, and the mark that it was accessed.

use guest_addr::GuestPhysAddr;
use mapping_flags::MappingFlags;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::contract::live_error::RaiseError;
use crate::contract::mapping::Mapping;
use crate::contract::outcome::{Due, MarkOutcome, RaiseOutcome};
use crate::live::place::Occupant;
use crate::tree::tables::Tables;
use crate::tree::words::Exchange;

impl<F: Format, H: TableHost> Tables<F, H> {
    /// [`NestedPageTable::raise`](crate::NestedPageTable::raise).
    ///
    /// An exchange is lost to a CPU that raises, marks or splits the same leaf, or to the hardware's accessed and dirty
    /// bits. Each of these happens to a leaf a few times at most.
    pub(crate) fn raise(
        &self,
        address: GuestPhysAddr,
        permissions: MappingFlags,
    ) -> Result<RaiseOutcome, RaiseError> {
        if !MappingFlags::PERMISSIONS.contains(permissions) {
            return Err(RaiseError::NotAPermission { flags: permissions });
        }
        loop {
            let Some(place) = self.place(address, Level::PAGE_4K) else {
                return Ok(RaiseOutcome::Absent);
            };
            let leaf = match self.occupant(&place) {
                Occupant::Leaf(leaf) => leaf,
                Occupant::Frozen => return Ok(RaiseOutcome::Busy),
                Occupant::Nothing | Occupant::Table => return Ok(RaiseOutcome::Absent),
            };
            let mut mapping = self.mapping(&place, leaf, address);
            let flags = leaf.flags | permissions;
            if flags == leaf.flags {
                return Ok(RaiseOutcome::Unchanged(mapping));
            }
            self.check_raise(mapping, flags)?;
            let raised = self.format.with_permissions(place.level, place.bits, flags);
            if place.entry.compare_exchange(place.bits, raised) == Exchange::Done {
                self.format.publish();
                mapping.flags = flags;
                let due = self.due_after_raise(&mapping);
                return Ok(RaiseOutcome::Raised { leaf: mapping, due });
            }
        }
    }

    /// Whether `existing` can have `flags`.
    fn check_raise(&self, existing: Mapping, flags: MappingFlags) -> Result<(), RaiseError> {
        if let Err(reason) = self.check_flags(flags) {
            return Err(RaiseError::Flags { existing, reason });
        }
        let largest = self.policy.largest_for(flags);
        match existing.level > largest {
            true => Err(RaiseError::TooLarge { existing, largest }),
            false => Ok(()),
        }
    }

    fn due_after_raise(&self, leaf: &Mapping) -> Due {
        match self.format.rules().raised_needs_invalidation {
            true => Due::raised(leaf.guest, leaf.level),
            false => Due::Nothing,
        }
    }

    /// [`NestedPageTable::mark_accessed`](crate::NestedPageTable::mark_accessed).
    pub(crate) fn mark_accessed(&self, address: GuestPhysAddr) -> MarkOutcome {
        loop {
            let Some(place) = self.place(address, Level::PAGE_4K) else {
                return MarkOutcome::Absent;
            };
            let leaf = match self.occupant(&place) {
                Occupant::Leaf(leaf) => leaf,
                Occupant::Frozen => return MarkOutcome::Busy,
                Occupant::Nothing | Occupant::Table => return MarkOutcome::Absent,
            };
            let marked = self.format.with_accessed(place.bits);
            if marked == place.bits
                || place.entry.compare_exchange(place.bits, marked) == Exchange::Done
            {
                return MarkOutcome::Marked(self.mapping(&place, leaf, address));
            }
        }
    }
}
