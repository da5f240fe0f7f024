//! A configuration to begin with, for a board.

use std::io::{self, Write};

use device_tree_regions::{DeviceTree, Finding, MemoryUse, Property, Selection};
use guest_addr::HostPhysRange;
use host_services::{HostMap, HostUse};

use crate::problem::Failure;
use crate::report::size::size;

/// How much memory a machine is given to begin with.
const RAM_BYTES: u64 = 256 << 20;

/// An enabled device with its first region.
struct Device {
    path: String,
    range: HostPhysRange,
}

/// Prints a commented configuration in the format of axvmconfig 0.8: RAM that the hypervisor allocates,
/// and every enabled device as a comment.
pub(crate) fn init(
    file: &str,
    tree: DeviceTree<'_>,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let memory = memory_of(tree);
    let base = place_for_ram(&memory);
    writeln!(
        output,
        "# A machine on the board of\n\
         #   {file}\n\
         # Look at what a change does with guest-map plan, check, diff and explain.\n\n\
         [base]\n\
         id = 1\n\
         name = \"guest\"\n\
         # \"passthrough\" instead passes all devices through, less those in `disabled`.\n\
         guest_type = \"virtualized\"\n\
         cpu_num = 1\n\n\
         [kernel]\n\
         entry_point = {base:#x}\n\
         kernel_load_addr = {base:#x}\n\
         # [guest address, size, flags, type]. Flags 0x7 are read, write and execute.\n\
         # Type 0: the hypervisor chooses the host's memory. Type 1: the addresses are\n\
         # the same on the host."
    )?;
    write_host_ram(&memory, output)?;
    writeln!(
        output,
        "memory_regions = [\n    [{base:#x}, {RAM_BYTES:#x}, 0x7, 0], # {}\n]\n",
        size(RAM_BYTES)
    )?;
    write_devices(&devices_of(tree), output)?;
    Ok(())
}

fn memory_of(tree: DeviceTree<'_>) -> HostMap {
    let mut uses = Vec::new();
    tree.visit_memory(|memory| {
        let host_use = match memory.memory_use {
            MemoryUse::Ram => HostUse::Ram,
            MemoryUse::Reserved => HostUse::Reserved,
        };
        uses.push((memory.range, host_use));
    });
    uses.into_iter().collect()
}

/// Where the host's own RAM begins, so that addresses look like those of the board; else a place that
/// boards have RAM at.
fn place_for_ram(memory: &HostMap) -> u64 {
    let first = memory.ranges(HostUse::Ram).first();
    first.map_or(0x8000_0000, |range| range.start().as_u64())
}

fn write_host_ram(memory: &HostMap, output: &mut impl Write) -> io::Result<()> {
    let uses = [
        (HostUse::Ram, "has RAM at"),
        (HostUse::Reserved, "reserves"),
    ];
    for (host_use, what) in uses {
        for range in memory.ranges(host_use) {
            writeln!(output, "# The host {what} {range}, {}.", size(range.size()))?;
        }
    }
    Ok(())
}

fn devices_of(tree: DeviceTree<'_>) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    tree.visit_regions(&Selection::new(&["/"], &[]), |finding| {
        if let Finding::Region(region) = finding
            && region.property != Property::Ranges
        {
            let path = region.node.to_string();
            if devices.last().is_none_or(|last| last.path != path) {
                let range = region.range;
                devices.push(Device { path, range });
            }
        }
    });
    devices
}

/// Paths as TOML strings: what TOML must escape does not occur in the names of a sound tree.
fn write_devices(devices: &[Device], output: &mut impl Write) -> io::Result<()> {
    writeln!(
        output,
        "[devices]\n\
         # Take away the `#` of what the guest is to drive itself.\n\
         passthrough = ["
    )?;
    for Device { path, range } in devices {
        let quoted = format!("{path:?}");
        writeln!(output, "#   {{ path = {quoted} }},")?;
        writeln!(
            output,
            "#       at {}, {}",
            range.start(),
            size(range.size())
        )?;
    }
    writeln!(output, "]\ndisabled = []")
}
