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
///   out, and no walk that began before can still use what was removed: table frames are given back on the
///   strength of that;
/// - `invalidate` does not call back into the table.
pub unsafe trait TableHost {
    /// Where table frames come from.
    type Frames: HostFrames;

    /// The source of table frames; the same one at every call.
    fn frames(&self) -> &Self::Frames;

    /// Carries out `request`, and returns when **every CPU it addresses** has done so and no walk
    /// that began before can still use what was removed.
    ///
    /// The stores to the tables come before the call, for this CPU. Before another CPU is asked to carry it
    /// out, they have to be ordered before the question: by a release, or by what an interrupt to another
    /// CPU takes anyway.
    ///
    /// Called with the table borrowed mutably; it must not call back into the table.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: a CPU could not do it. The table then gives nothing back and reports nothing. It
    /// keeps what was to be invalidated pending, and asks again: in the next operation that needs it, at the
    /// end of the next [`Edit`](crate::Edit), or when it is dropped.
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
