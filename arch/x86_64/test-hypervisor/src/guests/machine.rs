//! A virtual machine with one virtual processor, whose RAM is allocated when it is used.

use core::fmt;

use nested_paging::guest_vm::{FaultOutcome, MapType, MemoryRegion, Population, Vm, VmConfig};
use nested_paging::native::Ept;
use nested_paging::{GuestFault, GuestPhysAddr, MappingFlags};
use test_hypervisor_kit::ensure;
use test_hypervisor_kit::report::{Failure, failure};

use crate::hypervisor::hal::Hal;
use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::{Exit, Start, Vcpu};

/// The memory of a virtual machine.
#[derive(Debug)]
pub(super) struct Machine {
    vm: Vm<Ept, Hal>,
}

/// What happened while a guest ran.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    /// Pages that were filled when the guest first used them.
    pub(super) filled: u64,
    /// Faults for which there was nothing to do.
    pub(super) spurious: u64,
    /// Frames of the extended page tables.
    pub(super) tables: u64,
}

impl Machine {
    /// A machine with `ram_size` bytes of RAM at address 0, none of which is there yet.
    pub(super) fn new(
        format: Ept,
        platform: &'static Platform,
        ram_size: u64,
    ) -> Result<Self, Failure> {
        let all = MappingFlags::ACCESS.bits();
        let ram = MemoryRegion::new(
            "ram",
            GuestPhysAddr::ZERO,
            ram_size,
            all.into(),
            MapType::Alloc,
        );
        let mut config = VmConfig::new(1, "long-mode", format);
        config
            .memory_regions
            .push(ram.with_population(Population::ON_FIRST_USE));
        let hal = Hal {
            format,
            frames: &platform.frames,
            granted: platform.granted(None),
        };
        let vm = Vm::new(config, hal).map_err(|error| failure(format_args!("{error}")))?;
        Ok(Self { vm })
    }

    /// The machine's memory.
    pub(super) const fn vm(&self) -> &Vm<Ept, Hal> {
        &self.vm
    }

    /// Copies `bytes` into the guest's memory.
    pub(super) fn load(&self, address: GuestPhysAddr, bytes: &[u8]) -> Result<(), Failure> {
        let loaded = self.vm.write_to_guest(address, bytes);
        loaded.map_err(|error| failure(format_args!("at {address}: {error}")))
    }

    /// Runs the guest on `vcpu` from `entry` on until it powers off.
    pub(super) fn run(&self, vcpu: &mut Vcpu, entry: GuestPhysAddr) -> Result<Statistics, Failure> {
        let mut statistics = Statistics::default();
        let eptp = self.vm.address_space_id().root_register;
        vcpu.start(Start::Protected, entry);
        loop {
            let exit = vcpu.run(eptp);
            if exit.reason() == Exit::VMCALL {
                let status = vcpu.registers.rax;
                ensure!(status == 0, "the guest ended with status {status:#x}");
                statistics.tables = self.vm.statistics().table_frames;
                return Ok(statistics);
            }
            let fault = GuestFault::decode(&exit.registers);
            let fault = fault.map_err(|_| failure(format_args!("{exit:x?}")))?;
            self.handle_fault(&fault, &mut statistics)?;
        }
    }

    fn handle_fault(&self, fault: &GuestFault, statistics: &mut Statistics) -> Result<(), Failure> {
        match self.vm.handle_page_fault(fault.address, fault.access) {
            Ok(FaultOutcome::Filled) => statistics.filled += 1,
            Ok(FaultOutcome::Spurious | FaultOutcome::Retry) => statistics.spurious += 1,
            outcome => return Err(failure(format_args!("{fault:x?}: {outcome:?}"))),
        }
        Ok(())
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            filled,
            spurious,
            tables,
        } = self;
        write!(
            f,
            "{filled} pages filled on demand, {spurious} spurious faults, {tables} table frames"
        )
    }
}
