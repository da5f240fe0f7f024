//! An allocator that stresses its user: far addresses, hostile contents, failures on demand.
#![expect(unsafe_code, reason = "implements `HostFrames`")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock};

use guest_addr::{HostPhysAddr, HostPhysRange, PAGE_SIZE_4K};
use nested_page_table::HostFrames;

use crate::memory::SparseMemory;
use crate::sync::locked;
use crate::violation::{Violation, Violations};

/// What new memory holds: a word that is a valid page or table on RISC-V, AArch64 and x86 alike.
const FRESH: u64 = 0x55_4000_07f7;
/// What memory holds after it was given back: valid everywhere too, with another address.
const FREED: u64 = 0xaa_8000_07f7;

/// Where frames are placed. Runs are never adjacent: there is a gap between any two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// From host-physical address 0 upwards: the address 0 is a frame like any other.
    FromZero,
    /// From the last byte of an address space of this many bits downwards.
    BelowBits(u32),
}

/// How often an allocation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Once.
    Once,
    /// From then on, until told otherwise.
    FromThenOn,
}

/// Somebody who wants to know which memory is out.
pub trait FrameObserver: Send + Sync {
    /// `range` was just handed out.
    fn after_alloc(&self, range: HostPhysRange);

    /// `range` is about to be given back; its contents are still what they were.
    fn before_free(&self, range: HostPhysRange);
}

/// The contents of all frames that were out at one moment, to compare.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<u64, Vec<Option<u64>>>);

impl Snapshot {
    /// The addresses of the words that differ. A frame that only one of the two has is named by its
    /// first word.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<HostPhysAddr> {
        let frames: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let mut different = Vec::new();
        for frame in frames {
            match (self.0.get(frame), other.0.get(frame)) {
                (Some(before), Some(after)) => {
                    let words = (*frame..).step_by(8).zip(before.iter().zip(after));
                    let changed = words.filter(|(_, (before, after))| before != after);
                    different.extend(changed.map(|(address, _)| HostPhysAddr::new(address)));
                }
                _ => different.push(HostPhysAddr::new(*frame)),
            }
        }
        different
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot of {} frames", self.0.len())
    }
}

/// A run as it was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    base: u64,
    frames: u64,
}

#[derive(Debug)]
struct State {
    placement: Placement,
    /// The next address upwards, or the first one that is taken downwards.
    cursor: u64,
    /// The run of every frame that is out.
    out: BTreeMap<u64, Run>,
    /// Frames that were out and are not.
    returned: BTreeSet<u64>,
    /// The same, as runs to be handed out again, by their number of frames.
    free: BTreeMap<u64, Vec<u64>>,
    calls: u64,
    failure: Option<(u64, Failure)>,
}

/// A frame allocator over [`SparseMemory`].
///
/// New memory holds words that decode as valid entries, and so does memory that was given back,
/// which is handed out again as soon as possible. Mistakes of the user are [`Violation`]s.
/// `PARTIAL_FREE` is [`HostFrames::PARTIAL_FREE`].
pub struct SimulatedFrames<const PARTIAL_FREE: bool = true> {
    memory: Arc<SparseMemory>,
    violations: Arc<Violations>,
    observer: OnceLock<Arc<dyn FrameObserver>>,
    state: Mutex<State>,
}

