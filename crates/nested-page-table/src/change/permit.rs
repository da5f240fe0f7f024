//! Permissions for leaves that stand side by side in one table: one descent, one look at the entries, then the stores.
//!
//! Most calls are such. They take no frame, so that nothing can fail once the entries were looked at: there is nothing to
//! survey, and nothing to reserve.

use core::sync::atomic::Ordering;

use guest_addr::GuestPhysRange;
use mapping_flags::MappingFlags;

use crate::change::rewrite::change_between;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidatedRange;
use crate::contract::level::Level;
use crate::tree::tables::Tables;
use crate::tree::words::Word;

/// What [`Tables::permit`] did.
pub(crate) enum Permitted {
    /// All has the permissions, and no entry was written.
    Already,
    /// All has the permissions now. What has to be invalidated for that.
    Now(Option<InvalidatedRange>),
    /// Nothing: this takes more than one table, or several kinds of leaves, or it is an error.
    Nothing,
}

impl<F: Format, H: TableHost> Tables<F, H> {
    /// Gives the leaves in `guest` the permissions `permissions`, if they fill it, differ in nothing but their addresses
    /// and have one table, and if the arguments are right.
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
        let change = change_between(leaf.flags, permissions);
        let changed = rules.needs_invalidation(change);
        let changed = changed.then(|| InvalidatedRange::leaves(guest, level, change));
        Some(Permitted::Now(changed))
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
