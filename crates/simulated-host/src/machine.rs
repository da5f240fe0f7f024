//! CPUs that walk, remember as much as they may, and are asked what they still believe.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};

use crate::event_log::{Event, EventLog, Watched};
use crate::frames::FrameObserver;
use crate::instruction::TlbInstruction;
use crate::memory::SparseMemory;
use crate::staleness::{Present, permits};
use crate::sync::locked;
use crate::tlb::{CachedWalk, Region, Rules, Tag, TlbModel};
use crate::violation::{Violation, Violations};
use crate::walk::{Outcome, Permissions, Walk, Walker};

/// What came of an access by a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reached this byte.
    Allowed(HostPhysAddr),
    /// It faulted, rightly or because the CPU remembers what is no longer so.
    Fault,
}

/// All CPUs with their TLBs, over one memory.
///
/// The CPUs are as hostile as the architecture permits: they keep whatever they see, and walk again
/// as soon as they were made to forget.
pub struct Machine {
    memory: Arc<SparseMemory>,
    violations: Arc<Violations>,
    walker: Box<dyn Walker>,
    state: Mutex<State>,
    log: EventLog,
    /// Frames that were allocated and not cleaned since, if anybody cares.
    unclean: Mutex<Option<BTreeSet<u64>>>,
}

#[derive(Debug)]
struct State {
    model: Box<dyn TlbModel>,
    /// The table that belongs to a tag now.
    roots: BTreeMap<Tag, u64>,
}

impl Machine {
    /// A machine with the CPUs of `model`, which walk as `walker` does.
    #[must_use]
    pub fn new(
        memory: Arc<SparseMemory>,
        violations: Arc<Violations>,
        model: Box<dyn TlbModel>,
        walker: Box<dyn Walker>,
    ) -> Self {
        let state = State {
            model,
            roots: BTreeMap::new(),
        };
        Self {
            memory,
            violations,
            walker,
            state: Mutex::new(state),
            log: EventLog::default(),
            unclean: Mutex::new(None),
        }
    }

    /// The number of CPUs.
    #[must_use]
    pub fn cpus(&self) -> usize {
        locked(&self.state).model.caches().len()
    }

    /// The width of guest-physical addresses in bits.
    #[must_use]
    pub fn input_bits(&self) -> u32 {
        self.walker.input_bits()
    }

    /// The differences between architectures.
    #[must_use]
    pub fn rules(&self) -> Rules {
        locked(&self.state).model.rules()
    }

    /// The number of walks that `cpu` remembers, in whole or in part.
    #[must_use]
    pub fn cached(&self, cpu: usize) -> usize {
        let state = locked(&self.state);
        state.model.caches().get(cpu).map_or(0, |cache| cache.len())
    }

    /// Has `cpu` walk for `gpa` in the table that `root_register` selects, and remember. From now on
    /// this is the table of its address space.
    pub fn touch(&self, cpu: usize, root_register: u64, gpa: GuestPhysAddr) -> Walk {
        let mut state = locked(&self.state);
        state.select(root_register);
        let walk = self.present(root_register).walk(gpa.as_u64());
        self.remember(&mut state, cpu..cpu + 1, &walk);
        walk
    }

    /// Has every CPU walk for every byte of `range`, and returns the walks in ascending order: each
    /// covers all that its last entry decides about.
    pub fn touch_range(&self, root_register: u64, range: GuestPhysRange) -> Vec<Walk> {
        let mut state = locked(&self.state);
        state.select(root_register);
        let cpus = 0..state.model.caches().len();
        let (first, last) = (range.start().as_u64(), range.last().as_u64());
        let walks = self.walks(root_register, first, last);
        for walk in &walks {
            self.remember(&mut state, cpus.clone(), walk);
        }
        walks
    }

    /// Like [`touch_range`](Self::touch_range), for the whole guest-physical address space.
    pub fn touch_all(&self, root_register: u64) -> Vec<Walk> {
        let last = u64::MAX >> 64_u32.saturating_sub(self.walker.input_bits()).min(63);
        match GuestPhysRange::from_start_last(GuestPhysAddr::ZERO, GuestPhysAddr::new(last)) {
            Ok(range) => self.touch_range(root_register, range),
            Err(_) => Vec::new(),
        }
    }

