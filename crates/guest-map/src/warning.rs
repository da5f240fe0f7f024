//! What is done as asked, but may not be what was meant.

use std::fmt;

/// The name of a warning, as programs read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The guest reaches bytes of a page that no entry asked for.
    PageExposure,
    /// A host page is passed through at two guest addresses.
    HostAlias,
    /// RAM that does not begin and end on page boundaries was grown.
    RegionRounded,
    /// RAM with the flag `DEVICE` is left out.
    DeviceFlagInMemoryRegion,
    /// An excluded device has bytes in a host page that the machine reaches.
    ExcludedDeviceReachable,
    /// A property of the device tree makes no sense, or an entry does not translate.
    DeviceTreeEntryIgnored,
    /// The windows of a bus hold only the first part of an entry.
    DeviceTreeEntryClipped,
    /// A path gives the guest nothing.
    NothingPassedThrough,
    /// A device needs reserved memory that the machine does not have.
    DependencyNotPassed,
    /// RAM lies over memory that the host's device tree reserves.
    OverReservedMemory,
    /// RAM lies over the registers of an enabled device.
    RamOverDevice,
    /// The hypervisor's machine profile chooses where a virtual device traps.
    VirtualDeviceUnplaced,
    /// A key that means nothing here.
    UnknownKey,
    /// Two machines reach the same page of a device.
    SharedDevice,
}

impl Code {
    pub(crate) const ALL: [Self; 14] = [
        Self::PageExposure,
        Self::HostAlias,
        Self::RegionRounded,
        Self::DeviceFlagInMemoryRegion,
        Self::ExcludedDeviceReachable,
        Self::DeviceTreeEntryIgnored,
        Self::DeviceTreeEntryClipped,
        Self::NothingPassedThrough,
        Self::DependencyNotPassed,
        Self::OverReservedMemory,
        Self::RamOverDevice,
        Self::VirtualDeviceUnplaced,
        Self::UnknownKey,
        Self::SharedDevice,
    ];

    /// The code with the name that programs read.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|code| code.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("no such warning; there are {}", names.join(", "))
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PageExposure => "page-exposure",
            Self::HostAlias => "host-alias",
            Self::RegionRounded => "region-rounded",
            Self::DeviceFlagInMemoryRegion => "device-flag-in-memory-region",
            Self::ExcludedDeviceReachable => "excluded-device-reachable",
            Self::DeviceTreeEntryIgnored => "device-tree-entry-ignored",
            Self::DeviceTreeEntryClipped => "device-tree-entry-clipped",
            Self::NothingPassedThrough => "nothing-passed-through",
            Self::DependencyNotPassed => "dependency-not-passed",
            Self::OverReservedMemory => "over-reserved-memory",
            Self::RamOverDevice => "ram-over-device",
            Self::VirtualDeviceUnplaced => "virtual-device-unplaced",
            Self::UnknownKey => "unknown-key",
            Self::SharedDevice => "shared-device",
        }
    }

    /// What the warning says, for `guest-map help warnings`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::PageExposure => {
                "The guest reaches bytes of a device's page that no entry asked for."
            }
            Self::HostAlias => "A host page is passed through at two guest addresses.",
            Self::RegionRounded => {
                "RAM that does not begin and end on page boundaries was extended."
            }
            Self::DeviceFlagInMemoryRegion => "RAM with the flag DEVICE is left out.",
            Self::ExcludedDeviceReachable => {
                "An excluded device has bytes in a host page that the VM reaches, passed through or \
                 as RAM."
            }
            Self::DeviceTreeEntryIgnored => {
                "A property of a passed-through node, or of a node above it, is malformed, or an \
                 address does not translate."
            }
            Self::DeviceTreeEntryClipped => {
                "The windows of a bus hold only the first part of an entry."
            }
            Self::NothingPassedThrough => {
                "A path puts no byte into the map: it is disabled or excluded, has no address that \
                 translates, or lies under RAM or an emulated device."
            }
            Self::DependencyNotPassed => {
                "A passed-through device names reserved memory (memory-region) that the VM does not \
                 reach, or that has no address. plan --explain-dependencies lists it with IOMMUs, \
                 clocks, resets and interrupt controllers."
            }
            Self::OverReservedMemory => {
                "RAM of kind identical or reserved lies over memory of /reserved-memory."
            }
            Self::RamOverDevice => {
                "RAM of kind identical or reserved lies over the registers of an enabled device."
            }
            Self::VirtualDeviceUnplaced => {
                "A device of [[devices.virtual]]: the hypervisor's machine profile places it, so that \
                 nothing is checked against its address."
            }
            Self::UnknownKey => "An unknown key outside [devices].",
            Self::SharedDevice => "check: two VMs reach the same page of a device.",
        }
    }
}

/// One warning with what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The name.
    pub(crate) code: Code,
    /// The same for people.
    pub(crate) message: String,
    /// The entries that it is about.
    pub(crate) sources: Vec<String>,
    /// For [`Code::PageExposure`]: how many bytes.
    pub(crate) bytes: Option<u64>,
}

impl Warning {
    /// A warning about one entry.
    pub(crate) fn new(code: Code, source: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            sources: vec![source.into()],
            bytes: None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}
