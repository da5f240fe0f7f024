//! What the kit asks of this machine.
#![expect(
    unsafe_code,
    reason = "stores in a guest's name, and writes the text of a guest"
)]

use alloc::vec::Vec;

use nested_paging::native::{Mode, Stage2};
use nested_paging::nested_page_table::AddressSpaceId;
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use reference_mmu::PhysicalMemory;
use reference_mmu::aarch64;
use spin::Mutex;
use test_hypervisor_kit::{
    Action, Deviation, Fault, FramePool, HostMemory, Machine, Mode as NamedMode, Outcome, Probe,
    Uart, Way,
};

use super::deviations::DEVIATIONS;
use super::guest_code::{self, Routine, TEXT_OFFSET, TEXT_SIZE};
use super::reference::{attributes, features, physical_address_bits};
use crate::hypervisor::address_translation::{self, Answer};
use crate::hypervisor::hal::Hal;
use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::{Exit, Vcpu, activate};
use crate::hypervisor::{console, cpus, el2};

/// `movz x0, #0` and `hvc #0`.
const MOVZ_X0: u64 = 0xd280_0000;
const HVC: u64 = 0xd400_0002;
/// The output address of a leaf begins here.
const OUTPUT_ADDRESS_BIT_0: u64 = 1 << 12;
/// What no fault reports.
const NO_CAUSE: u64 = u64::MAX;

/// What ended the guest on the second CPU.
static WATCHER: Mutex<Option<Outcome>> = Mutex::new(None);

/// QEMU's virt machine with two CPUs.
#[derive(Debug)]
pub(crate) struct Aarch64 {
    platform: &'static Platform,
    /// The format of the mode under test: VTTBR_EL2 does not say how its table is walked.
    format: Mutex<Option<Stage2>>,
}

impl Aarch64 {
    pub(crate) const fn new(platform: &'static Platform) -> Self {
        Self {
            platform,
            format: Mutex::new(None),
        }
    }

    fn activate(&self, space: AddressSpaceId) {
        let format = *self.format.lock();
        let format = format.unwrap_or_else(|| panic!("no mode was begun"));
        activate(&format, space);
    }

    fn run(&self, space: AddressSpaceId, vcpu: &mut Vcpu) -> Outcome {
        self.activate(space);
        outcome(vcpu.run(), vcpu)
    }

    fn probe_by_guest(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        let mut vcpu = vcpu(match probe.action {
            Action::Load => Routine::Load.address(),
            Action::Store(_) => Routine::Store.address(),
            Action::Execute => probe.address,
        });
        vcpu.x[1] = probe.address.as_u64();
        if let Action::Store(word) = probe.action {
            vcpu.x[0] = word;
        }
        self.run(space, &mut vcpu)
    }

    /// AT says where an access goes, which is then done there.
    fn probe_by_instruction(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        self.activate(space);
        let address = probe.address.as_u64();
        let answer = match probe.action {
            Action::Store(_) => address_translation::store(address),
            _ => address_translation::load(address),
        };
        let Some(page) = answer.page() else {
            return Outcome::Fault(Fault {
                cause: answer.fault(),
                address: probe.address,
            });
        };
        let host = HostPhysAddr::new(page | address & 0xfff);
        let memory = &self.platform.memory;
        let word = match probe.action {
            // SAFETY: the suite maps the arena, where no value lives.
            Action::Store(word) => unsafe { memory.write(host, word) }.then_some(word),
            _ => memory.read(host),
        };
        let nowhere = Outcome::Other {
            cause: NO_CAUSE,
            detail: host.as_u64(),
        };
        word.map_or(nowhere, Outcome::Done)
    }
}

/// A guest that begins at `pc` with its stage 1 off and its memory write-back, so that it and the
/// hypervisor see the same.
fn vcpu(pc: GuestPhysAddr) -> Vcpu {
    let mut vcpu = Vcpu::new(pc);
    vcpu.hcr |= el2::HCR_DEFAULT_CACHEABLE;
    vcpu
}

/// What ended a guest.
fn outcome(exit: Exit, vcpu: &Vcpu) -> Outcome {
    if exit.is_call() {
        return Outcome::Done(vcpu.x[0]);
    }
    if let Some(fault) = exit.fault() {
        let fields = Exit::CLASS | Exit::STAGE_1_WALK | Exit::STATUS;
        let store = match exit.class() {
            Some(Exit::DATA_ABORT) => Exit::STORE,
            _ => 0,
        };
        return Outcome::Fault(Fault {
            cause: exit.registers.esr & (fields | store),
            address: fault.address,
        });
    }
    Outcome::Other {
        cause: exit.registers.esr,
        detail: vcpu.pc,
    }
}

