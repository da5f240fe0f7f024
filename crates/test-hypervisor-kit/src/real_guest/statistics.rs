//! What happened while a guest ran, and whether it should have.

use core::fmt;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::FaultOutcome;
use nested_paging::nested_page_table::Format;
use nested_paging::{GuestFault, GuestPhysAddr, GuestPhysRange, MappingFlags, Vm, VmHal};

use crate::ensure;
use crate::options::Leaf;
use crate::report::{Failure, failure};

/// After so many faults without one that found something to do, the guest gets nowhere: the hardware does
/// not see what the table says.
const IN_VAIN: u64 = 1000;
/// A guest whose RAM is filled by large leaves needs no more of them.
const FEW: u64 = 400;

/// What happened on a CPU while a guest ran, or on all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    filled: u64,
    spurious: u64,
    retries: u64,
    /// How many spurious faults were the last, one after another.
    in_vain: u64,
    pub(super) calls: u64,
    /// How many were filled by the second CPU.
    filled_by_second: Option<u64>,
    leaves: u64,
    /// Leaves of RAM whose host address is their guest address.
    at_own_address: u64,
    table_frames: u64,
}

impl Statistics {
    /// Has `vm` handle a fault, and judges what it did.
    pub(super) fn handle_fault<F: Format, H: VmHal>(
        &mut self,
        vm: &Vm<F, H>,
        fault: &GuestFault,
        largest: Leaf,
    ) -> Result<(), Failure> {
        let outcome = vm.handle_page_fault(fault.address, fault.access);
        match outcome {
            Ok(FaultOutcome::Filled) => {
                self.filled += 1;
                self.in_vain = 0;
                let leaf = vm.translate(fault.address);
                let is_right = leaf.is_some_and(|leaf| {
                    let size = leaf.guest.size();
                    size == PAGE_SIZE_4K || size == largest.size()
                });
                ensure!(is_right, "filled with {leaf:x?}");
            }
            Ok(FaultOutcome::Spurious) => {
                self.spurious += 1;
                self.in_vain += 1;
                ensure!(self.in_vain < IN_VAIN, "{outcome:?}, for ever");
            }
            // Another CPU is at it. How long that takes depends on when the emulator lets it run.
            Ok(FaultOutcome::Retry) => self.retries += 1,
            _ => return Err(failure(format_args!("{outcome:?}"))),
        }
        Ok(())
    }

    /// The sum of what happened on the first CPU and on the second.
    pub(super) const fn and(self, second: Self) -> Self {
        Self {
            filled: self.filled + second.filled,
            spurious: self.spurious + second.spurious,
            retries: self.retries + second.retries,
            calls: self.calls + second.calls,
            filled_by_second: Some(second.filled),
            ..self
        }
    }

    /// Adds what can only be counted at the end, and judges it.
    pub(super) fn complete<F: Format, H: VmHal>(
        self,
        vm: &Vm<F, H>,
        last: GuestPhysAddr,
        largest: Leaf,
    ) -> Result<Self, Failure> {
        let everything = GuestPhysRange::from_start_last(GuestPhysAddr::ZERO, last);
        let everything = everything.map_err(|error| failure(format_args!("{error}")))?;
        let mut completed = Self {
            table_frames: vm.statistics().table_frames,
            ..self
        };
        vm.visit(everything, |leaf| {
            let is_ram = !leaf.flags.contains(MappingFlags::DEVICE);
            let is_same = leaf.guest.start().as_u64() == leaf.host.as_u64();
            completed.leaves += 1;
            completed.at_own_address += u64::from(is_ram && is_same);
        });
        let Self {
            filled,
            at_own_address,
            ..
        } = completed;
        ensure!(filled > 0, "no page was filled on demand");
        // Some thirty blocks are all that is filled: by chance all of them by the first CPU.
        let is_idle = largest == Leaf::Page && completed.filled_by_second == Some(0);
        ensure!(!is_idle, "the second CPU filled nothing: {completed}");
        let are_few = largest == Leaf::Page || filled <= FEW;
        ensure!(are_few, "more than {FEW} faults: {completed}");
        ensure!(at_own_address == 0, "RAM at its own address: {completed}");
        Ok(completed)
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            filled,
            spurious,
            retries,
            calls,
            leaves,
            at_own_address,
            table_frames,
            ..
        } = self;
        write!(f, "{filled} exits that filled RAM")?;
        if let Some(second) = self.filled_by_second {
            write!(f, " ({second} of the second CPU)")?;
        }
        write!(
            f,
            ", {spurious} spurious faults, {retries} retries, {calls} calls"
        )?;
        write!(
            f,
            "; {leaves} leaves in {table_frames} table frames, {at_own_address} of RAM at their own \
             address"
        )
    }
}
