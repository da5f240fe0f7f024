//! Permissions for leaves that stand side by side in one table: one descent, one look at the entries, then the stores.
//!
//! Most calls are such. They take no frame, so that nothing can fail once the entries were looked at: there is nothing to
//! survey, and nothing to reserve.

use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;
use mapping_flags::MappingFlags;

use crate::change::permission_survey::PermissionSurvey;
use crate::change::protect::Permit;
use crate::change::rewrite::{Rewrite, Rewritten, change_between};
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{Change, InvalidatedRange};
use crate::contract::level::Level;
use crate::tree::pass::{Look, Run};
use crate::tree::tables::Tables;
use crate::tree::words::Word;

/// What [`Tables::permit`] did.
pub(crate) enum Permitted {
    /// All has the permissions, and no entry was written.
    Already,
    /// All has the permissions now. What has to be invalidated for that.
    Now(Option<InvalidatedRange>),
    /// Nothing: this takes more than one table, or a split, or it is an error.
    Nothing,
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Gives the leaves in `guest` the permissions `permissions`, if they fill it, differ in nothing but their addresses,
    /// have one table, and can have the permissions whole. Whoever calls it has borrowed the tree mutably.
    #[inline]
    pub(crate) fn permit(&self, guest: GuestPhysRange, permissions: MappingFlags) -> Permitted {
        self.permit_row(guest, permissions)
            .unwrap_or(Permitted::Nothing)
    }

    #[inline(always)]
    fn permit_row(&self, guest: GuestPhysRange, permissions: MappingFlags) -> Option<Permitted> {
        let format = &self.format;
        let (level, entries) = self.row(guest)?;
        // The first apart: most calls have no other.
        let (entry, others) = entries.split_first()?;
        let first = entry.load();
        let leaf = format.decode_own_leaf(level, first)?;
        if !self.may_permit(level, leaf.flags, permissions) || !self.are_alike(others, first) {
            return None;
        }
        let new = format.with_permissions(level, first, permissions);
        if new == first {
            return Some(Permitted::Already);
        }
        let rules = format.rules();
        if rules.hardware_writes_entries {
            for entry in entries {
                entry.update(|bits| format.with_permissions(level, bits, permissions));
            }
        } else {
            entry.store(new, Ordering::Relaxed);
            for entry in others {
                entry.store(entry.load() ^ first ^ new, Ordering::Relaxed);
            }
        }
        Some(self.permitted(guest, level, change_between(leaf.flags, permissions)))
    }

    /// [`permit`](Self::permit) for absent entries and leaves of several kinds, too.
    #[inline(never)]
    pub(crate) fn permit_each(
        &self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Permitted {
        self.permit_mixed_row(guest, permissions)
            .unwrap_or(Permitted::Nothing)
    }

    #[inline]
    fn permit_mixed_row(
        &self,
        guest: GuestPhysRange,
        permissions: MappingFlags,
    ) -> Option<Permitted> {
        if !self.is_permission(permissions) {
            return None;
        }
        let (level, entries) = self.row(guest)?;
        let action = Permit {
            permissions,
            largest: self.policy.largest_for(permissions),
        };
        let start = guest.start();
        let run = Run {
            level,
            entries,
            start,
        };
        // Pages lead to no table, and without `EXECUTE` no memory type stands in the way: there is nothing to find out.
        let mut survey = PermissionSurvey::of(self, &action);
        let is_known = level == Level::PAGE_4K && survey.is_any_leaf_fine();
        if !is_known && survey.run(&run) != entries.len() {
            return None;
        }
        let (_, rewritten) = Rewrite::new(&self.format, level, permissions).leading(entries);
        Some(match rewritten {
            None => Permitted::Already,
            Some(Rewritten {
                first,
                last,
                change,
            }) => self.permitted(run.span(first, last), level, change),
        })
    }

    /// What follows from `change` of the leaves of `level` in `range`.
    #[inline]
    fn permitted(&self, range: GuestPhysRange, level: Level, change: Change) -> Permitted {
        let needed = self.format.rules().needs_invalidation(change);
        Permitted::Now(needed.then(|| InvalidatedRange::leaves(range, level, change)))
    }

    /// Whether `permissions` are permissions, and the format accepts them.
    #[inline]
    fn is_permission(&self, permissions: MappingFlags) -> bool {
        MappingFlags::PERMISSIONS.contains(permissions)
            && self.format.check_flags(permissions).is_ok()
    }

    /// Whether a leaf of `level` with the flags `old` can have `permissions`.
    #[inline]
    fn may_permit(&self, level: Level, old: MappingFlags, permissions: MappingFlags) -> bool {
        let memory_type = old.intersection(MappingFlags::MEMORY_TYPE);
        // Without `EXECUTE` no memory type stands in the way.
        let flags = match permissions.contains(MappingFlags::EXECUTE) {
            true => permissions | memory_type,
            false => permissions,
        };
        MappingFlags::PERMISSIONS.contains(permissions)
            && level <= self.policy.largest_for(permissions)
            && self.format.check_flags(flags).is_ok()
    }

    /// Whether `entries` differ from `first` in no bit but those of the address.
    #[inline]
    fn are_alike(&self, entries: &[Word], first: u64) -> bool {
        if entries.is_empty() {
            return true;
        }
        let attribute_bits = !self.format.address_bits(self.geometry().last_host_page());
        entries
            .iter()
            .all(|entry| (entry.load() ^ first) & attribute_bits == 0)
    }
}
