//! How often a guest faulted, and what came of it.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_addr::GuestPhysAddr;

use crate::error::VmError;
use crate::fault::FaultOutcome;

/// How often a machine's guest faulted, by outcome, and what was filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultStatistics {
    /// [`FaultOutcome::Filled`].
    pub filled: u64,
    /// [`FaultOutcome::Spurious`].
    pub spurious: u64,
    /// [`FaultOutcome::Denied`].
    pub denied: u64,
    /// [`FaultOutcome::NotMapped`].
    pub not_mapped: u64,
    /// [`FaultOutcome::Retry`].
    pub retries: u64,
    /// Errors.
    pub failed: u64,
    /// The leaves of 4 KiB that faults filled, those around the page of the fault included.
    pub filled_4k: u64,
    /// The leaves of 2 MiB that faults filled.
    pub filled_2m: u64,
    /// How many of the last faults, one after another, were spurious and at one page. It grows without limit
    /// if the register of the CPU does not select this machine's table: see
    /// [`Vm::handle_page_fault`](crate::Vm::handle_page_fault).
    pub spurious_in_a_row: u64,
}

/// No page begins here.
const NO_PAGE: u64 = u64::MAX;

/// The counters behind [`FaultStatistics`]. CPUs count at once; each counter is right, and a snapshot of them need
/// not be of one moment.
#[derive(Debug)]
pub(crate) struct FaultCounters {
    filled: AtomicU64,
    spurious: AtomicU64,
    denied: AtomicU64,
    not_mapped: AtomicU64,
    retries: AtomicU64,
    failed: AtomicU64,
    pub(crate) filled_4k: AtomicU64,
    pub(crate) filled_2m: AtomicU64,
    spurious_in_a_row: AtomicU64,
    /// The page of the last fault, if that was spurious, or [`NO_PAGE`].
    last_spurious: AtomicU64,
}

impl FaultCounters {
    pub(crate) const fn new() -> Self {
        Self {
            filled: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            not_mapped: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            filled_4k: AtomicU64::new(0),
            filled_2m: AtomicU64::new(0),
            spurious_in_a_row: AtomicU64::new(0),
            last_spurious: AtomicU64::new(NO_PAGE),
        }
    }

    pub(crate) fn snapshot(&self) -> FaultStatistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FaultStatistics {
            filled: get(&self.filled),
            spurious: get(&self.spurious),
            denied: get(&self.denied),
            not_mapped: get(&self.not_mapped),
            retries: get(&self.retries),
            failed: get(&self.failed),
            filled_4k: get(&self.filled_4k),
            filled_2m: get(&self.filled_2m),
            spurious_in_a_row: get(&self.spurious_in_a_row),
        }
    }

    /// Counts a fault at `address`.
    pub(crate) fn count(&self, address: GuestPhysAddr, outcome: &Result<FaultOutcome, VmError>) {
        let counter = match outcome {
            Ok(FaultOutcome::Spurious) => return self.count_spurious(address.align_down_4k()),
            Ok(FaultOutcome::Filled) => &self.filled,
            Ok(FaultOutcome::Denied) => &self.denied,
            Ok(FaultOutcome::NotMapped) => &self.not_mapped,
            // It says nothing about the page.
            Ok(FaultOutcome::Retry) => return add(&self.retries, 1),
            Err(_) => &self.failed,
        };
        add(counter, 1);
        // Mostly so already: CPUs share the line.
        if self.last_spurious.load(Ordering::Relaxed) != NO_PAGE {
            self.last_spurious.store(NO_PAGE, Ordering::Relaxed);
            self.spurious_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    fn count_spurious(&self, page: GuestPhysAddr) {
        add(&self.spurious, 1);
        let last = self.last_spurious.swap(page.as_u64(), Ordering::Relaxed);
        match last == page.as_u64() {
            true => add(&self.spurious_in_a_row, 1),
            false => self.spurious_in_a_row.store(1, Ordering::Relaxed),
        }
    }
}

/// Adds to a counter that decides nothing.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
