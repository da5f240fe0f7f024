//! The host of a hypervisor that stops a guest before it changes the guest's table.
#![expect(
    unsafe_code,
    reason = "vouches that no CPU uses a translation while its table changes"
)]

use core::fmt;

use nested_page_table::{HostFrames, Invalidation, InvalidationFailed, TableHost};

/// A host that need not invalidate: what `axvm` 0.8 is on RISC-V and x86.
///
/// A hypervisor that changes tables while guests run implements [`TableHost`] itself, with the instructions of its
/// architecture.
pub struct StoppedGuests<Frames> {
    frames: Frames,
}

impl<Frames: HostFrames> StoppedGuests<Frames> {
    /// The host over `frames`.
    ///
    /// # Safety
    ///
    /// For every table that has this host:
    ///
    /// - no CPU is in a guest that uses the table while the table is changed or dropped;
    /// - every CPU invalidates all translations of the address space after such a change and before it enters that guest
    ///   again. Where frames of the table may be used for something else meanwhile, no CPU may use a cached translation
    ///   for the guest's memory in between, not by a speculative walk either.
    #[must_use]
    pub const unsafe fn new(frames: Frames) -> Self {
        Self { frames }
    }
}

impl<Frames> fmt::Debug for StoppedGuests<Frames> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoppedGuests")
    }
}

// SAFETY: `frames` is always the same. The caller of `new` vouched that no CPU uses an old translation once a
// change is made: each invalidation is done before the CPU could use one. Nothing calls back.
unsafe impl<Frames: HostFrames> TableHost for StoppedGuests<Frames> {
    type Frames = Frames;

    fn frames(&self) -> &Frames {
        &self.frames
    }

    fn invalidate(&self, _request: &Invalidation) -> Result<(), InvalidationFailed> {
        Ok(())
    }
}
