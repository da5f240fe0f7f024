//! What the kit asks of this machine.
#![expect(
    unsafe_code,
    reason = "stores in a guest's name, and writes the text of a guest"
)]

use alloc::vec::Vec;

use nested_paging::host_services::riscv64::TrapRegisters;
use nested_paging::native::{GStage, Mode};
use nested_paging::nested_page_table::AddressSpaceId;
use nested_paging::{GuestFault, GuestPhysAddr, HostPhysAddr, HostPhysRange};
use reference_mmu::riscv;
use spin::Mutex;
use test_hypervisor_kit::{
    Action, Deviation, Fault, FramePool, HostMemory, Machine, Mode as NamedMode, Outcome, Probe,
    Uart, Way,
};

use super::deviations::DEVIATIONS;
use super::guest_code::{self, Routine, TEXT_OFFSET, TEXT_SIZE};
use super::probe;
use crate::hypervisor::console;
use crate::hypervisor::cpus;
use crate::hypervisor::hal::Hal;
use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::{Exit, Vcpu, activate};

const A0: usize = 10;
const A1: usize = 11;
const A2: usize = 12;
const ECALL: u64 = 0x73;
/// The root's PPN, and the host address of a leaf, begin here.
const PPN_BIT_0: u64 = 1 << 10;

/// What ended the guest on the second hart.
static WATCHER: Mutex<Option<Outcome>> = Mutex::new(None);

/// QEMU's virt machine with two harts.
#[derive(Debug)]
pub(crate) struct Riscv64 {
    platform: &'static Platform,
}

impl Riscv64 {
    pub(crate) const fn new(platform: &'static Platform) -> Self {
        Self { platform }
    }

    /// Runs a routine of the guest code until it ends.
    fn run(&self, space: AddressSpaceId, vcpu: &mut Vcpu) -> Exit {
        let _active = activate(space.root_register);
        vcpu.run()
    }

    fn probe_by_guest(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        let start = match probe.action {
            Action::Load => Routine::Load.address(),
            Action::Store(_) => Routine::Store.address(),
            Action::Execute => probe.address,
        };
        let mut vcpu = Vcpu::new(start);
        vcpu.x[A1] = probe.address.as_u64();
        if let Action::Store(word) = probe.action {
            vcpu.x[A0] = word;
        }
        let exit = self.run(space, &mut vcpu);
        match (probe.action, exit.cause()) {
            (Action::Execute, Exit::CALL) => Outcome::Done(vcpu.x[A0] >> 12),
            (_, Exit::CALL) => Outcome::Done(vcpu.x[A0]),
            _ => outcome(exit),
        }
    }

    fn probe_by_instruction(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        let _active = activate(space.root_register);
        let answer = match probe.action {
            Action::Load => probe::load(probe.address),
            // SAFETY: the suite maps the arena, where no value lives.
            Action::Store(word) => unsafe { probe::store(probe.address, word) },
            Action::Execute => probe::fetch(probe.address).map(|lui| lui >> 12),
        };
        answer.map_or_else(outcome, Outcome::Done)
    }
}

/// What ended a guest, if it is not what the guest was made for.
fn outcome(exit: Exit) -> Outcome {
    match GuestFault::decode(&exit.registers) {
        Ok(fault) => Outcome::Fault(Fault {
            cause: exit.cause(),
            address: fault.address,
        }),
        Err(_) => Outcome::Other {
            cause: exit.cause(),
            detail: exit.registers.stval,
        },
    }
}

impl Machine for Riscv64 {
    type Format = GStage;
    type Hal = Hal;
    type Mmu = riscv::GStage;

    const CODE: GuestPhysAddr = guest_code::ADDRESS;
    const ADDRESS_BITS: u32 = 64;

    fn modes(&self) -> Vec<NamedMode<GStage>> {
        let named = |&mode: &Mode| {
            let name = mode.name();
            let format = GStage::new(mode, self.platform.capabilities).ok()?;
            Some(NamedMode { name, format })
        };
        Mode::AUTO.iter().filter_map(named).collect()
    }

