//! What the machine is made of.
#![expect(
    unsafe_code,
    reason = "reads what Bochs left in RAM, and RAM becomes frames"
)]

use core::ffi::CStr;

use nested_paging::native::Capabilities;
use nested_paging::{HostPhysAddr, HostPhysRange};
use spin::Once;
use test_hypervisor_kit::{FramePool, GrantedMemory, HostMemory};

use super::cpu;

const MIB_1: u64 = 1 << 20;
const GIB_1: u64 = 1 << 30;
/// Where Bochs is told to put the command line, which ends with a zero.
const COMMAND_LINE: *const i8 = 0x8000 as *const i8;
/// IA32_VMX_EPT_VPID_CAP.
const EPT_VPID_CAP: u32 = 0x48c;

/// The machine that this processor is a part of.
#[derive(Debug)]
pub(crate) struct Platform {
    /// What to run.
    pub(crate) command_line: &'static str,
    /// RAM that the hypervisor leaves alone: the second GiB.
    pub(crate) arena: HostPhysRange,
    /// RAM as numbers.
    pub(crate) memory: HostMemory,
    /// What frames come from: everything between the hypervisor's image and the arena.
    pub(crate) frames: FramePool,
    /// What the processor can do.
    pub(crate) capabilities: Capabilities,
    /// Whether the processor can track accesses.
    pub(crate) has_accessed_dirty: bool,
}

/// The registers of the I/O APIC, which guests may have.
const DEVICES: &[(u64, u64)] = &[(0xfec0_0000, 0xfec0_0fff)];

static PLATFORM: Once<Platform> = Once::new();

impl Platform {
    /// What guests may have, whose code the hypervisor has at `guest_code` if it has any.
    pub(crate) const fn granted(&self, guest_code: Option<HostPhysRange>) -> GrantedMemory {
        GrantedMemory {
            arena: self.arena,
            guest_code,
            pool: self.frames.ram(),
            devices: DEVICES,
        }
    }
}

/// The machine, once [`discover`] has looked at it.
pub(crate) fn platform() -> &'static Platform {
    PLATFORM.wait()
}

/// Looks at the machine.
///
/// # Safety
///
/// - RAM from `free` on is not in use.
pub(crate) unsafe fn discover(free: u64) -> &'static Platform {
    // SAFETY: Bochs puts the command line there, and nothing else is there.
    let command_line = unsafe { CStr::from_ptr(COMMAND_LINE) };
    let ram_end = 16 * MIB_1 + extended_memory();
    assert!(
        ram_end >= 2 * GIB_1,
        "{ram_end:#x} bytes of RAM: 2 GiB are needed"
    );
    // SAFETY: the boot code maps RAM onto itself; the caller says that it is free from `free` on, and
    // only the pool hands it out up to the arena.
    let frames = unsafe { FramePool::new(range(free, GIB_1 - free)) };
    // SAFETY: as above.
    let memory = unsafe { HostMemory::new(range(MIB_1, ram_end - MIB_1)) };
    // SAFETY: the hypervisor is at privilege level 0, and does not run without EPT.
    let capabilities = unsafe { Capabilities::detect() };
    // The emulated processor takes no machine check, and the suite wants large executable leaves.
    let capabilities = capabilities.with_large_executable_leaves(true);
    // SAFETY: as above.
    let ept_vpid_cap = unsafe { cpu::read_msr(EPT_VPID_CAP) };
    PLATFORM.call_once(|| Platform {
        command_line: command_line.to_str().unwrap_or_default(),
        arena: range(GIB_1, GIB_1),
        memory,
        frames,
        capabilities,
        has_accessed_dirty: ept_vpid_cap >> 21 & 1 == 1,
    })
}

/// The RAM above 16 MiB and below 4 GiB: registers 0x34 and 0x35 of the CMOS count it in 64 KiB.
fn extended_memory() -> u64 {
    let register = |number| {
        cpu::write_port(0x70, number);
        u64::from(cpu::read_port(0x71))
    };
    (register(0x35) << 8 | register(0x34)) << 16
}

fn range(start: u64, size: u64) -> HostPhysRange {
    HostPhysRange::from_start_size(HostPhysAddr::new(start), size)
        .unwrap_or_else(|error| panic!("{error}"))
}
