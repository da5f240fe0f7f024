//! What the three walkers have in common.

use core::convert::Infallible;
use core::fmt::{Debug, Display};
use core::ops::ControlFlow;

use guest_addr::GuestPhysAddr;

use crate::access::Access;
use crate::memory::PhysicalMemory;
use crate::regions::Region;
use crate::walk::Walk;

/// A second-stage page walker with its registers set.
pub trait NestedMmu {
    /// The memory type in the architecture's own bits.
    type Attributes: Copy + Debug + Display + Eq;
    /// Why an access faults, with what the hardware reports about it.
    type Fault: core::error::Error + Copy + Eq;
    /// Why an entry faults whatever the access is.
    type Why: Copy + Debug + Display + Eq;

    /// The bits of a guest-physical address that can be translated; every higher one must be zero.
    fn input_bits(&self) -> u32;

    /// Translates the byte at `address` for `access`, as the hardware does without a TLB.
    ///
    /// Reads at most [`MAX_STEPS`](crate::MAX_STEPS) entries and writes nothing: what the hardware
    /// would write is in the steps.
    fn walk<M: PhysicalMemory + ?Sized>(
        &self,
        memory: &M,
        address: GuestPhysAddr,
        access: Access,
    ) -> Walk<Self::Attributes, Self::Fault>;

    /// Visits all tables once, entry by entry, in ascending guest-physical order, until `visit`
    /// breaks off.
    ///
    /// Reported are leaves, and entries that are neither absent nor legal: those that fault for
    /// every access although they say that something is there. Absent entries are skipped.
    ///
    /// Linear in the entries of the tables. A table that several entries point to is visited for
    /// each of them, so that a corrupt table which points to itself costs exponentially many
    /// visits, though never more levels than the mode has: break off when the count is absurd.
    fn try_for_each_region<M, B, V>(&self, memory: &M, visit: V) -> ControlFlow<B>
    where
        M: PhysicalMemory + ?Sized,
        V: FnMut(Region<Self::Attributes, Self::Why>) -> ControlFlow<B>;

    /// [`try_for_each_region`](Self::try_for_each_region) without a way to break off.
    fn for_each_region<M, V>(&self, memory: &M, mut visit: V)
    where
        M: PhysicalMemory + ?Sized,
        V: FnMut(Region<Self::Attributes, Self::Why>),
    {
        let ControlFlow::Continue(()) = self.try_for_each_region(memory, |region| {
            visit(region);
            ControlFlow::<Infallible>::Continue(())
        });
    }
}
