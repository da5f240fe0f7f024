//! A group of changes whose invalidation is gathered.

use core::fmt;
use core::mem;

use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::InvalidationFailed;
use crate::settle::gathering_tree::GatheringTree;

/// A group of changes to a table. The edit gathers the ranges that must be invalidated, and invalidates them in one
/// batch when it is finished or dropped.
///
/// The operation itself invalidates what break-before-make demands. A map of a range whose invalidation is
/// pending carries out the pending batch first. So nothing is mapped where an old translation may live. A batch of
/// more than [`Invalidation::MAX_RANGES`](crate::Invalidation::MAX_RANGES) ranges invalidates the whole address
/// space.
///
/// The pending batch belongs to the table. If an edit is leaked instead of dropped, the next edit or the drop of the
/// table carries out its batch.
pub struct Edit<'a, F: Format, H: TableHost> {
    pub(crate) tree: &'a mut GatheringTree<F, H>,
}

impl<'a, F: Format, H: TableHost> Edit<'a, F, H> {
    #[inline]
    pub(crate) fn new(tree: &'a mut GatheringTree<F, H>) -> Self {
        Self { tree }
    }

    /// Ends the edit. When this returns, every change is invalidated on all CPUs, and every unlinked table is given
    /// back. Dropping the edit does the same, but cannot report a failure.
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
