//! A tree of tables together with the changes that wait for their invalidation.

use guest_addr::GuestPhysRange;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::AddressSpaceId;
use crate::settle::gather::Gather;
use crate::settle::release;
use crate::tree::tables::Tables;

/// A tree, and what was changed in it and not yet invalidated: all that an operation works on.
#[repr(C)]
pub(crate) struct GatheringTree<F: Format, H: TableHost> {
    // In this order, what every operation reads shares a few cache lines, and the request comes last.
    pub(crate) tables: Tables<F, H>,
    pub(crate) gather: Gather,
}

impl<F: Format, H: TableHost> GatheringTree<F, H> {
    /// A tree for the address space `space`, in which nothing was changed.
    #[inline]
    pub(crate) fn new(tables: Tables<F, H>, space: AddressSpaceId) -> Self {
        let gather = Gather::new(space);
        Self { tables, gather }
    }

    /// Carries out the pending batch.
    #[inline]
    pub(crate) fn flush(&mut self) {
        release::flush(&self.tables, &mut self.gather);
    }

    /// Carries out the pending batch if it concerns `range`.
    #[inline]
    pub(crate) fn settle(&mut self, range: GuestPhysRange) {
        if self.gather.overlaps(range) {
            release::carry_out(&self.tables, &mut self.gather);
        }
    }
}
