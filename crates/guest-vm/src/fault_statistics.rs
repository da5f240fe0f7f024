//! How often a guest faulted, and what came of it.

use guest_addr::GuestPhysAddr;

use crate::error::VmError;
use crate::fault::FaultOutcome;

/// How often a machine's guest faulted, by outcome.
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
    /// How many of the last faults, one after another, were spurious and at one page. It grows without limit
    /// if the register of the CPU does not select this machine's table: see
    /// [`Vm::handle_page_fault`](crate::Vm::handle_page_fault).
    pub spurious_in_a_row: u64,
    /// The page of the last spurious fault.
    pub(crate) last_spurious: Option<GuestPhysAddr>,
}

impl FaultStatistics {
    /// Counts a fault at `address`.
    pub(crate) fn count(
        &mut self,
        address: GuestPhysAddr,
        outcome: &Result<FaultOutcome, VmError>,
    ) {
        let counter = match outcome {
            Ok(FaultOutcome::Spurious) => return self.count_spurious(address.align_down_4k()),
            Ok(FaultOutcome::Filled) => &mut self.filled,
            Ok(FaultOutcome::Denied) => &mut self.denied,
            Ok(FaultOutcome::NotMapped) => &mut self.not_mapped,
            Ok(FaultOutcome::Retry) => &mut self.retries,
            Err(_) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        self.last_spurious = None;
        self.spurious_in_a_row = 0;
    }

    fn count_spurious(&mut self, page: GuestPhysAddr) {
        let is_same = self.last_spurious == Some(page);
        let before = if is_same { self.spurious_in_a_row } else { 0 };
        self.spurious = self.spurious.saturating_add(1);
        self.spurious_in_a_row = before.saturating_add(1);
        self.last_spurious = Some(page);
    }
}
