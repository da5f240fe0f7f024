//! The hypervisor's side of the machine: frames, and invalidations that CPUs really carry out.
#![expect(unsafe_code, reason = "vouches for what a table asks of its host")]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use guest_addr::HostPhysRange;
use guest_vm::GuestUse;
use nested_page_table::{
    Change, InvalidatedRange, Invalidation, InvalidationFailed, Scope, TableHost,
};

use crate::behind_cache::BehindCache;
use crate::event_log::Event;
use crate::frames::{Placement, SimulatedFrames};
use crate::instruction::TlbInstruction;
use crate::machine::Machine;
use crate::memory::SparseMemory;
use crate::sync::locked;
use crate::tlb::TlbModel;
use crate::violation::{Violation, Violations};
use crate::walk::Walker;

type Convert = dyn Fn(&Invalidation) -> Vec<TlbInstruction> + Send + Sync;
type Sabotage = dyn FnMut(&Invalidation, &mut Vec<TlbInstruction>) + Send;

/// A host for tables and VMs: frames that can fail, and CPUs that remember.
///
/// It takes the place of a hypervisor ([`TableHost`], `VmHal`). Everything that goes wrong is in
/// [`violations`](Self::violations), which a test asserts to be empty.
pub struct SimulatedHost<const PARTIAL_FREE: bool = true> {
    memory: Arc<SparseMemory>,
    violations: Arc<Violations>,
    frames: SimulatedFrames<PARTIAL_FREE>,
    machine: Arc<Machine>,
    convert: Box<Convert>,
    sabotage: Mutex<Option<Box<Sabotage>>>,
    requests: Mutex<Vec<Invalidation>>,
    cpu: AtomicUsize,
    /// How many invalidations from now on fail.
    failing: AtomicUsize,
    pub(crate) regions: Mutex<Regions>,
}

/// The memory regions at given addresses, and what was done to caches.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    pub(crate) reserved: Vec<HostPhysRange>,
    /// Memory that was made to exist for regions, and is free unless it is reserved.
    pub(crate) known: Vec<HostPhysRange>,
    pub(crate) refused: Vec<HostPhysRange>,
    /// What guests may have, if not everything.
    pub(crate) grants: Option<Vec<(HostPhysRange, GuestUse)>>,
    pub(crate) asked: Vec<(HostPhysRange, GuestUse)>,
    /// The VMIDs of live machines.
    pub(crate) vmids: BTreeSet<u16>,
    pub(crate) behind_cache: BehindCache,
    pub(crate) cleaned: Vec<HostPhysRange>,
    pub(crate) synchronised: Vec<HostPhysRange>,
}

impl<const PARTIAL_FREE: bool> SimulatedHost<PARTIAL_FREE> {
    /// A host with the CPUs of `model`, which walk as `walker` does. `convert` makes instructions out
    /// of a request: what a hypervisor executes on one CPU.
    #[must_use]
    pub fn new(
        placement: Placement,
        model: Box<dyn TlbModel>,
        walker: Box<dyn Walker>,
        convert: impl Fn(&Invalidation) -> Vec<TlbInstruction> + Send + Sync + 'static,
    ) -> Self {
        let memory = Arc::new(SparseMemory::new());
        let violations = Arc::new(Violations::default());
        let frames = SimulatedFrames::new(Arc::clone(&memory), Arc::clone(&violations), placement);
        let machine = Arc::new(Machine::new(
            Arc::clone(&memory),
            Arc::clone(&violations),
            model,
            walker,
        ));
        frames.observe(machine.clone());
        Self {
            memory,
            violations,
            frames,
            machine,
            convert: Box::new(convert),
            sabotage: Mutex::new(None),
            requests: Mutex::new(Vec::new()),
            cpu: AtomicUsize::new(0),
            failing: AtomicUsize::new(0),
            regions: Mutex::new(Regions::default()),
        }
    }

    /// The memory that exists.
    #[must_use]
    pub fn memory(&self) -> &SparseMemory {
        &self.memory
    }

    /// The allocator.
    #[must_use]
    pub fn simulated_frames(&self) -> &SimulatedFrames<PARTIAL_FREE> {
        &self.frames
    }

    /// The CPUs.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Everything that went wrong so far.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.violations.all()
    }

    /// Everything that went wrong since the last call.
    pub fn take_violations(&self) -> Vec<Violation> {
        self.violations.take()
    }

    /// The CPU that executes what the caller does from now on.
    pub fn run_on(&self, cpu: usize) {
        self.cpu.store(cpu, Ordering::Relaxed);
    }

    /// The requests so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Invalidation> {
        locked(&self.requests).clone()
    }

    /// Has `sabotage` change the instructions of every request before they are executed: negative
    /// controls take one away, or all.
    pub fn sabotage(
        &self,
        sabotage: impl FnMut(&Invalidation, &mut Vec<TlbInstruction>) + Send + 'static,
    ) {
        *locked(&self.sabotage) = Some(Box::new(sabotage));
    }

    /// Has the next `count` invalidations fail: they are recorded, and nothing is forgotten.
    pub fn fail_invalidations(&self, count: usize) {
        self.failing.store(count, Ordering::Relaxed);
    }

    /// Records `request` and carries it out on the CPUs that it addresses.
    pub(crate) fn carry_out(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        locked(&self.requests).push(request.clone());
        let left = |count: usize| count.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.failing.fetch_update(order, order, left).is_ok() {
            return Err(InvalidationFailed);
        }
        let mut instructions = (self.convert)(request);
        if let Some(sabotage) = locked(&self.sabotage).as_mut() {
            sabotage(request, &mut instructions);
        }
        let cpu = self.cpu.load(Ordering::Relaxed);
        let only_this = request.scope() == Scope::Local || self.machine.rules().broadcast;
        let cpus = if only_this {
            cpu..cpu + 1
        } else {
            0..self.machine.cpus()
        };
        for cpu in cpus {
            self.machine.execute(cpu, &instructions);
        }
        if request.scope() == Scope::Local && !self.machine.rules().broadcast {
            self.excuse_others(cpu, request);
        }
        self.machine
            .note(Event::Invalidated(Box::new(request.clone())));
        Ok(())
    }

    /// What is fresh is asked of the CPU that stored it: the others may fault once more.
    fn excuse_others(&self, cpu: usize, request: &Invalidation) {
        let register = request.space().root_register;
        if request.covers_everything() {
            self.machine.excuse_others(cpu, register, 0, u64::MAX);
        }
        let mut fresh = request.ranges().to_vec();
        fresh.retain(|changed| changed.change == Change::Fresh);
        for InvalidatedRange { range, .. } in fresh {
            let (first, last) = (range.start().as_u64(), range.last().as_u64());
            self.machine.excuse_others(cpu, register, first, last);
        }
    }

    pub(crate) fn report(&self, violation: Violation) {
        self.violations.report(violation);
    }
}

// SAFETY: the allocator is a field, and every CPU addressed executes what carries the request out before
// `invalidate` returns `Ok`. A test that takes an instruction away breaks that, and frames of simulated
// memory are never given back to the process while the host lives.
unsafe impl<const PARTIAL_FREE: bool> TableHost for SimulatedHost<PARTIAL_FREE> {
    type Frames = SimulatedFrames<PARTIAL_FREE>;

    fn frames(&self) -> &Self::Frames {
        &self.frames
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        self.carry_out(request)
    }
}

impl<const PARTIAL_FREE: bool> fmt::Debug for SimulatedHost<PARTIAL_FREE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedHost")
            .field("frames", &self.frames)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