    /// Has the guest on `cpu` access `gpa`, with the least pleasant result that the CPU may give:
    /// where it may use what it remembers or the tables, and one of them faults, it faults.
    ///
    /// An access that only a stale entry permits, or that it leads elsewhere, is a violation.
    pub fn access(
        &self,
        cpu: usize,
        root_register: u64,
        gpa: GuestPhysAddr,
        needs: Permissions,
    ) -> Access {
        let current = {
            let mut state = locked(&self.state);
            state.select(root_register);
            let present = self.present(root_register);
            let current = present.walk(gpa.as_u64());
            let faults = self.use_cached(&state, cpu, &present, &current, gpa.as_u64(), needs);
            if faults || !permits(&current, needs) {
                state.fault(cpu, root_register, gpa.as_u64());
                return Access::Fault;
            }
            current
        };
        self.touch(cpu, root_register, gpa);
        match current.outcome_at(gpa.as_u64()) {
            Outcome::Translation(translation) => Access::Allowed(translation.host),
            _ => Access::Fault,
        }
    }

    /// Whether something that `cpu` remembers faults; reports what must not be used.
    fn use_cached(
        &self,
        state: &State,
        cpu: usize,
        present: &Present<'_>,
        current: &Walk,
        gpa: u64,
        needs: Permissions,
    ) -> bool {
        let tag = state.model.tag(present.root_register);
        let Some(cache) = state.model.caches().get(cpu) else {
            return false;
        };
        let mut faults = false;
        for cached in cache.walks_in(tag, gpa, gpa) {
            for view in present.views(cached, gpa) {
                if permits(&view.walk, needs) {
                    self.violations
                        .report_all(view.stale_use(cpu, current, gpa));
                } else {
                    faults = true;
                }
            }
        }
        faults
    }

    /// Compares everything that any CPU remembers with the tables, and reports what must not be.
    ///
    /// The cost is a few reads for each remembered walk whose entries are as they were, and some
    /// walks for each other one.
    pub fn check(&self) {
        self.compare(|present, cpu, cached, rules| {
            let stale = present.examine(cpu, cached, rules.fault_drops_translation);
            let unbroken = rules
                .break_before_make
                .then(|| present.unbroken(cpu, cached));
            [stale, unbroken.flatten()]
        });
    }

    /// Reports violations of break-before-make: the only thing that must hold within an operation.
    fn check_breaks(&self) {
        if self.rules().break_before_make {
            self.compare(|present, cpu, cached, _| [present.unbroken(cpu, cached), None]);
        }
    }