impl Machine for Aarch64 {
    type Format = Stage2;
    type Hal = Hal;
    type Mmu = aarch64::Stage2;

    const CODE: GuestPhysAddr = guest_code::ADDRESS;
    const ADDRESS_BITS: u32 = 52;

    /// Widths of which one bit more is still a physical address of the CPU, since no guest can form
    /// another with its stage 1 off.
    fn modes(&self) -> Vec<NamedMode<Stage2>> {
        let named = [
            ("ipa34", 34),
            ("ipa39", 39),
            ("ipa40", 40),
            ("ipa43", 43),
            ("ipa48", 48),
        ];
        let mode = |(name, bits)| {
            let format = Stage2::new(Mode::ipa(bits).ok()?, self.platform.capabilities).ok()?;
            Some(NamedMode { name, format })
        };
        let mut named = named.to_vec();
        named.retain(|&(_, bits)| bits < physical_address_bits());
        named.into_iter().filter_map(mode).collect()
    }

    fn begin(&self, mode: &NamedMode<Stage2>) {
        *self.format.lock() = Some(mode.format);
    }

    fn hal(&self, &format: &Stage2) -> Hal {
        Hal {
            format,
            frames: &self.platform.frames,
            granted: self.platform.granted(Some(guest_code::range())),
        }
    }

    fn frames(&self) -> &'static FramePool {
        &self.platform.frames
    }

    fn mmu(&self, format: &Stage2, space: AddressSpaceId) -> aarch64::Stage2 {
        aarch64::Stage2::new(space.root_register, format.vtcr(), features())
            .unwrap_or_else(|error| panic!("the reference refuses the registers: {error}"))
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

    /// There is no instruction that asks for a fetch.
    fn probe(&self, space: AddressSpaceId, probe: Probe) -> Outcome {
        match (probe.way, probe.action) {
            (Way::Guest, _) | (_, Action::Execute) => self.probe_by_guest(space, probe),
            (Way::Instruction, _) => self.probe_by_instruction(space, probe),
        }
    }

    /// PAR_EL1 shows the combination of both stages, so stage 1 has to be write-back.
    fn memory_type(
        &self,
        space: AddressSpaceId,
        address: GuestPhysAddr,
    ) -> Option<aarch64::Attributes> {
        self.activate(space);
        let answer = el2::with_hcr(el2::hcr() | el2::HCR_DEFAULT_CACHEABLE, || {
            address_translation::load(address.as_u64())
        });
        Some(attributes(answer))
    }

    fn has_probe_instructions(&self) -> bool {
        true
    }

    fn signature(&self, tag: u16) -> u64 {
        HVC << 32 | MOVZ_X0 | u64::from(tag) << 5
    }

    fn fault(&self, fault: &aarch64::Fault, probe: &Probe) -> Fault {
        let status = fault.status_code().map(u64::from);
        let cause = status.map_or(NO_CAUSE, |status| match (probe.way, probe.action) {
            (_, Action::Execute) => Exit::FETCH_ABORT | status,
            (Way::Guest, Action::Load) => Exit::DATA_ABORT | status,
            (Way::Guest, Action::Store(_)) => Exit::DATA_ABORT | Exit::STORE | status,
            (Way::Instruction, _) => {
                Answer::FAULT | Answer::STAGE_2 | status << Answer::STATUS_SHIFT
            }
        });
        Fault {
            cause,
            address: probe.address,
        }
    }

    fn damage(&self, leaf: u64) -> u64 {
        leaf ^ OUTPUT_ADDRESS_BIT_0
    }

    fn deviations(&self) -> &'static [Deviation] {
        &DEVIATIONS
    }

    fn uart(&self) -> Uart {
        Uart {
            base: HostPhysAddr::new(console::UART),
            size: 0x1000,
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
        let mut vcpu = vcpu(Routine::Uart.address());
        vcpu.x[0] = u64::from(mark);
        vcpu.x[1] = base.as_u64();
        vcpu.x[2] = guest_code::ADDRESS.as_u64() + TEXT_OFFSET;
        self.run(space, &mut vcpu)
    }

    fn uart_mark(&self) -> u8 {
        console::baud_rate()
    }

    fn start_watcher(
        &self,
        space: AddressSpaceId,
        watched: GuestPhysAddr,
        counter: GuestPhysAddr,
    ) -> bool {
        let Some(format) = *self.format.lock() else {
            return false;
        };
        *WATCHER.lock() = None;
        cpus::run_on_second(move || {
            let mut vcpu = vcpu(Routine::Watch.address());
            vcpu.x[1] = watched.as_u64();
            vcpu.x[2] = counter.as_u64();
            activate(&format, space);
            let exit = vcpu.run();
            *WATCHER.lock() = Some(outcome(exit, &vcpu));
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