    fn hal(&self, &format: &GStage) -> Hal {
        Hal {
            format,
            frames: &self.platform.frames,
            granted: self.platform.granted(Some(guest_code::range())),
        }
    }

    fn frames(&self) -> &'static FramePool {
        &self.platform.frames
    }

    fn mmu(&self, format: &GStage, space: AddressSpaceId) -> riscv::GStage {
        let features = riscv::Features {
            pbmte: format.capabilities().svpbmt(),
            ..riscv::Features::default()
        };
        riscv::GStage::new(space.root_register, features)
            .unwrap_or_else(|error| panic!("the reference refuses the root register: {error}"))
    }

    fn memory(&self) -> &HostMemory {
        &self.platform.memory
    }

    fn arena(&self) -> HostPhysRange {
        self.platform.arena
    }

    fn guest_code(&self) -> HostPhysAddr {
        guest_code::page()
    }

    fn probe(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        match probe.way {
            Way::Guest => self.probe_by_guest(space, probe),
            Way::Instruction => self.probe_by_instruction(space, probe),
        }
    }

    fn has_probe_instructions(&self) -> bool {
        true
    }

    /// `lui a0, tag; ecall`.
    fn signature(&self, tag: u16) -> u64 {
        let lui = u64::from(tag) << 12 | (A0 as u64) << 7 | 0x37;
        ECALL << 32 | lui
    }

    /// HLVX is a load, so its fault is that of a load. (Privileged Architecture 20250508,
    /// "Hypervisor Virtual-Machine Load and Store Instructions".)
    fn fault(&self, fault: &riscv::Fault, probe: &Probe) -> Fault {
        let cause = match (probe.action, probe.way, fault.cause()) {
            (Action::Execute, Way::Instruction, TrapRegisters::FETCH_FAULT) => {
                TrapRegisters::LOAD_FAULT
            }
            (_, _, cause) => cause,
        };
        Fault {
            cause,
            address: probe.address,
        }
    }

    fn damage(&self, leaf: u64) -> u64 {
        leaf ^ PPN_BIT_0
    }

    fn deviations(&self) -> &'static [Deviation] {
        &DEVIATIONS
    }

    fn uart(&self) -> Uart {
        Uart {
            base: HostPhysAddr::new(console::UART),
            size: 0x100,
        }
    }

    fn drive_uart(
        &self,
        space: AddressSpaceId,
        base: GuestPhysAddr,
        text: &str,
        mark: u8,
    ) -> Outcome {
        let target = guest_code::page().as_u64() + TEXT_OFFSET;
        let bytes = text.bytes().take(TEXT_SIZE - 1).chain([0]);
        for (address, byte) in (target..).zip(bytes) {
            // SAFETY: the text has its place in the page of the guest code, and fits.
            unsafe { (address as *mut u8).write_volatile(byte) };
        }
        let mut vcpu = Vcpu::new(Routine::Uart.address());
        vcpu.x[A0] = u64::from(mark);
        vcpu.x[A1] = base.as_u64();
        vcpu.x[A2] = guest_code::ADDRESS.as_u64() + TEXT_OFFSET;
        let exit = self.run(space, &mut vcpu);
        match exit.cause() {
            Exit::CALL => Outcome::Done(vcpu.x[A0]),
            _ => outcome(exit),
        }
    }

    fn uart_mark(&self) -> u8 {
        console::scratch()
    }

    fn start_watcher(
        &self,
        space: AddressSpaceId,
        watched: GuestPhysAddr,
        counter: GuestPhysAddr,
    ) -> bool {
        *WATCHER.lock() = None;
        cpus::run_on_second(move || {
            let mut vcpu = Vcpu::new(Routine::Watch.address());
            vcpu.x[A1] = watched.as_u64();
            vcpu.x[A2] = counter.as_u64();
            let active = activate(space.root_register);
            let exit = vcpu.run();
            drop(active);
            *WATCHER.lock() = Some(outcome(exit));
        });
        true
    }

    fn watcher_outcome(&self) -> Option<Outcome> {
        *WATCHER.lock()
    }

    fn wait(&self, microseconds: u64) {
        cpus::wait(microseconds);
    }
}
