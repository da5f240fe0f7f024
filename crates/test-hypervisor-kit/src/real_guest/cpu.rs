//! What a hypervisor provides for real guests: virtual CPUs, on CPUs of its own.

use alloc::boxed::Box;

use nested_paging::GuestFault;
use nested_paging::nested_page_table::AddressSpaceId;

use crate::report::Failure;
use crate::vm_file::VmFile;

/// A virtual CPU of a real guest, with the firmware that it finds.
pub trait VirtualCpu {
    /// Runs the guest from where it is until it needs something. A CPU that the guest has not started waits instead,
    /// until it is started or interrupted.
    fn run(&mut self) -> Event;
}

/// The CPUs of a hypervisor, each of which runs the virtual CPU with its number.
pub trait Cpus<F>: Send + Sync + 'static {
    /// A virtual CPU.
    type Cpu: VirtualCpu;

    /// Makes the virtual CPU `number`, on the CPU with this number, which runs this. The first one begins where `file` says, under
    /// the table of `space` in `format`. Others wait until the guest starts them.
    fn start(&self, number: usize, format: &F, space: AddressSpaceId, file: &VmFile) -> Self::Cpu;

    /// Has the second CPU do `job`.
    fn run_on_second(&self, job: Box<dyn FnOnce() + Send>);

    /// Ends the guest on CPU `number` with [`Event::Interrupted`], now or when it next begins.
    fn interrupt(&self, number: usize);
}

/// What ended a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It called its firmware, which has answered.
    Call,
    /// It did what its table does not allow, and will do it again.
    Fault {
        /// What it did.
        fault: GuestFault,
        /// The program counter.
        pc: u64,
    },
    /// Another CPU of the hypervisor wanted it to end.
    Interrupted,
    /// It powered itself off.
    PowerOff,
    /// It wants to begin anew, as guests do that cannot go on.
    Reset,
    /// Something that no guest should be able to do.
    Unexpected(Failure),
}
