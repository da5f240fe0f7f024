//! A virtual machine with one virtual hart.

use core::fmt;

use nested_paging::guest_vm::{FaultOutcome, Vm};
use nested_paging::native::GStage;
use nested_paging::{GuestPhysAddr, GuestPhysRange, MappingFlags};
use test_hypervisor_kit::report::{Failure, failure};
use test_hypervisor_kit::{VmFile, ensure};

use super::firmware::{self, Request};
use crate::hypervisor::hal::Hal;
use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::{Exit, Vcpu, activate, delegate_to_guest};

const A0: usize = 10;
const A1: usize = 11;
/// The last byte of the largest mode.
const LAST: GuestPhysAddr = GuestPhysAddr::new((1 << 59) - 1);

/// A virtual machine with one virtual hart.
#[derive(Debug)]
pub(super) struct Machine {
    vm: Vm<GStage, Hal>,
}

/// What happened while a guest ran.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    filled: u64,
    other_faults: u64,
    calls: u64,
    /// Pages whose host address is their guest address.
    identical: u64,
    tables: u64,
}

impl Machine {
    /// The machine that `file` describes.
    pub(super) fn new(
        file: &VmFile,
        format: GStage,
        platform: &'static Platform,
    ) -> Result<Self, Failure> {
        let hal = Hal {
            format,
            frames: &platform.frames,
        };
        let vm = Vm::new(file.config(format)?, hal);
        let vm = vm.map_err(|error| failure(format_args!("{error}")))?;
        Ok(Self { vm })
    }

    /// Copies `bytes` into the guest's memory.
    pub(super) fn load(&self, address: GuestPhysAddr, bytes: &[u8]) -> Result<(), Failure> {
        let loaded = self.vm.write_to_guest(address, bytes);
        loaded.map_err(|error| failure(format_args!("at {address}: {error}")))
    }

    /// Runs the guest from `entry` on, with the device tree at `device_tree`, until it powers off.
    pub(super) fn run(
        &mut self,
        entry: GuestPhysAddr,
        device_tree: GuestPhysAddr,
    ) -> Result<Statistics, Failure> {
        let mut statistics = Statistics::default();
        let mut vcpu = Vcpu::new(entry);
        vcpu.x[A0] = 0;
        vcpu.x[A1] = device_tree.as_u64();
        activate(self.vm.address_space_id().root_register);
        delegate_to_guest();
        loop {
            let exit = vcpu.run();
            match exit.cause {
                Exit::CALL => {
                    statistics.calls += 1;
                    if firmware::call(&mut vcpu) == Request::PowerOff {
                        return Ok(self.complete(statistics));
                    }
                }
                _ => self.handle_fault(&vcpu, exit, &mut statistics)?,
            }
        }
    }

    fn handle_fault(
        &self,
        vcpu: &Vcpu,
        exit: Exit,
        statistics: &mut Statistics,
    ) -> Result<(), Failure> {
        let pc = vcpu.pc;
        ensure!(exit.is_guest_page_fault(), "{exit:x?} at pc {pc:#x}");
        let access = match exit.cause {
            Exit::FETCH_FAULT => MappingFlags::EXECUTE,
            Exit::STORE_FAULT => MappingFlags::WRITE,
            _ => MappingFlags::READ,
        };
        match self.vm.handle_page_fault(exit.address, access) {
            Ok(FaultOutcome::Filled) => statistics.filled += 1,
            Ok(FaultOutcome::Spurious | FaultOutcome::Retry) => statistics.other_faults += 1,
            outcome => {
                let address = exit.address;
                return Err(failure(format_args!(
                    "{access} at {address} by pc {pc:#x}: {outcome:?}"
                )));
            }
        }
        Ok(())
    }

    /// Adds what can only be counted at the end.
    fn complete(&self, statistics: Statistics) -> Statistics {
        let mut identical = 0;
        let everything = GuestPhysRange::from_start_last(GuestPhysAddr::ZERO, LAST);
        let everything = everything.unwrap_or(GuestPhysRange::from(LAST));
        self.vm.visit(everything, |leaf| {
            let is_ram = !leaf.flags.contains(MappingFlags::DEVICE);
            let same = leaf.guest.start().as_u64() == leaf.host.as_u64();
            identical += u64::from(is_ram && same);
        });
        Statistics {
            identical,
            tables: self.vm.statistics().table_frames,
            ..statistics
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            filled,
            other_faults,
            calls,
            identical,
            tables,
        } = self;
        write!(
            f,
            "{filled} pages filled on demand, {identical} of them at their own address, \
             {other_faults} other faults, {tables} table frames, {calls} calls"
        )
    }
}