impl<const PARTIAL_FREE: bool> SimulatedFrames<PARTIAL_FREE> {
    /// An allocator that makes memory exist in `memory` as it needs it, and reports to `violations`.
    #[must_use]
    pub fn new(
        memory: Arc<SparseMemory>,
        violations: Arc<Violations>,
        placement: Placement,
    ) -> Self {
        let cursor = match placement {
            Placement::FromZero => 0,
            Placement::BelowBits(bits) => 1 << bits.min(56),
        };
        let state = State {
            placement,
            cursor,
            out: BTreeMap::new(),
            returned: BTreeSet::new(),
            free: BTreeMap::new(),
            calls: 0,
            failure: None,
        };
        Self {
            memory,
            violations,
            observer: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    /// Tells `observer` what is handed out and given back. Only the first observer counts.
    pub fn observe(&self, observer: Arc<dyn FrameObserver>) {
        // A second observer is ignored, as documented.
        let _ = self.observer.set(observer);
    }

    /// Makes the `k`-th allocation from now fail (1 is the next one), once or from then on. 0 ends
    /// all failures.
    pub fn fail_at(&self, k: u64, failure: Failure) {
        locked(&self.state).failure = (k > 0).then_some((k, failure));
    }

    /// The number of allocations that were asked for, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        locked(&self.state).calls
    }

    /// The frames that are out, ascending.
    #[must_use]
    pub fn outstanding(&self) -> Vec<HostPhysAddr> {
        let state = locked(&self.state);
        state.out.keys().copied().map(HostPhysAddr::new).collect()
    }

    /// Whether a frame that is out has a byte of `range`.
    #[must_use]
    pub fn is_any_out(&self, range: HostPhysRange) -> bool {
        let first = range.start().align_down_4k().as_u64();
        let state = locked(&self.state);
        state
            .out
            .range(first..=range.last().as_u64())
            .next()
            .is_some()
    }

    /// The number of frames that are out.
    #[must_use]
    pub fn outstanding_count(&self) -> usize {
        locked(&self.state).out.len()
    }

    /// The contents of all frames that are out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let words = |frame: u64| {
            (frame..frame + PAGE_SIZE_4K)
                .step_by(8)
                .map(|address| self.memory.read(HostPhysAddr::new(address)))
                .collect()
        };
        let state = locked(&self.state);
        Snapshot(
            state
                .out
                .keys()
                .map(|&frame| (frame, words(frame)))
                .collect(),
        )
    }

    fn place(&self, state: &mut State, run_frames: u64, alignment: u64) -> Option<u64> {
        let bytes = run_frames.checked_mul(PAGE_SIZE_4K)?;
        let gap = (1 + state.calls % 3) * PAGE_SIZE_4K;
        loop {
            let base = match state.placement {
                Placement::FromZero => {
                    let base = state.cursor.checked_next_multiple_of(alignment)?;
                    state.cursor = base.checked_add(bytes)?.checked_add(gap)?;
                    base
                }
                Placement::BelowBits(_) => {
                    let base = state.cursor.checked_sub(bytes)? & !(alignment - 1);
                    state.cursor = base.checked_sub(gap)?;
                    base
                }
            };
            if self.memory.add(HostPhysAddr::new(base), run_frames, FRESH) {
                return Some(base);
            }
            if base.checked_add(bytes)? > 1 << 56 {
                return None;
            }
        }
    }

    /// The violation in giving back `frames` frames from `base` on, if there is one.
    fn refusal(state: &State, base: u64, frames: u64) -> Option<Violation> {
        let wrong_run = Violation::WrongRun {
            base: HostPhysAddr::new(base),
            frames,
        };
        let mut run = None;
        for number in 0..frames {
            let frame = base.saturating_add(number.saturating_mul(PAGE_SIZE_4K));
            let address = HostPhysAddr::new(frame);
            match state.out.get(&frame) {
                Some(found) if run.is_none_or(|run| run == *found) => run = Some(*found),
                Some(_) => return Some(wrong_run),
                None if state.returned.contains(&frame) => {
                    return Some(Violation::DoubleFree { frame: address });
                }
                None if run.is_some() => return Some(wrong_run),
                None => return Some(Violation::NeverAllocated { frame: address }),
            }
        }
        let whole = run == Some(Run { base, frames });
        (run.is_none() || !(whole || PARTIAL_FREE)).then_some(wrong_run)
    }

    fn take_back(&self, base: u64, frames: u64) {
        self.memory.fill(HostPhysAddr::new(base), frames, FREED);
        let mut state = locked(&self.state);
        for frame in (base..)
            .step_by(PAGE_SIZE_4K as usize)
            .take(frames as usize)
        {
            state.out.remove(&frame);
            state.returned.insert(frame);
        }
        state.free.entry(frames).or_default().push(base);
    }
}

