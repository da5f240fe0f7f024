//! The simulated host that tables are built on.
#![expect(unsafe_code, reason = "implements `VmHal`")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use guest_addr::{GuestPhysRange, HostPhysAddr, HostPhysRange};
use guest_vm::{GuestUse, VmHal};
use nested_page_table::{Invalidation, InvalidationFailed};
use simulated_host::{Placement, SimulatedFrames, SparseMemory, Violation, Violations};

/// A host without CPUs: frames for tables exist, the memory of the guests does not.
///
/// A configuration may ask for more memory than this machine has, so regions of RAM are only
/// written down. Nobody reads or writes guest memory here: identical regions keep their
/// contents, and what the guests would be allocated gets addresses from [`Host::promise`].
#[derive(Debug)]
pub(crate) struct Host {
    memory: Arc<SparseMemory>,
    violations: Arc<Violations>,
    frames: SimulatedFrames,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The regions of RAM that are taken: their last bytes by their first.
    reserved: BTreeMap<HostPhysAddr, HostPhysAddr>,
    /// The next address to promise.
    promised: u64,
    /// The host memory of all plans so far: sorted ranges that neither overlap nor touch.
    planned: Vec<HostPhysRange>,
}

impl Host {
    /// A host whose tables lie below 2^`output_bits`.
    pub(crate) fn new(output_bits: u32) -> Self {
        let memory = Arc::new(SparseMemory::new());
        let violations = Arc::new(Violations::default());
        let placement = Placement::BelowBits(output_bits);
        let frames = SimulatedFrames::new(Arc::clone(&memory), Arc::clone(&violations), placement);
        Self {
            memory,
            violations,
            frames,
            state: Mutex::default(),
        }
    }

    pub(crate) fn memory(&self) -> &SparseMemory {
        &self.memory
    }

    /// How many frames tables have taken.
    pub(crate) fn frames_out(&self) -> usize {
        self.frames.outstanding_count()
    }

    /// What the tables did wrong with frames.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.violations.all()
    }

    /// Grants the guests the host memory that a plan names.
    pub(crate) fn grant(&self, ranges: impl Iterator<Item = HostPhysRange>) {
        let planned = &mut self.state().planned;
        planned.extend(ranges);
        planned.sort_unstable();
        planned.dedup_by(|next, range| {
            let joins = next.overlaps(range) || range.is_followed_by(next);
            if joins && let Some(both) = range.hull(next) {
                *range = both;
            }
            joins
        });
    }

    /// Host addresses for memory that the hypervisor would allocate for `guest`: runs of 2 MiB where
    /// those fit, and never larger ones. `None` when host addresses run out.
    pub(crate) fn promise(&self, guest: &GuestPhysRange) -> Option<HostPhysAddr> {
        const BLOCK: u64 = 2 << 20;
        let mut state = self.state();
        // Guest and host differ by an odd number of blocks, so that no larger leaf is aligned.
        let base = state
            .promised
            .checked_add((guest.start().as_u64() ^ BLOCK) % (2 * BLOCK))?;
        state.promised = base
            .checked_add(guest.size())?
            .checked_next_multiple_of(2 * BLOCK)?;
        Some(HostPhysAddr::new(base))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: `frames` is one field. Guest memory does not exist here, so nobody uses it. `pointer` panics where
// no memory exists: a read or write of guest memory cannot reach anything. There are no CPUs to invalidate.
unsafe impl VmHal for Host {
    type Frames = SimulatedFrames;

    fn frames(&self) -> &SimulatedFrames {
        &self.frames
    }

    /// What a plan holds, and what was promised.
    fn grants(&self, range: HostPhysRange, _: GuestUse) -> bool {
        let state = self.state();
        let below = state
            .planned
            .partition_point(|planned| planned.start() <= range.start());
        let planned = below
            .checked_sub(1)
            .and_then(|place| state.planned.get(place));
        planned.is_some_and(|planned| planned.contains_range(&range))
            || range.last().as_u64() < state.promised
    }

    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
        let Ok(range) = HostPhysRange::from_start_size(base, size) else {
            return false;
        };
        let reserved = &mut self.state().reserved;
        let below = reserved.range(..=range.last()).next_back();
        let is_free = below.is_none_or(|(_, last)| *last < range.start());
        if is_free {
            reserved.insert(range.start(), range.last());
        }
        is_free
    }

    fn dealloc_memory_region_at(&self, base: HostPhysAddr, _: u64) {
        self.state().reserved.remove(&base);
    }

    /// There are no CPUs that could remember anything.
    fn invalidate(&self, _: &Invalidation) -> Result<(), InvalidationFailed> {
        Ok(())
    }
}
