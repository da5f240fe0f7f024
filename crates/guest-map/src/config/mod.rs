//! A configuration file: what a virtual machine asks for.

mod arrays;
mod dialect;
mod document;
mod references;
mod rows;

pub(crate) use rows::{no_ports, ports};

use std::borrow::Cow;
use std::fmt;

use guest_vm::MapType;

use crate::warning::Warning;

/// A configuration, as far as memory is concerned. Numbers are as they were written.
#[derive(Debug)]
pub(crate) struct Config<'i> {
    /// `[base] id`.
    pub(crate) id: u64,
    /// Where `id` stands in the file.
    pub(crate) id_offset: usize,
    /// `[base] name`.
    pub(crate) name: String,
    /// The rows with addresses: `memory_regions`, `passthrough_devices`, `passthrough_addresses`,
    /// `emu_devices`.
    pub(crate) rows: Vec<Row<'i>>,
    /// The device-tree paths to pass through: rows of `passthrough_devices`, or `guest_type` and
    /// `passthrough`.
    pub(crate) passed: Vec<PathRow<'i>>,
    /// `excluded_devices` or `disabled`.
    pub(crate) excluded: Vec<PathRow<'i>>,
    /// Where the kernel and what comes with it are loaded.
    pub(crate) loads: Vec<Load>,
    /// `passthrough_ports`, as first and last port.
    pub(crate) ports: Vec<(u16, u16)>,
    /// `[[devices.virtual]]`, which the hypervisor's machine profile places.
    pub(crate) virtual_devices: Vec<VirtualDevice>,
    /// Keys that mean nothing here.
    pub(crate) warnings: Vec<Warning>,
}

/// A list of rows in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    MemoryRegions,
    PassthroughDevices,
    PassthroughAddresses,
    EmulatedDevices,
    ExcludedDevices,
    PassthroughPorts,
    /// `[base] guest_type`, which stands for one row.
    GuestType,
    Passthrough,
    Disabled,
}

impl List {
    /// The key that has the list.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::MemoryRegions => "memory_regions",
            Self::PassthroughDevices => "passthrough_devices",
            Self::PassthroughAddresses => "passthrough_addresses",
            Self::EmulatedDevices => "emu_devices",
            Self::ExcludedDevices => "excluded_devices",
            Self::PassthroughPorts => "passthrough_ports",
            Self::GuestType => "guest_type",
            Self::Passthrough => "passthrough",
            Self::Disabled => "disabled",
        }
    }
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) list: List,
    /// The position in the list, counted from 0.
    pub(crate) index: u32,
    /// The offset in the file.
    pub(crate) offset: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list {
            List::GuestType => f.write_str(self.list.key()),
            list => write!(f, "{}[{}]", list.key(), self.index),
        }
    }
}

/// A row with addresses.
#[derive(Debug)]
pub(crate) struct Row<'i> {
    pub(crate) place: Place,
    /// The name in the row, or the row's place.
    pub(crate) name: Cow<'i, str>,
    pub(crate) gpa: u64,
    /// Equal to `gpa` where the row does not say.
    pub(crate) hpa: u64,
    pub(crate) size: u64,
    pub(crate) kind: RowKind,
}

/// What a row asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Ram {
        flags: u64,
        /// `None` where the number was none of them, which is a fault that is noted.
        map_type: Option<MapType>,
    },
    Passthrough,
    Emulated {
        device_type: u64,
    },
}

/// A row that is a device-tree path.
#[derive(Debug)]
pub(crate) struct PathRow<'i> {
    pub(crate) place: Place,
    pub(crate) path: Cow<'i, str>,
}

/// A device that the hypervisor's machine profile places.
#[derive(Debug)]
pub(crate) struct VirtualDevice {
    pub(crate) id: String,
    pub(crate) model: String,
}

/// An address of `[kernel]` that memory has to hold.
#[derive(Debug)]
pub(crate) struct Load {
    /// The key, such as `kernel_load_addr`.
    pub(crate) key: &'static str,
    pub(crate) address: u64,
    /// The offset in the file.
    pub(crate) offset: usize,
    /// The file that is loaded there.
    pub(crate) path: Option<String>,
}
