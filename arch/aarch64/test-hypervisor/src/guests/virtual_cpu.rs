//! The one virtual CPU of a guest.

use alloc::format;

use nested_paging::MappingFlags;
use nested_paging::native::Stage2;
use nested_paging::nested_page_table::AddressSpaceId;
use test_hypervisor_kit::{Event, VirtualCpu, VmFile};

use super::firmware;
use crate::hypervisor::vcpu::{Exit, Vcpu, activate};

/// A virtual CPU under a table of its own, with the firmware that it finds.
#[derive(Debug)]
pub(super) struct GuestCpu {
    vcpu: Vcpu,
}

impl GuestCpu {
    /// The CPU as a boot loader starts it, under the table of `space`: in x0 the device tree. (Linux,
    /// Documentation/arch/arm64/booting.rst, "Call the kernel image".)
    pub(super) fn new(format: &Stage2, space: AddressSpaceId, file: &VmFile) -> Self {
        let mut vcpu = Vcpu::new(file.entry_point);
        vcpu.x[0] = file.dtb_load_addr.as_u64();
        activate(format, space);
        Self { vcpu }
    }
}

impl VirtualCpu for GuestCpu {
    fn run(&mut self) -> Event {
        let exit = self.vcpu.run();
        let pc = self.vcpu.pc;
        if exit.is_call() {
            return firmware::call(&mut self.vcpu);
        }
        if !exit.is_stage_2_fault() {
            return Event::Unexpected(format!("{exit:x?} at pc {pc:#x}"));
        }
        Event::Fault {
            address: exit.address,
            access: access(exit),
            pc,
        }
    }
}

/// A walk of the guest's stage 1 reads.
const fn access(exit: Exit) -> MappingFlags {
    let is_walk = exit.syndrome & Exit::STAGE_1_WALK != 0;
    let is_store = exit.syndrome & Exit::STORE != 0;
    match exit.class() {
        _ if is_walk => MappingFlags::READ,
        Some(Exit::FETCH_ABORT) => MappingFlags::EXECUTE,
        _ if is_store => MappingFlags::WRITE,
        _ => MappingFlags::READ,
    }
}
