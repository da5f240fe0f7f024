//! Real guests: unmodified programs that believe they have the machine to themselves.

use alloc::format;
use core::fmt;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::FaultOutcome;
use nested_paging::nested_page_table::{AddressSpaceId, Format};
use nested_paging::{GuestPhysAddr, GuestPhysRange, MappingFlags, Vm, VmHal};

use crate::damage::Damage;
use crate::loaded_files::LoadedFiles;
use crate::machine::Machine;
use crate::report::{Failure, failure};
use crate::vm_file::VmFile;
use crate::{ensure, println};

/// After so many faults without one that found something to do, the guest gets nowhere: the hardware does
/// not see what the table says.
const IN_VAIN: u64 = 1000;

/// The one virtual CPU of a real guest, with the firmware that it finds.
pub trait VirtualCpu {
    /// Runs the guest from where it is until it needs something.
    fn run(&mut self) -> Event;
}

/// What ended a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It called its firmware, which has answered.
    Call,
    /// It did what its table does not allow, and will do it again.
    Fault {
        /// Where.
        address: GuestPhysAddr,
        /// The one flag that allows it.
        access: MappingFlags,
        /// The program counter.
        pc: u64,
    },
    /// It powered itself off.
    PowerOff,
    /// It wants to begin anew, as guests do that cannot go on.
    Reset,
    /// Something that no guest should be able to do.
    Unexpected(Failure),
}

/// A guest that consists of files: its description `vm`, its program `kernel`, the device tree `dtb`
/// and, if the description says where, a `ramdisk`.
#[derive(Debug)]
pub struct RealGuest<'m, M: Machine> {
    /// The machine.
    pub machine: &'m M,
    /// The mode of its table, one of the machine's.
    pub mode: &'static str,
    /// The files.
    pub files: LoadedFiles<'m>,
    /// Damage the leaf of the ramdisk's first page: the guest has to notice.
    pub sabotage: bool,
}

/// What happened while a guest ran.
#[derive(Clone, Copy, Debug, Default)]
struct Statistics {
    filled: u64,
    other_faults: u64,
    /// How many of them were the last, one after another.
    in_vain: u64,
    calls: u64,
    leaves: u64,
    /// Leaves of RAM whose host address is their guest address.
    at_own_address: u64,
    table_frames: u64,
}

impl<M: Machine> RealGuest<'_, M> {
    /// Runs the guest on the virtual CPU that `start` makes until it powers itself off, and prints
    /// what came of it; whether all was well.
    ///
    /// RAM is filled when it is first used, which has to be by a leaf of 4 KiB. At the end no leaf of
    /// RAM may be at its own address, and all frames have to come back.
    #[must_use]
    pub fn run<C: VirtualCpu>(
        &self,
        start: impl FnOnce(&M::Format, AddressSpaceId, &VmFile) -> C,
    ) -> bool {
        match self.try_run(start) {
            Ok(statistics) => println!("the guest powered off: {statistics}"),
            Err(ref reason) => {
                println!("the guest failed: {reason}");
                return false;
            }
        }
        true
    }

    fn try_run<C: VirtualCpu>(
        &self,
        start: impl FnOnce(&M::Format, AddressSpaceId, &VmFile) -> C,
    ) -> Result<Statistics, Failure> {
        let text = core::str::from_utf8(self.files.get("vm")?);
        let text = text.map_err(|error| failure(format_args!("the VM file: {error}")))?;
        let file = VmFile::parse(text)?;
        let format = self.begin_mode()?;
        let frames = self.machine.frames();
        file.memory().for_each(|range| frames.withhold(&range));
        let frames_out = frames.frames_out();

        let vm = Vm::new(file.config(format)?, self.machine.hal(&format));
        let vm = vm.map_err(|error| failure(format_args!("{error}")))?;
        self.load(&vm, &file)?;
        let damage = self.damage(&vm, &format, &file);
        let mut cpu = start(&format, vm.address_space_id(), &file);
        let outcome = until_power_off(&vm, &mut cpu);
        if let Some(damage) = damage {
            damage.repair(self.machine);
        }
        let statistics = outcome?.complete(&vm, format.geometry().last_guest())?;

        drop(vm);
        let lost = frames.frames_out() - frames_out;
        ensure!(lost == 0, "{lost} frames did not come back");
        Ok(statistics)
    }

    fn begin_mode(&self) -> Result<M::Format, Failure> {
        let modes = self.machine.modes();
        let mode = modes.iter().find(|mode| mode.name == self.mode);
        let mode = mode.ok_or_else(|| format!("this machine has no {}", self.mode))?;
        self.machine.begin(mode);
        Ok(mode.format)
    }

    /// Copies the files into the guest's memory.
    fn load(&self, vm: &Vm<M::Format, M::Hal>, file: &VmFile) -> Result<(), Failure> {
        let load = |name, address: GuestPhysAddr| {
            let written = vm.write_to_guest(address, self.files.get(name)?);
            written.map_err(|error| failure(format_args!("{name} at {address}: {error}")))
        };
        load("kernel", file.kernel_load_addr)?;
        load("dtb", file.dtb_load_addr)?;
        match file.ramdisk_load_addr {
            Some(address) => load("ramdisk", address),
            None => Ok(()),
        }
    }

    fn damage(
        &self,
        vm: &Vm<M::Format, M::Hal>,
        format: &M::Format,
        file: &VmFile,
    ) -> Option<Damage> {
        let address = file.ramdisk_load_addr.filter(|_| self.sabotage)?;
        let mmu = self.machine.mmu(format, vm.address_space_id());
        Damage::inflict(self.machine, &mmu, address)
    }
}