    fn compare(
        &self,
        look: impl Fn(&Present<'_>, usize, &CachedWalk, Rules) -> [Option<Violation>; 2],
    ) {
        let state = locked(&self.state);
        let rules = state.model.rules();
        for (&tag, &root_register) in &state.roots {
            let present = self.present(root_register);
            for (cpu, cache) in state.model.caches().iter().enumerate() {
                for cached in cache.walks_in(tag, 0, u64::MAX) {
                    let found = look(&present, cpu, cached, rules);
                    self.violations.report_all(found.into_iter().flatten());
                }
            }
        }
    }

    /// Lets all CPUs but `cpu` remember that nothing was in `range` of the table that `root_register` selects, until
    /// each has faulted for that once: something is there now, and only `cpu` was made to forget.
    pub(crate) fn excuse_others(&self, cpu: usize, root_register: u64, first: u64, last: u64) {
        let mut state = locked(&self.state);
        let tag = state.model.tag(root_register);
        for (other, cache) in state.model.caches_mut().iter_mut().enumerate() {
            if other != cpu {
                cache.excuse_in(tag, first, last, true);
            }
        }
    }

    /// Executes a sequence of instructions on `cpu`, which has stored to tables just before and
    /// believes afterwards that it is done. What CPUs forget they look up again at once.
    pub fn execute(&self, cpu: usize, instructions: &[TlbInstruction]) {
        self.check_breaks();
        let mut state = locked(&self.state);
        let mut report = |violation| self.violations.report(violation);
        state.model.begin(cpu);
        for instruction in instructions {
            let model = &mut state.model;
            model.execute(cpu, instruction, &self.memory, &mut report);
        }
        state.model.end(cpu, &mut report);
        self.look_again(&mut state);
    }

    fn look_again(&self, state: &mut State) {
        for cpu in 0..state.model.caches().len() {
            let cache = state.model.caches_mut().get_mut(cpu);
            let mut regions = cache.map_or_else(Vec::new, |cache| cache.take_disturbed());
            regions.sort_unstable();
            regions.dedup();
            for Region { tag, gpa, last } in regions {
                let Some(&root_register) = state.roots.get(&tag) else {
                    continue;
                };
                for walk in self.walks(root_register, gpa, last) {
                    self.remember(state, cpu..cpu + 1, &walk);
                }
            }
        }
    }

    /// Declares that no CPU will enter the address space of `root_register` any more, until it is
    /// touched again, perhaps with another table. What the CPUs remember of it stays until it is
    /// invalidated, but they do not walk its tables again.
    ///
    /// For use before a table is dropped: CPUs that might still run the guest would go on walking
    /// tables that are being given back, which is then reported.
    pub fn retire(&self, root_register: u64) {
        let mut state = locked(&self.state);
        let tag = state.model.tag(root_register);
        state.roots.remove(&tag);
    }

    /// From now on, a frame that a walk reaches must have been cleaned to the point of coherency
    /// after it was allocated.
    pub fn require_cleaning(&self) {
        locked(&self.unclean).get_or_insert_default();
    }

    /// From now on, notes what happens: see [`take_events`](Self::take_events).
    pub fn log_events(&self) {
        self.log.switch_on();
    }

    /// Notes from now on when the guest page `gpa` in the table of `root_register` is linked and unlinked.
    pub fn watch_page(&self, root_register: u64, gpa: GuestPhysAddr) {
        self.log.watch_page(self, root_register, gpa);
    }

    /// Notes from now on when the word at `address`, a multiple of 8, is changed.
    pub fn watch_word(&self, address: HostPhysAddr) {
        self.log.watch_word(self, address);
    }

    /// What happened since the log was switched on, or since the last call, in order.
    pub fn take_events(&self) -> Vec<Event> {
        self.log.take(self)
    }

    /// Notes `event`, if events are noted.
    pub(crate) fn note(&self, event: Event) {
        self.log.note(self, event);
    }

    /// Cleans the data caches for `range`.
    pub fn clean(&self, range: HostPhysRange) {
        self.note(Event::Cleaned(range));
        self.forget_unclean(range);
    }

    fn forget_unclean(&self, range: HostPhysRange) {
        if let Some(unclean) = locked(&self.unclean).as_mut() {
            // A frame is clean when all of it was: callers clean whole frames.
            unclean.retain(|frame| {
                let end = frame + (PAGE_SIZE_4K - 1);
                *frame < range.start().as_u64() || end > range.last().as_u64()
            });
        }
    }

    fn present(&self, root_register: u64) -> Present<'_> {
        Present {
            memory: self.memory.reader(),
            walker: self.walker.as_ref(),
            root_register,
        }
    }

    /// The walks for every byte of `first..=last`.
    fn walks(&self, root_register: u64, first: u64, last: u64) -> Vec<Walk> {
        let present = self.present(root_register);
        let mut walks = Vec::new();
        let mut next = Some(first);
        while let Some(gpa) = next.filter(|gpa| *gpa <= last) {
            let walk = present.walk(gpa);
            next = walk.last().as_u64().max(gpa).checked_add(1);
            walks.push(walk);
        }
        walks
    }

