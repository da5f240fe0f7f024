//! Real guests: unmodified programs that believe they have the machine to themselves.

mod cpu;
mod running;
mod statistics;

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;

use nested_paging::nested_page_table::Format;
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange, MappingFlags, PAGE_SIZE_4K, Vm};

use crate::damage::Damage;
use crate::loaded_files::LoadedFiles;
use crate::machine::Machine;
use crate::options::Leaf;
use crate::report::{Failure, failure};
use crate::vm_file::VmFile;
use crate::{ensure, println};
pub use cpu::{Cpus, Event, VirtualCpu};
use running::Running;
use statistics::Statistics;

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
    /// The largest leaf that a fault may fill.
    pub leaf: Leaf,
    /// Damage the leaf of the ramdisk's first page: the guest has to notice.
    pub sabotage: bool,
}

impl<M: Machine> RealGuest<'_, M> {
    /// Runs the guest on virtual CPUs of `cpus` until it powers itself off, and prints what came of it;
    /// whether all was well.
    ///
    /// RAM is filled when it is first used, which has to be by leaves of the size that was asked for. At the end no
    /// leaf of RAM may be at its own address, and all frames have to come back.
    #[must_use]
    pub fn run<C: Cpus<M::Format>>(&self, cpus: C) -> bool {
        match self.try_run(cpus) {
            Ok(statistics) => println!("the guest powered off: {statistics}"),
            Err(ref reason) => {
                println!("the guest failed: {reason}");
                return false;
            }
        }
        true
    }

    fn try_run<C: Cpus<M::Format>>(&self, cpus: C) -> Result<Statistics, Failure> {
        let text = core::str::from_utf8(self.files.get("vm")?);
        let text = text.map_err(|error| failure(format_args!("the VM file: {error}")))?;
        let file = VmFile::parse(text)?;
        let format = self.begin_mode()?;
        let frames = self.machine.frames();
        // Host memory at the addresses where the guest has its RAM.
        for (start, size) in file.memory() {
            let same = HostPhysRange::from_start_size(HostPhysAddr::new(start.as_u64()), size);
            same.iter().for_each(|same| frames.withhold(same));
        }
        let frames_out = frames.frames_out();

        let vm = Vm::new(file.config(format, self.leaf)?, self.machine.hal(&format));
        let vm = vm.map_err(|error| failure(format_args!("{error}")))?;
        self.load(&vm, &file)?;
        let damage = self.damage(&vm, &format, &file);
        let running = Arc::new(Running::new(cpus, vm, format, file, self.leaf));
        let outcome = run_all(&running);
        if let Some(damage) = damage {
            damage.repair(self.machine);
        }
        let vm = running.vm();
        let statistics = outcome?.complete(vm, format.geometry().last_guest(), self.leaf)?;

        drop(running);
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
            let contents = self.files.get(name)?;
            self.fill(vm, address, contents.len() as u64)?;
            let written = vm.write_to_guest(address, contents);
            written.map_err(|error| failure(format_args!("{name} at {address}: {error}")))
        };
        load("kernel", file.kernel_load_addr)?;
        load("dtb", file.dtb_load_addr)?;
        match file.ramdisk_load_addr {
            Some(address) => load("ramdisk", address),
            None => Ok(()),
        }
    }

    /// Fills the blocks of `size` bytes from `address` on, as faults would: a copy fills page by page, after which no
    /// fault could fill the rest of a block at once.
    fn fill(
        &self,
        vm: &Vm<M::Format, M::Hal>,
        address: GuestPhysAddr,
        size: u64,
    ) -> Result<(), Failure> {
        let (block, start) = (self.leaf.size(), address.as_u64());
        let first = start / block * block;
        let blocks = (start + size - first).div_ceil(block);
        for number in (0..blocks).filter(|_| self.leaf == Leaf::Block) {
            let block = GuestPhysAddr::new(first + number * block);
            let filled = vm.handle_page_fault(block, MappingFlags::WRITE);
            filled.map_err(|error| failure(format_args!("{block}: {error}")))?;
        }
        Ok(())
    }

    fn damage(
        &self,
        vm: &Vm<M::Format, M::Hal>,
        format: &M::Format,
        file: &VmFile,
    ) -> Option<Damage> {
        let address = file.ramdisk_load_addr.filter(|_| self.sabotage)?;
        let mmu = self.machine.mmu(format, vm.address_space_id());
        let next = address.checked_add(PAGE_SIZE_4K)?;
        Damage::inflict_by(self.machine, &mmu, address, next)
    }
}

/// Runs the guest on all its CPUs. Nobody but the caller has `running` afterwards.
fn run_all<F, H, C>(running: &Arc<Running<F, H, C>>) -> Result<Statistics, Failure>
where
    F: Format,
    H: nested_paging::VmHal + Send + Sync + 'static,
    C: Cpus<F>,
{
    if running.has_second_cpu() {
        let running = Arc::clone(running);
        let cpus = Arc::clone(&running);
        cpus.cpus()
            .run_on_second(Box::new(move || running.run_second()));
    }
    let first = running.run(0);
    while Arc::strong_count(running) > 1 {
        core::hint::spin_loop();
    }
    let first = first?;
    match running.second() {
        Some(second) => Ok(first.and(second?)),
        None => Ok(first),
    }
}
