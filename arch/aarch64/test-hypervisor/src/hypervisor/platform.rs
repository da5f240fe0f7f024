//! What the machine is made of, from its device tree.
#![expect(unsafe_code, reason = "the device tree comes as an address")]

use alloc::string::{String, ToString};

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use nested_paging::native::Capabilities;
use nested_paging::{HostPhysAddr, HostPhysRange};
use spin::Once;
use test_hypervisor_kit::{FramePool, GrantedMemory, HostMemory};

use super::psci::Conduit;

const GIB_1: u64 = 1 << 30;
/// QEMU puts the device tree at the start of RAM for an image that is no Linux kernel. ("Arm System
/// emulator: virt", "Hardware configuration information for bare-metal programming".)
const DEVICE_TREE: u64 = 0x4000_0000;

/// The machine that this CPU is a part of.
#[derive(Debug)]
pub(crate) struct Platform {
    /// The words after `-append`.
    pub(crate) command_line: String,
    /// RAM that the hypervisor leaves alone: the last whole, aligned GiB.
    pub(crate) arena: HostPhysRange,
    /// RAM as numbers.
    pub(crate) memory: HostMemory,
    /// What frames come from: everything between the hypervisor's image and the arena.
    pub(crate) frames: FramePool,
    /// What the CPUs can do.
    pub(crate) capabilities: Capabilities,
    /// How the firmware is called.
    pub(crate) conduit: Conduit,
}

/// The interrupt controller (GICv2) and the UART, which guests may have. ("virt" of QEMU, `hw/arm/virt.c`.)
const DEVICES: &[(u64, u64)] = &[(0x800_0000, 0x801_ffff), (0x900_0000, 0x900_0fff)];

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

/// Looks at the machine. Memory from `free` on belongs to nobody.
///
/// # Safety
///
/// - RAM from `free` on is not in use.
pub(crate) unsafe fn discover(free: u64) -> &'static Platform {
    // SAFETY: QEMU has put the device tree there, and nobody has written to it.
    let tree = unsafe { Fdt::from_raw(DEVICE_TREE as *const u8) };
    let tree = tree.unwrap_or_else(|error| panic!("the device tree: {error}"));
    let method = text(&tree, "/psci", "method");
    let ram = ram(&tree);
    let arena = last_gib(&ram);
    // SAFETY: the hypervisor translates every address to itself, so RAM is where it is; the caller
    // says that it is free from `free` on, and only the pool hands it out up to the arena.
    let frames = unsafe { FramePool::new(range(free, arena.start().as_u64() - free)) };
    // SAFETY: as above.
    let memory = unsafe { HostMemory::new(ram) };
    // SAFETY: the CPU is at EL2, and HCR_EL2.FWB is as it will be.
    let capabilities = unsafe { Capabilities::detect() };
    PLATFORM.call_once(|| Platform {
        command_line: text(&tree, "/chosen", "bootargs").unwrap_or_default(),
        arena,
        memory,
        frames,
        capabilities,
        conduit: match method.as_deref() {
            Some("hvc") => Conduit::Hvc,
            _ => Conduit::Smc,
        },
    })
}

fn text(tree: &Fdt<'_>, path: &str, property: &str) -> Option<String> {
    let node = tree.find_node(path)?;
    let text = node
        .property(property)?
        .value_as::<&str>()
        .ok()?
        .to_string();
    Some(text)
}

/// The one node of memory: QEMU's virt machine gives it two cells each for address and size.
fn ram(tree: &Fdt<'_>) -> HostPhysRange {
    let cells = tree.find_node("/memory").and_then(|node| {
        let property = node.property("reg")?;
        let (start, size) = property.value().split_first_chunk::<8>()?;
        Some((*start, *size.first_chunk::<8>()?))
    });
    let Some((start, size)) = cells else {
        panic!("the device tree has no memory");
    };
    range(u64::from_be_bytes(start), u64::from_be_bytes(size))
}

fn last_gib(ram: &HostPhysRange) -> HostPhysRange {
    let end = ram.last().as_u64().wrapping_add(1) & !(GIB_1 - 1);
    range(end - GIB_1, GIB_1)
}

fn range(start: u64, size: u64) -> HostPhysRange {
    HostPhysRange::from_start_size(HostPhysAddr::new(start), size)
        .unwrap_or_else(|error| panic!("{error}: the machine needs more memory, such as -m 2G"))
}
