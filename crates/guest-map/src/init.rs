//! A configuration to begin with, for a board.

use std::io::{self, Write};

use device_tree_regions::{DeviceTree, Finding, MemoryUse, Property, Selection};
use host_services::{HostMap, HostUse};
use serde::Serialize;

use crate::report::Answer;
use crate::report::json::{Hexadecimal, hexadecimal};
use crate::report::size::size;

/// How much memory a machine is given to begin with.
const RAM_BYTES: u64 = 256 << 20;

/// A board, with a configuration to begin with.
#[derive(Debug, Serialize)]
pub(crate) struct Board {
    /// The file of the device tree.
    dtb: String,
    memory: Vec<Memory>,
    devices: Vec<Device>,
    /// A commented configuration in the format of axvmconfig 0.8: RAM that the hypervisor allocates, and
    /// every enabled device as a comment.
    configuration: String,
}

/// A range of the host's memory.
#[derive(Debug, Serialize)]
struct Memory {
    hpa: Hexadecimal,
    size: Hexadecimal,
    /// `ram` or `reserved`.
    r#use: &'static str,
}

/// An enabled device with its first region.
#[derive(Debug, Serialize)]
struct Device {
    path: String,
    hpa: Hexadecimal,
    size: Hexadecimal,
}

impl Board {
    pub(crate) fn new(dtb: &str, tree: DeviceTree<'_>) -> Self {
        let memory = memory_of(tree);
        let devices = devices_of(tree);
        let configuration = configuration(dtb, &memory, &devices);
        let uses = [(HostUse::Ram, "ram"), (HostUse::Reserved, "reserved")];
        let memory = uses.into_iter().flat_map(|(host_use, name)| {
            let ranges = memory.ranges(host_use).iter();
            ranges.map(move |range| Memory {
                hpa: hexadecimal(range.start()),
                size: Hexadecimal(range.size()),
                r#use: name,
            })
        });
        Self {
            dtb: dtb.into(),
            memory: memory.collect(),
            devices,
            configuration,
        }
    }
}

impl Answer for Board {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(self.configuration.as_bytes())
    }
}

fn configuration(file: &str, memory: &HostMap, devices: &[Device]) -> String {
    let base = place_for_ram(memory);
    let mut text = format!(
        "# A machine on the board of\n\
         #   {file}\n\
         # What the guest gets, and what a change does to it:\n\
         #   guest-map plan THIS.toml --dtb HOST.dtb\n\
         #   guest-map diff THIS.toml CHANGED.toml --dtb HOST.dtb\n\
         # What is at the address of a fault:\n\
         #   guest-map explain THIS.toml 0x12345000 --dtb HOST.dtb\n\n\
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
         # the same on the host.\n"
    );
    text += &host_ram(memory);
    text += &format!(
        "memory_regions = [\n    [{base:#x}, {RAM_BYTES:#x}, 0x7, 0], # {}\n]\n\n",
        size(RAM_BYTES)
    );
    text + &device_lists(devices)
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

fn host_ram(memory: &HostMap) -> String {
    let uses = [
        (HostUse::Ram, "has RAM at"),
        (HostUse::Reserved, "reserves"),
    ];
    let unknown = match memory.ranges(HostUse::Ram).is_empty() {
        true => {
            "# The device tree does not say where the host has RAM: a boot loader writes it in.\n"
        }
        false => "",
    };
    let lines = uses.into_iter().flat_map(|(host_use, what)| {
        let ranges = memory.ranges(host_use).iter();
        ranges.map(move |range| format!("# The host {what} {range}, {}.\n", size(range.size())))
    });
    let lines: String = lines.collect();
    unknown.to_owned() + &lines
}

fn devices_of(tree: DeviceTree<'_>) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    tree.visit_regions(&Selection::new(&["/"], &[]), |finding| {
        if let Finding::Region(region) = finding
            && region.property != Property::Ranges
        {
            let path = region.node.to_string();
            if devices.last().is_none_or(|last| last.path != path) {
                devices.push(Device {
                    path,
                    hpa: hexadecimal(region.range.start()),
                    size: Hexadecimal(region.range.size()),
                });
            }
        }
    });
    devices
}

/// Paths as TOML strings: what TOML must escape does not occur in the names of a sound tree.
fn device_lists(devices: &[Device]) -> String {
    let lines = devices.iter().map(|device| {
        let (path, start, size) = (&device.path, device.hpa.0, size(device.size.0));
        format!("#   {{ path = {path:?} }},\n#       at {start:#x}, {size}\n")
    });
    let lines: String = lines.collect();
    format!(
        "[devices]\n\
         # Take away the `#` of what the guest is to drive itself.\n\
         passthrough = [\n{lines}]\ndisabled = []\n"
    )
}
