//! What the kit asks of this machine.
#![expect(unsafe_code, reason = "writes the text of a guest")]

use alloc::vec::Vec;

use nested_paging::host_services::ept::ExitRegisters;
use nested_paging::native::{Ept, Mode};
use nested_paging::nested_page_table::{AddressSpaceId, Level};
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use reference_mmu::ept;
use spin::Mutex;
use test_hypervisor_kit::report::Report;
use test_hypervisor_kit::{
    Action, Deviation, Fault, FramePool, HostMemory, Machine, Mode as NamedMode, Outcome, Probe,
    Uart,
};

use super::deviations::DEVIATIONS;
use super::guest_code::{self, Routine, TEXT_OFFSET, TEXT_SIZE};
use crate::guests;
use crate::hypervisor::hal::Hal;
use crate::hypervisor::io_apic;
use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::{Exit, Registers, Start, Vcpu};

/// A leaf of 2 MiB or more.
const LARGE: u64 = 1 << 7;
/// The lowest bit of the host address of a page, and of a large leaf.
const PAGE_ADDRESS_BIT: u64 = 1 << 12;
const LARGE_ADDRESS_BIT: u64 = 1 << 21;

/// What the exit qualification of an EPT violation says of the guest's own page tables: Bochs 3.0 reports
/// it, Bochs 2.7 does not. (SDM 3C, table "Exit Qualification for EPT Violations", bits 9 to 11: undefined
/// without "advanced VM-exit information for EPT violations".)
const OWN_TABLES: u64 = 0b111 << 9;

/// A machine of Bochs with one processor.
#[derive(Debug)]
pub(super) struct X86 {
    platform: &'static Platform,
    vcpu: Mutex<Vcpu>,
}

impl X86 {
    pub(super) fn new(platform: &'static Platform) -> Self {
        Self {
            platform,
            vcpu: Mutex::new(Vcpu::new(&platform.frames)),
        }
    }

    /// Runs the guest code from `entry` on until it ends.
    fn run(
        &self,
        space: AddressSpaceId,
        entry: GuestPhysAddr,
        registers: Registers,
    ) -> (Exit, Registers) {
        let mut vcpu = self.vcpu.lock();
        let page_table = guest_code::PAGE_TABLE;
        vcpu.start(Start::Long { page_table }, entry);
        vcpu.registers = registers;
        let exit = vcpu.run(space.root_register);
        (exit, vcpu.registers)
    }
}

/// What ended a guest, if it is not what the guest was made for.
fn outcome(exit: &Exit) -> Outcome {
    let registers = &exit.registers;
    match registers.reason {
        ExitRegisters::EPT_VIOLATION | ExitRegisters::EPT_MISCONFIGURATION => {
            Outcome::Fault(Fault {
                cause: cause(registers.reason, registers.qualification & !OWN_TABLES),
                address: GuestPhysAddr::new(registers.guest_physical_address),
            })
        }
        reason => Outcome::Other {
            cause: reason,
            detail: exit.interruption,
        },
    }
}

/// The exit reason and the exit qualification, both of which have to be right.
const fn cause(reason: u64, qualification: u64) -> u64 {
    reason << 16 | qualification
}

impl Machine for X86 {
    type Format = Ept;
    type Hal = Hal;
    type Mmu = ept::Ept;

    const CODE: GuestPhysAddr = guest_code::ADDRESS;
    const CODE_SIZE: u64 = guest_code::SIZE;
    const ADDRESS_BITS: u32 = guest_code::ADDRESS_BITS;
    const HAS_SECOND_CPU: bool = false;

    fn modes(&self) -> Vec<NamedMode<Ept>> {
        let named = |&mode: &Mode| {
            let name = mode.name();
            let format = Ept::new(mode, self.platform.capabilities).ok()?;
            Some(NamedMode { name, format })
        };
        Mode::AUTO.iter().filter_map(named).collect()
    }

    fn own_tests(&self, report: &mut Report<'_>) {
        report.test(format_args!("long_mode_guest"), || {
            guests::run(self.platform, &mut self.vcpu.lock())
        });
    }

    fn hal(&self, &format: &Ept) -> Hal {
        Hal {
            format,
            frames: &self.platform.frames,
            granted: self.platform.granted(Some(guest_code::range())),
        }
    }

