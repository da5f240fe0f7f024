//! What the table asks of the hypervisor around it.

use crate::contract::frames::HostFrames;
use crate::contract::invalidation::Invalidation;

/// The two services that a table needs: frames, and the invalidation of cached translations.
pub trait TableHost {
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
    fn invalidate(&self, request: &Invalidation);
}

impl<H: TableHost + ?Sized> TableHost for &H {
    type Frames = H::Frames;

    fn frames(&self) -> &Self::Frames {
        (**self).frames()
    }

    fn invalidate(&self, request: &Invalidation) {
        (**self).invalidate(request);
    }
}
