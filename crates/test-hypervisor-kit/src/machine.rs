//! What the suite asks of a test hypervisor.

use alloc::vec::Vec;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::nested_page_table::{AddressSpaceId, Format};
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange, VmHal};
use reference_mmu::NestedMmu;

use crate::deviation::Deviation;
use crate::frame_pool::FramePool;
use crate::host_memory::HostMemory;
use crate::probe::{Fault, Outcome, Probe};
use crate::report::Report;

/// A table format under the name that people call it by.
#[derive(Clone, Copy, Debug)]
pub struct Mode<F> {
    /// `sv39x4`, `ipa40`, `ept4`.
    pub name: &'static str,
    /// Its format, with what the machine is capable of.
    pub format: F,
}

/// A device with a register that keeps what is written to it and does nothing else, such as the
/// scratch register of a 16550.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    /// The page of the device.
    pub base: HostPhysAddr,
    /// How many bytes of registers it has.
    pub size: u64,
}

/// A machine with a hypervisor on it, whose guests are asked to do one access at a time.
///
/// Every guest that a probe starts runs code of the hypervisor's own from
/// [`guest_code`](Self::guest_code), mapped at [`CODE`](Self::CODE) with `READ` and `EXECUTE`; its own
/// translation is off, or the identity.
pub trait Machine: 'static {
    /// The table format.
    type Format: Format;
    /// The hypervisor's side of a virtual machine.
    type Hal: VmHal + Send + Sync;
    /// The reference walker of the architecture.
    type Mmu: NestedMmu;

    /// Where guests expect their code: below the first GiB, away from the UART.
    const CODE: GuestPhysAddr;

    /// How much of it there is: a page, and what else guests need, such as page tables.
    const CODE_SIZE: u64 = PAGE_SIZE_4K;

    /// How many bits of guest-physical address a guest can form: wider ones are not probed.
    const ADDRESS_BITS: u32;

    /// Whether there is a second CPU for guests, so that changes under a running guest can be tested.
    const HAS_SECOND_CPU: bool = true;

    /// Every mode that the machine has.
    fn modes(&self) -> Vec<Mode<Self::Format>>;

    /// Told before the tests of `mode`, for what a root register does not say.
    fn begin(&self, mode: &Mode<Self::Format>) {
        let _ = mode;
    }

    /// Tests of this machine alone. They follow those of all modes.
    fn own_tests(&self, report: &mut Report<'_>) {
        let _ = report;
    }

    /// A hardware abstraction for a table in `format`, as the hypervisor makes one.
    fn hal(&self, format: &Self::Format) -> Self::Hal;

    /// The frames that abstractions hand out.
    fn frames(&self) -> &'static FramePool;

    /// The reference walker with `space`'s root register, and what the machine is capable of.
    fn mmu(&self, format: &Self::Format, space: AddressSpaceId) -> Self::Mmu;

    /// All RAM.
    fn memory(&self) -> &HostMemory;

    /// RAM that nobody uses, for tests to map: 1 GiB aligned to 1 GiB, where the machine has so much.
    fn arena(&self) -> HostPhysRange;

    /// Where the code of guests begins: [`CODE_SIZE`](Self::CODE_SIZE) bytes from a page's begin on.
    fn guest_code(&self) -> HostPhysAddr;

    /// Has a guest of `space` do one access. For `Store`, `Done` carries the word that was stored.
    fn probe(&self, space: AddressSpaceId, probe: Probe) -> Outcome;

    /// The memory type that the hardware shows for `address`, where it does (PAR_EL1).
    fn memory_type(
        &self,
        space: AddressSpaceId,
        address: GuestPhysAddr,
    ) -> Option<<Self::Mmu as NestedMmu>::Attributes> {
        let _ = (space, address);
        None
    }

    /// Whether `probe` knows [`Way::Instruction`](crate::Way::Instruction).
    fn has_probe_instructions(&self) -> bool;

    /// Two or more instructions in 8 bytes, which put `tag` into a register and end the guest, so
    /// that probes can tell pages apart whether they load or execute.
    fn signature(&self, tag: u16) -> u64;

    /// What the hypervisor gets to see of a fault that the reference tells of.
    fn fault(&self, fault: &<Self::Mmu as NestedMmu>::Fault, probe: &Probe) -> Fault;

    /// A damaged leaf: the same entry with another host address. The suite has to notice.
    fn damage(&self, leaf: u64) -> u64;

    /// Where the emulator is known to be wrong.
    fn deviations(&self) -> &'static [Deviation];

    /// A device to pass through.
    fn uart(&self) -> Uart;

    /// Runs a guest of `space` that finds the UART's registers at `base`, writes `text` to it and
    /// `mark` to the register that keeps it, reads that back, and ends.
    ///
    /// What ended it: `Done` with what it read back.
    fn drive_uart(
        &self,
        space: AddressSpaceId,
        base: GuestPhysAddr,
        text: &str,
        mark: u8,
    ) -> Outcome;

    /// What the hypervisor itself finds in the register of [`drive_uart`](Self::drive_uart).
    fn uart_mark(&self) -> u8;

    /// Starts a guest of `space` on a second CPU, which loads the word at `watched` and adds 1 to the
    /// word at `counter`, for ever. False if there is no second CPU.
    fn start_watcher(
        &self,
        space: AddressSpaceId,
        watched: GuestPhysAddr,
        counter: GuestPhysAddr,
    ) -> bool;

    /// What ended the guest on the second CPU, if something did since it was started.
    fn watcher_outcome(&self) -> Option<Outcome>;

    /// Waits for `microseconds`.
    fn wait(&self, microseconds: u64);
}
