//! A CPU that is inside a guest.

use core::fmt;

use super::RemoteInvalidation;

/// A CPU is inside a guest until this is dropped. See [`RemoteInvalidation::enter`].
///
/// Drop it first thing after the guest has ended, before any lock is taken. Do not leak it: the CPU would stay inside, and
/// who invalidates would wait for it for ever.
#[must_use = "the CPU is inside until this is dropped"]
pub struct Inside<'a, const N: usize> {
    space: &'a RemoteInvalidation<N>,
    cpu: usize,
    /// It belongs to the CPU that entered.
    not_send: core::marker::PhantomData<*const ()>,
}

impl<'a, const N: usize> Inside<'a, N> {
    pub(super) const fn new(space: &'a RemoteInvalidation<N>, cpu: usize) -> Self {
        Self {
            space,
            cpu,
            not_send: core::marker::PhantomData,
        }
    }

    /// The CPU.
    #[must_use]
    pub const fn cpu(&self) -> usize {
        self.cpu
    }
}

impl<const N: usize> Drop for Inside<'_, N> {
    fn drop(&mut self) {
        if let Some(slot) = self.space.cpus.get(self.cpu) {
            slot.cross();
        }
    }
}

impl<const N: usize> fmt::Debug for Inside<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside")
            .field("cpu", &self.cpu)
            .finish_non_exhaustive()
    }
}