    fn frames(&self) -> &'static FramePool {
        &self.platform.frames
    }

    fn mmu(&self, format: &Ept, space: AddressSpaceId) -> ept::Ept {
        let capabilities = format.capabilities();
        let largest = capabilities.largest_leaf();
        let features = ept::Features {
            max_phys_addr: capabilities.physical_address_bits() as u8,
            execute_only: capabilities.execute_only(),
            walk_length_5: capabilities.largest_mode() == Mode::Ept5,
            page_2m: largest >= Level::BLOCK_2M,
            page_1g: largest >= Level::BLOCK_1G,
            accessed_dirty: self.platform.has_accessed_dirty,
            mode_based_execute: false,
            violation_exceptions: false,
        };
        ept::Ept::new(space.root_register, features)
            .unwrap_or_else(|error| panic!("the reference refuses the root register: {error}"))
    }

    fn memory(&self) -> &HostMemory {
        &self.platform.memory
    }

    fn arena(&self) -> HostPhysRange {
        self.platform.arena
    }

    fn guest_code(&self) -> HostPhysAddr {
        guest_code::start()
    }

    fn probe(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        let (entry, rax) = match probe.action {
            Action::Load => (Routine::Load.address(), 0),
            Action::Store(word) => (Routine::Store.address(), word),
            Action::Execute => (probe.address, 0),
        };
        let registers = Registers {
            rax,
            rdi: probe.address.as_u64(),
            ..Registers::default()
        };
        let (exit, registers) = self.run(space, entry, registers);
        match exit.reason() {
            Exit::VMCALL => Outcome::Done(registers.rax),
            _ => outcome(&exit),
        }
    }

    fn has_probe_instructions(&self) -> bool {
        false
    }

    /// `mov ax, tag; vmcall; nop`.
    fn signature(&self, tag: u16) -> u64 {
        let [low, high] = tag.to_le_bytes();
        u64::from_le_bytes([0x66, 0xb8, low, high, 0x0f, 0x01, 0xc1, 0x90])
    }

    fn fault(&self, fault: &ept::Fault, probe: &Probe) -> Fault {
        let reason = fault.exit_reason().unwrap_or_default();
        Fault {
            cause: cause(u64::from(reason), fault.qualification),
            address: probe.address,
        }
    }

    fn damage(&self, leaf: u64) -> u64 {
        leaf ^ match leaf & LARGE {
            0 => PAGE_ADDRESS_BIT,
            _ => LARGE_ADDRESS_BIT,
        }
    }

    fn deviations(&self) -> &'static [Deviation] {
        &DEVIATIONS
    }

    fn uart(&self) -> Uart {
        Uart {
            base: HostPhysAddr::new(io_apic::IO_APIC),
            size: 0x100,
        }
    }

    /// The console of this machine is a port, which guests use without an exit; the registers that
    /// they find in memory are those of the I/O APIC.
    fn drive_uart(
        &self,
        space: AddressSpaceId,
        base: GuestPhysAddr,
        text: &str,
        mark: u8,
    ) -> Outcome {
        let target = guest_code::start().as_u64() + TEXT_OFFSET;
        let bytes = text.bytes().take(TEXT_SIZE - 1).chain([0]);
        for (address, byte) in (target..).zip(bytes) {
            // SAFETY: the text has its place in the guest code, and fits.
            unsafe { (address as *mut u8).write_volatile(byte) };
        }
        let registers = Registers {
            rbx: u64::from(mark),
            rdi: base.as_u64(),
            rsi: guest_code::ADDRESS.as_u64() + TEXT_OFFSET,
            ..Registers::default()
        };
        let (exit, registers) = self.run(space, Routine::Uart.address(), registers);
        match exit.reason() {
            Exit::VMCALL => Outcome::Done(registers.rax),
            _ => outcome(&exit),
        }
    }

    fn uart_mark(&self) -> u8 {
        io_apic::selected()
    }

    fn start_watcher(&self, _: AddressSpaceId, _: GuestPhysAddr, _: GuestPhysAddr) -> bool {
        false
    }

    fn watcher_outcome(&self) -> Option<Outcome> {
        None
    }

    /// There is no second processor to wait for.
    fn wait(&self, _microseconds: u64) {}
}
