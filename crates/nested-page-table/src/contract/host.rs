//! What the table asks of the hypervisor around it.
#![expect(
    unsafe_code,
    reason = "the trait whose promises keep frames out while a CPU can use them"
)]

use crate::contract::frames::HostFrames;
use crate::contract::invalidation::{Invalidation, InvalidationFailed};

/// The two services that a table needs: frames, and the invalidation of cached translations.
///
/// # Safety
///
/// The implementor promises:
///
/// - [`frames`](Self::frames) returns the same source of frames at every call;
/// - when [`invalidate`](Self::invalidate) returns `Ok`, every CPU that the request addresses has carried it
///   out, and no earlier walk can still use a removed entry. The table then gives frames back;
/// - `invalidate` does not call back into the table.
pub unsafe trait TableHost {
    /// Where table frames come from.
    type Frames: HostFrames;

    /// The source of table frames; the same one at every call.
    fn frames(&self) -> &Self::Frames;

    /// Carries out `request`. Returns when **every CPU that it addresses** has done so, and no earlier walk can
    /// still use a removed entry.
    ///
    /// This CPU stored to the tables before the call. Make these stores visible before you signal another
    /// CPU: by a release, or by the barrier that an interrupt to another CPU needs anyway.
    ///
    /// The table is borrowed during the call: do not call back into it. A request of a change through a shared reference may
    /// come from several CPUs at once. A CPU that waits for others in here must be able to carry out their requests meanwhile.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: a CPU could not do it. The table then gives nothing back and reports nothing. The
    /// request stays pending, and the table asks again: in the next operation that needs it, at the
    /// end of the next [`Edit`](crate::Edit), or when the table is dropped.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed>;
}

// SAFETY: every promise is the referent's.
unsafe impl<H: TableHost + ?Sized> TableHost for &H {
    type Frames = H::Frames;

    #[inline]
    fn frames(&self) -> &Self::Frames {
        (**self).frames()
    }

    #[inline]
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        (**self).invalidate(request)
    }
}