impl State {
    /// Whether the allocation that is being counted has to fail.
    fn fails_now(&mut self) -> bool {
        self.calls += 1;
        match self.failure {
            Some((1, Failure::Once)) => {
                self.failure = None;
                true
            }
            Some((1, Failure::FromThenOn)) => true,
            Some((k, failure)) => {
                self.failure = Some((k - 1, failure));
                false
            }
            None => false,
        }
    }

    /// The run that was given back last and fits, to be handed out again.
    fn reuse(&mut self, frames: u64, alignment: u64) -> Option<u64> {
        let runs = self.free.get_mut(&frames)?;
        let fitting = runs
            .iter()
            .rposition(|base| base.is_multiple_of(alignment))?;
        Some(runs.remove(fitting))
    }

    fn hand_out(&mut self, run: Run) {
        for number in 0..run.frames {
            let frame = run.base + number * PAGE_SIZE_4K;
            self.returned.remove(&frame);
            self.out.insert(frame, run);
        }
    }
}

// SAFETY: a run that is out belongs to one arena of the memory, which is contiguous and never
// removed; `hand_out` keeps it from being handed out again until it was given back; arenas are
// aligned to 4 KiB; the state is behind a mutex.
unsafe impl<const PARTIAL_FREE: bool> HostFrames for SimulatedFrames<PARTIAL_FREE> {
    const PARTIAL_FREE: bool = PARTIAL_FREE;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let mut state = locked(&self.state);
        if frames == 0 || !alignment.is_power_of_two() || alignment < PAGE_SIZE_4K {
            self.violations
                .report(Violation::BadAllocation { frames, alignment });
            return None;
        }
        if state.fails_now() {
            return None;
        }
        let base = state
            .reuse(frames, alignment)
            .or_else(|| self.place(&mut state, frames, alignment))?;
        state.hand_out(Run { base, frames });
        drop(state);
        let base = HostPhysAddr::new(base);
        let range = HostPhysRange::from_start_size(base, frames * PAGE_SIZE_4K);
        if let (Some(observer), Ok(range)) = (self.observer.get(), range) {
            observer.after_alloc(range);
        }
        Some(base)
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let refusal = Self::refusal(&locked(&self.state), base.as_u64(), frames);
        let bytes = frames.saturating_mul(PAGE_SIZE_4K);
        let range = HostPhysRange::from_start_size(base, bytes);
        match (refusal, range) {
            (None, Ok(range)) => {
                if let Some(observer) = self.observer.get() {
                    observer.before_free(range);
                }
                self.take_back(base.as_u64(), frames);
            }
            (Some(violation), _) => self.violations.report(violation),
            (None, Err(_)) => self.violations.report(Violation::WrongRun { base, frames }),
        }
    }

    #[expect(
        clippy::panic,
        reason = "there is no pointer to return, and going on would be undefined behaviour"
    )]
    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        let frame = address.align_down_4k().as_u64();
        if locked(&self.state).returned.contains(&frame) {
            self.violations.report(Violation::UsedAfterFree { address });
        }
        match self.memory.pointer(address) {
            Some(pointer) => pointer,
            None => panic!("no memory exists at host-physical {:#x}", address.as_u64()),
        }
    }
}

impl<const PARTIAL_FREE: bool> fmt::Debug for SimulatedFrames<PARTIAL_FREE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = locked(&self.state);
        f.debug_struct("SimulatedFrames")
            .field("calls", &state.calls)
            .field("outstanding", &state.out.len())
            .finish_non_exhaustive()
    }
}
