//! What CPUs remember of walks, and what makes them forget: one model for each architecture.

mod cache;
mod ept;
mod npt;
mod riscv;
mod stage2;

use std::fmt::Debug;

pub use cache::{Cache, Kept};
pub(crate) use cache::{CachedWalk, Region};
pub use ept::EptTlb;
pub use npt::NptTlb;
pub use riscv::RiscvTlb;
pub use stage2::Stage2Tlb;

use crate::instruction::TlbInstruction;
use crate::memory::SparseMemory;
use crate::violation::Violation;
use crate::walk::Outcome;

/// What cached entries are tagged with: the VMID of hgatp, that of VTTBR_EL2, the EPTP's root, or
/// the ASID of a VMCB.
pub type Tag = u64;

/// How an architecture differs from the others in what is a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// One CPU invalidates for all of them. Otherwise each CPU has to do it.
    pub broadcast: bool,
    /// A valid entry must not be replaced by a different one while the old one may be cached.
    pub break_before_make: bool,
    /// A cached translation with fewer permissions than the tables give is no mistake, since the
    /// fault that it causes drops it.
    pub fault_drops_translation: bool,
}

/// The TLBs of all CPUs of a machine.
pub trait TlbModel: Debug + Send {
    /// The differences that matter to the machine.
    fn rules(&self) -> Rules;

    /// What entries of the table that `root_register` selects are tagged with.
    fn tag(&self, root_register: u64) -> Tag;

    /// What a CPU may keep of a walk that ended in `outcome`.
    fn keeps(&self, outcome: &Outcome) -> Kept;

    /// The caches, one for each CPU.
    fn caches(&self) -> &[Cache];

    /// The caches, one for each CPU.
    fn caches_mut(&mut self) -> &mut [Cache];

    /// Begins a sequence of instructions on `cpu`, which has just stored to tables.
    fn begin(&mut self, _cpu: usize) {}

    /// Executes one instruction on `cpu`.
    fn execute(
        &mut self,
        cpu: usize,
        instruction: &TlbInstruction,
        memory: &SparseMemory,
        report: &mut dyn FnMut(Violation),
    );

    /// Ends the sequence that [`begin`](Self::begin) began: the software believes that it is done.
    fn end(&mut self, _cpu: usize, _report: &mut dyn FnMut(Violation)) {}
}

/// `count` empty caches, at least one.
fn empty_caches(count: usize) -> Vec<Cache> {
    (0..count.max(1)).map(|_| Cache::default()).collect()
}
