//! What the machine is made of, from its device tree.
#![expect(unsafe_code, reason = "the device tree comes as an address")]

use alloc::string::{String, ToString};

use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use nested_paging::native::Capabilities;
use nested_paging::{HostPhysAddr, HostPhysRange};
use spin::Once;
use test_hypervisor_kit::{FramePool, GrantedMemory, HostMemory};

const GIB_1: u64 = 1 << 30;

/// The machine that this hart is a part of.
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
    /// What the harts can do.
    pub(crate) capabilities: Capabilities,
    /// The frequency of the time register.
    pub(crate) ticks_per_microsecond: u64,
}

/// The UART, which guests may have.
const DEVICES: &[(u64, u64)] = &[(0x1000_0000, 0x1000_0fff)];

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
/// - `device_tree` is the address of the device tree that the firmware passed.
/// - RAM from `free` on is not in use, the device tree excepted, which is read now and never again.
/// - Nobody has used hgatp on this hart yet.
pub(crate) unsafe fn discover(device_tree: u64, free: u64) -> &'static Platform {
    // SAFETY: the caller's first condition.
    let tree = unsafe { Fdt::from_raw(device_tree as *const u8) };
    let tree = tree.unwrap_or_else(|error| panic!("the device tree: {error}"));
    let command_line = text(&tree, "/chosen", "bootargs").unwrap_or_default();
    let extensions = text(&tree, "/cpus/cpu@0", "riscv,isa").unwrap_or_default();
    let frequency = number(&tree, "/cpus", "timebase-frequency").unwrap_or(10_000_000);
    let ram = ram(&tree);
    let arena = last_gib(&ram);
    // SAFETY: the hypervisor runs without paging, so RAM is where it is; the caller says that it is
    // free from `free` on, and only the pool hands it out up to the arena.
    let frames = unsafe { FramePool::new(range(free, arena.start().as_u64() - free)) };
    // SAFETY: as above.
    let memory = unsafe { HostMemory::new(ram) };
    // SAFETY: the firmware starts this hart in HS-mode, with hgatp at its disposal.
    let capabilities = unsafe { Capabilities::detect() };
    PLATFORM.call_once(|| Platform {
        command_line,
        arena,
        memory,
        frames,
        capabilities: capabilities.with_svpbmt(extensions.contains("svpbmt")),
        ticks_per_microsecond: frequency / 1_000_000,
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

fn number(tree: &Fdt<'_>, path: &str, property: &str) -> Option<u64> {
    let node = tree.find_node(path)?;
    let number = node.property(property)?.value_as::<u32>().ok()?;
    Some(u64::from(number))
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
