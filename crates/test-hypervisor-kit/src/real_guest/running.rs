//! A guest that runs on one or two CPUs.

use alloc::format;
use core::sync::atomic::{AtomicBool, Ordering};

use nested_paging::nested_page_table::Format;
use nested_paging::{MappingFlags, Vm, VmHal};
use spin::Mutex;

use super::cpu::{Cpus, Event, VirtualCpu};
use super::statistics::Statistics;
use crate::options::Leaf;
use crate::report::{Failure, failure};
use crate::vm_file::VmFile;

/// What the CPUs of a guest share.
pub(super) struct Running<F: Format, H: VmHal, C> {
    cpus: C,
    vm: Vm<F, H>,
    format: F,
    file: VmFile,
    leaf: Leaf,
    /// A CPU is done with the guest, so all are.
    ended: AtomicBool,
    /// What became of the second CPU.
    second: Mutex<Option<Result<Statistics, Failure>>>,
}

impl<F: Format, H: VmHal, C: Cpus<F>> Running<F, H, C> {
    pub(super) const fn new(cpus: C, vm: Vm<F, H>, format: F, file: VmFile, leaf: Leaf) -> Self {
        Self {
            cpus,
            vm,
            format,
            file,
            leaf,
            ended: AtomicBool::new(false),
            second: Mutex::new(None),
        }
    }

    pub(super) const fn vm(&self) -> &Vm<F, H> {
        &self.vm
    }

    pub(super) const fn cpus(&self) -> &C {
        &self.cpus
    }

    pub(super) const fn has_second_cpu(&self) -> bool {
        self.file.cpus > 1
    }

    /// What became of the second CPU, if there is one.
    pub(super) fn second(&self) -> Option<Result<Statistics, Failure>> {
        self.second.lock().take()
    }

    /// Runs the guest on the second CPU, which is this.
    pub(super) fn run_second(&self) {
        let outcome = self.run(1);
        *self.second.lock() = Some(outcome);
    }

    /// Runs the guest on CPU `number`, which is this, until it ends on any. Then it ends on all.
    pub(super) fn run(&self, number: usize) -> Result<Statistics, Failure> {
        let space = self.vm.address_space_id();
        let mut cpu = self.cpus.start(number, &self.format, space, &self.file);
        let outcome = self.until_end(&mut cpu);
        match self.ended.swap(true, Ordering::SeqCst) {
            false if self.has_second_cpu() => self.stop(1 - number).and(outcome),
            _ => outcome,
        }
    }

    /// Makes the guest end on CPU `number`: it may execute nothing any more, and does not sleep.
    fn stop(&self, number: usize) -> Result<(), Failure> {
        for (start, size) in self.file.memory() {
            let protected = self.vm.protect_region(start, size, MappingFlags::READ);
            protected.map_err(|error| failure(format_args!("{error}")))?;
        }
        self.cpus.interrupt(number);
        Ok(())
    }

    fn until_end(&self, cpu: &mut C::Cpu) -> Result<Statistics, Failure> {
        let mut statistics = Statistics::default();
        loop {
            let event = cpu.run();
            if self.ended.load(Ordering::SeqCst) {
                return Ok(statistics);
            }
            match event {
                Event::Call => statistics.calls += 1,
                Event::Interrupted => {}
                Event::Fault { fault, pc } => {
                    let handled = statistics.handle_fault(&self.vm, &fault, self.leaf);
                    handled.map_err(|reason| format!("{fault:x?} by pc {pc:#x}: {reason}"))?;
                }
                Event::PowerOff => return Ok(statistics),
                Event::Reset => return Err(failure(format_args!("it wants to begin anew"))),
                Event::Unexpected(reason) => return Err(reason),
            }
        }
    }
}