    fn remember(&self, state: &mut State, cpus: core::ops::Range<usize>, walk: &Walk) {
        self.require_clean(walk);
        let tag = state.model.tag(walk.root_register());
        let kept = state.model.keeps(&walk.outcome());
        let caches = state.model.caches_mut();
        for cache in caches.get_mut(cpus).unwrap_or_default() {
            cache.insert(tag, *walk, kept);
        }
    }

    fn require_clean(&self, walk: &Walk) {
        let unclean = locked(&self.unclean);
        let (Outcome::Translation(translation), Some(unclean)) = (walk.outcome(), unclean.as_ref())
        else {
            return;
        };
        let first = translation.host.as_u64();
        let reached = unclean.range(first..first.saturating_add(walk.size()));
        self.violations
            .report_all(reached.take(1).map(|&frame| Violation::NotCleaned {
                gpa: walk.gpa(),
                frame: HostPhysAddr::new(frame),
            }));
    }
}

impl State {
    fn select(&mut self, root_register: u64) {
        let tag = self.model.tag(root_register);
        self.roots.insert(tag, root_register);
    }

    /// A fault on `cpu`: drops what the architecture says it drops.
    fn fault(&mut self, cpu: usize, root_register: u64, gpa: u64) {
        let tag = self.model.tag(root_register);
        if let Some(cache) = self.model.caches_mut().get_mut(cpu) {
            cache.excuse_in(tag, gpa, gpa, false);
        }
        if !self.model.rules().fault_drops_translation {
            return;
        }
        if let Some(cache) = self.model.caches_mut().get_mut(cpu) {
            cache.forget_in(Some(tag), gpa, gpa, |_, kept| *kept = Default::default());
        }
    }
}

impl Watched for Machine {
    fn host_of(&self, root_register: u64, gpa: GuestPhysAddr) -> Option<HostPhysAddr> {
        match self
            .present(root_register)
            .walk(gpa.as_u64())
            .outcome_at(gpa.as_u64())
        {
            Outcome::Translation(translation) => Some(translation.host),
            _ => None,
        }
    }

    fn word(&self, address: HostPhysAddr) -> Option<u64> {
        self.memory.read(address)
    }
}

impl FrameObserver for Machine {
    fn after_alloc(&self, range: HostPhysRange) {
        self.note(Event::Allocated(range));
        if let Some(unclean) = locked(&self.unclean).as_mut() {
            let frames = (range.start().as_u64()..=range.last().as_u64()).step_by(0x1000);
            unclean.extend(frames);
        }
    }

    fn before_free(&self, range: HostPhysRange) {
        self.note(Event::Freed(range));
        let state = locked(&self.state);
        for (cpu, cache) in state.model.caches().iter().enumerate() {
            let used = cache
                .walks()
                .find_map(|(_, cached)| freed_early(cpu, cached, range));
            self.violations.report_all(used);
        }
        drop(state);
        self.forget_unclean(range);
    }
}

/// The violation in giving back `range` while `cpu` has `cached`, if there is one.
fn freed_early(cpu: usize, cached: &CachedWalk, range: HostPhysRange) -> Option<Violation> {
    let CachedWalk { walk, kept, .. } = *cached;
    let mut entries = walk.steps().iter().map(|step| range.contains(step.address));
    let in_root = entries.next() == Some(true);
    if in_root && (kept.tables || kept.result) {
        let cached = walk;
        return Some(Violation::FreedWhileRoot { range, cpu, cached });
    }
    if kept.tables && entries.any(|inside| inside) {
        let cached = walk;
        return Some(Violation::FreedWhileTable { range, cpu, cached });
    }
    let Outcome::Translation(translation) = walk.outcome() else {
        return None;
    };
    let mapped = HostPhysRange::from_start_size(translation.host, walk.size()).ok()?;
    ((kept.result || kept.combined) && mapped.overlaps(&range)).then_some(
        Violation::FreedWhileMapped {
            range,
            cpu,
            cached: walk,
        },
    )
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = locked(&self.state);
        f.debug_struct("Machine")
            .field("roots", &state.roots)
            .field("cpus", &state.model.caches().len())
            .finish_non_exhaustive()
    }
}
