//! A tree of tables together with the changes that wait for their invalidation.

use guest_addr::GuestPhysRange;

use crate::contract::error::Unsettled;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{AddressSpaceId, InvalidationFailed};
use crate::contract::mapping::UnmappedLeaf;
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
        Self {
            tables,
            gather: Gather::new(space),
        }
    }

    /// Carries out the pending batch; where that fails, it stays pending.
    #[inline]
    pub(crate) fn flush(&mut self) -> Result<(), InvalidationFailed> {
        release::flush(&self.tables, &mut self.gather)
    }

    /// [`flush`](Self::flush), which reports the leaves that wait for it.
    pub(crate) fn flush_reporting(
        &mut self,
        report: &mut dyn FnMut(UnmappedLeaf),
    ) -> Result<(), InvalidationFailed> {
        release::flush_reporting(&self.tables, &mut self.gather, report)
    }

    /// Carries out the pending batch if it concerns `range`.
    #[inline]
    pub(crate) fn settle(&mut self, range: GuestPhysRange) -> Result<(), Unsettled> {
        match self.gather.overlaps(range) {
            true => self.settle_all(),
            false => Ok(()),
        }
    }

    /// Carries out the pending batch, so that no entry holds a note.
    #[inline]
    pub(crate) fn settle_all(&mut self) -> Result<(), Unsettled> {
        self.flush()?;
        self.gather.refuse_unreported()
    }
}