fn until_power_off<F: Format, H: VmHal>(
    vm: &Vm<F, H>,
    cpu: &mut impl VirtualCpu,
) -> Result<Statistics, Failure> {
    let mut statistics = Statistics::default();
    loop {
        match cpu.run() {
            Event::Call => statistics.calls += 1,
            Event::Fault {
                address,
                access,
                pc,
            } => {
                let handled = statistics.handle_fault(vm, address, access);
                handled
                    .map_err(|reason| format!("{access} at {address} by pc {pc:#x}: {reason}"))?;
            }
            Event::PowerOff => return Ok(statistics),
            Event::Reset => return Err(failure(format_args!("it wants to begin anew"))),
            Event::Unexpected(reason) => return Err(reason),
        }
    }
}

impl Statistics {
    /// Has `vm` handle a fault, and judges what it did.
    fn handle_fault<F: Format, H: VmHal>(
        &mut self,
        vm: &Vm<F, H>,
        address: GuestPhysAddr,
        access: MappingFlags,
    ) -> Result<(), Failure> {
        let outcome = vm.handle_page_fault(address, access);
        match outcome {
            Ok(FaultOutcome::Filled) => {
                self.filled += 1;
                self.in_vain = 0;
                let leaf = vm.translate(address);
                let is_4k = leaf.is_some_and(|leaf| leaf.guest.size() == PAGE_SIZE_4K);
                ensure!(is_4k, "filled with {leaf:x?}");
            }
            Ok(FaultOutcome::Spurious | FaultOutcome::Retry) => {
                self.other_faults += 1;
                self.in_vain += 1;
                ensure!(self.in_vain < IN_VAIN, "{outcome:?}, for ever");
            }
            _ => return Err(failure(format_args!("{outcome:?}"))),
        }
        Ok(())
    }

    /// Adds what can only be counted at the end, and judges it.
    fn complete<F: Format, H: VmHal>(
        self,
        vm: &Vm<F, H>,
        last: GuestPhysAddr,
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
        ensure!(at_own_address == 0, "RAM at its own address: {completed}");
        Ok(completed)
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            filled,
            other_faults,
            calls,
            leaves,
            at_own_address,
            table_frames,
            ..
        } = self;
        write!(
            f,
            "{filled} pages of 4 KiB filled on demand, {other_faults} other faults, {calls} calls; \
             {leaves} leaves in {table_frames} table frames, {at_own_address} of RAM at their own \
             address"
        )
    }
}
