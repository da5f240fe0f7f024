//! The virtual CPUs of a guest. Each runs on a CPU of its own.

use alloc::boxed::Box;
use alloc::format;

use nested_paging::GuestPhysAddr;
use nested_paging::native::Stage2;
use nested_paging::nested_page_table::AddressSpaceId;
use test_hypervisor_kit::{Cpus, Event, VirtualCpu, VmFile};

use super::firmware;
use super::power::{self, Start};
use crate::hypervisor::vcpu::{Vcpu, activate};
use crate::hypervisor::{cpus, el2};

/// The machine's CPUs.
#[derive(Debug)]
pub(super) struct MachineCpus;

impl Cpus<Stage2> for MachineCpus {
    type Cpu = GuestCpu;

    /// The first CPU begins at once: in x0 it has the device tree. (Linux, Documentation/arch/arm64/booting.rst, "Call
    /// the kernel image".)
    fn start(
        &self,
        number: usize,
        format: &Stage2,
        space: AddressSpaceId,
        file: &VmFile,
    ) -> GuestCpu {
        if number == 0 {
            let start = Start {
                pc: file.entry_point.as_u64(),
                context: file.dtb_load_addr.as_u64(),
            };
            let started = power::start(0, start);
            assert!(started.is_ok(), "the first CPU runs already");
        }
        activate(format, space);
        GuestCpu {
            vcpu: Vcpu::new(GuestPhysAddr::ZERO),
            traps_sleep: file.cpus > 1,
        }
    }

    fn run_on_second(&self, job: Box<dyn FnOnce() + Send>) {
        cpus::run_on_second(job);
    }

    fn interrupt(&self, number: usize) {
        cpus::wake(number);
    }
}

/// A virtual CPU under its guest's table, with the firmware that it finds.
#[derive(Debug)]
pub(super) struct GuestCpu {
    vcpu: Vcpu,
    /// The hypervisor sleeps in the place of the guest. All interrupts are the guest's, so a guest that sleeps by itself
    /// could not be made to end. One that has its only CPU ends by itself.
    traps_sleep: bool,
}

impl GuestCpu {
    /// In x0 is what the guest wants there. (PSCI, "Initial core configuration".)
    fn begin(&mut self, start: Start) {
        el2::reset_guest();
        self.vcpu = Vcpu::new(GuestPhysAddr::new(start.pc));
        self.vcpu.x[0] = start.context;
        if self.traps_sleep {
            self.vcpu.hcr |= el2::HCR_TRAP_WFI;
        }
    }
}

impl VirtualCpu for GuestCpu {
    fn run(&mut self) -> Event {
        if let Some(start) = power::take_start() {
            self.begin(start);
        } else if power::is_off() {
            core::hint::spin_loop();
            return Event::Interrupted;
        }
        let exit = self.vcpu.run();
        let pc = self.vcpu.pc;
        if exit.is_call() {
            return firmware::call(&mut self.vcpu);
        }
        if exit.is_sleep() {
            self.vcpu.skip_instruction();
            cpus::sleep();
            return Event::Interrupted;
        }
        match exit.fault() {
            Some(fault) => Event::Fault { fault, pc },
            None => Event::Unexpected(format!("{exit:x?} at pc {pc:#x}")),
        }
    }
}
