//! The virtual harts of a guest. Each runs on a hart of its own.

use alloc::boxed::Box;
use alloc::format;

use nested_paging::native::GStage;
use nested_paging::nested_page_table::AddressSpaceId;
use nested_paging::{GuestFault, GuestPhysAddr};
use test_hypervisor_kit::{Cpus, Event, VirtualCpu, VmFile};

use super::firmware;
use super::harts::{self, Start};
use crate::hypervisor::cpus;
use crate::hypervisor::vcpu::{Active, Exit, Vcpu, activate, delegate_to_guest};

const A0: usize = 10;
const A1: usize = 11;

/// The machine's harts.
#[derive(Debug)]
pub(super) struct Harts;

impl Cpus<GStage> for Harts {
    type Cpu = VirtualHart;

    /// The first hart begins at once: in a1 it has the device tree. (Linux, Documentation/arch/riscv/boot.rst, "Register
    /// state".)
    fn start(
        &self,
        number: usize,
        _: &GStage,
        space: AddressSpaceId,
        file: &VmFile,
    ) -> VirtualHart {
        cpus::accept_interrupts();
        if number == 0 {
            let start = Start {
                pc: file.entry_point.as_u64(),
                opaque: file.dtb_load_addr.as_u64(),
            };
            let started = harts::start(0, start);
            assert!(started.is_ok(), "the first hart runs already");
        }
        VirtualHart {
            vcpu: Vcpu::new(GuestPhysAddr::ZERO),
            _active: activate(space.root_register),
        }
    }

    fn run_on_second(&self, job: Box<dyn FnOnce() + Send>) {
        cpus::run_on_second(job);
    }

    fn interrupt(&self, number: usize) {
        cpus::interrupt(number);
    }
}

/// A virtual hart under its guest's table, with the firmware that it finds.
#[derive(Debug)]
pub(super) struct VirtualHart {
    vcpu: Vcpu,
    _active: Active,
}

impl VirtualHart {
    /// In a0 is the number of the hart, in a1 what the guest wants there. (SBI 2.0, table "HSM Hart Start Register
    /// State".)
    fn begin(&mut self, start: Start) {
        delegate_to_guest();
        self.vcpu = Vcpu::new(GuestPhysAddr::new(start.pc));
        self.vcpu.x[A0] = cpus::this() as u64;
        self.vcpu.x[A1] = start.opaque;
    }
}

impl VirtualCpu for VirtualHart {
    fn run(&mut self) -> Event {
        if let Some(start) = harts::take_start() {
            self.begin(start);
        } else if harts::is_stopped() {
            cpus::wait_for_interrupt();
            return Event::Interrupted;
        }
        harts::deliver_interrupt();
        let exit = self.vcpu.run();
        let pc = self.vcpu.pc;
        match exit.cause() {
            Exit::CALL => firmware::call(&mut self.vcpu),
            Exit::INTERRUPT => {
                cpus::drop_interrupt();
                Event::Interrupted
            }
            _ => match GuestFault::decode(&exit.registers) {
                Ok(fault) => Event::Fault { fault, pc },
                Err(_) => Event::Unexpected(format!("{exit:x?} at pc {pc:#x}")),
            },
        }
    }
}
