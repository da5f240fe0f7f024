//! A group of changes whose invalidation is gathered.

use core::fmt;
use core::mem;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidationFailed;
use crate::settle::gathering_tree::GatheringTree;

/// A group of changes to a table. What they invalidate is gathered and carried out in one batch when
/// the edit is finished or dropped.
///
/// What break-before-make demands is invalidated inside the operation already. An operation on a
/// range whose invalidation is still pending carries out the pending batch first, so that nothing is
/// mapped where an old translation may live. A batch that gathered more than
/// [`Invalidation::MAX_RANGES`](crate::Invalidation::MAX_RANGES) ranges invalidates the whole address
/// space.
///
/// The pending batch belongs to the table: an edit that is leaked instead of dropped delays it to
/// the next edit or to the table's own end, and loses nothing.
pub struct Edit<'a, F: Format, H: TableHost> {
    pub(crate) tree: &'a mut GatheringTree<F, H>,
}

impl<'a, F: Format, H: TableHost> Edit<'a, F, H> {
    #[inline]
    pub(crate) fn new(tree: &'a mut GatheringTree<F, H>) -> Self {
        Self { tree }
    }

    /// Ends the edit: every change is invalidated on all CPUs when this returns, and every table
    /// that was unlinked is given back. Dropping the edit does the same, but cannot say that it failed.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: the host could not invalidate. The batch stays pending, whole: CPUs may still
    /// use old translations, and nothing was given back. The next edit of the table tries again.
    #[inline]
    pub fn finish(self) -> Result<(), InvalidationFailed> {
        // Or its drop would try again at once: also where the host unwinds, which would then abort.
        mem::ManuallyDrop::new(self).tree.flush()
    }
}

impl<F: Format, H: TableHost> Drop for Edit<'_, F, H> {
    #[inline]
    fn drop(&mut self) {
        // Where it fails, the batch stays pending: there is nobody to tell.
        let _ = self.tree.flush();
    }
}

impl<F: Format, H: TableHost> fmt::Debug for Edit<'_, F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit")
            .field("pending", &self.tree.gather.ranges())
            .finish_non_exhaustive()
    }
}
