//! The one virtual hart of a guest.

use alloc::format;

use nested_paging::MappingFlags;
use test_hypervisor_kit::{Event, VirtualCpu, VmFile};

use super::firmware;
use crate::hypervisor::vcpu::{Exit, Vcpu, activate, delegate_to_guest};

const A0: usize = 10;
const A1: usize = 11;

/// A virtual hart under a table of its own, with the firmware that it finds.
#[derive(Debug)]
pub(super) struct VirtualHart {
    vcpu: Vcpu,
}

impl VirtualHart {
    /// The hart as firmware starts it, under the table that `hgatp` names: in a0 its number, in a1
    /// the device tree. (Linux, Documentation/arch/riscv/boot.rst, "Register state".)
    pub(super) fn new(hgatp: u64, file: &VmFile) -> Self {
        let mut vcpu = Vcpu::new(file.entry_point);
        vcpu.x[A0] = 0;
        vcpu.x[A1] = file.dtb_load_addr.as_u64();
        activate(hgatp);
        delegate_to_guest();
        Self { vcpu }
    }
}

impl VirtualCpu for VirtualHart {
    fn run(&mut self) -> Event {
        let exit = self.vcpu.run();
        let pc = self.vcpu.pc;
        let access = match exit.cause {
            Exit::CALL => return firmware::call(&mut self.vcpu),
            Exit::FETCH_FAULT => MappingFlags::EXECUTE,
            Exit::LOAD_FAULT => MappingFlags::READ,
            Exit::STORE_FAULT => MappingFlags::WRITE,
            _ => return Event::Unexpected(format!("{exit:x?} at pc {pc:#x}")),
        };
        Event::Fault {
            address: exit.address,
            access,
            pc,
        }
    }
}
