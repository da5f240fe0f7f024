//! What a walk over the devices finds.

use core::fmt;

use guest_addr::HostPhysRange;

use crate::path::NodePath;

/// A property that decides which regions a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Property {
    /// `reg`: the device's own addresses.
    Reg,
    /// `assigned-addresses`: the addresses of a device on a PCI bus.
    AssignedAddresses,
    /// `ranges`: how a bus translates the addresses of its children.
    Ranges,
    /// `status`: whether the device may be used.
    Status,
    /// `device_type`: whether the node is memory or a PCI bus.
    DeviceType,
    /// `#address-cells`: how long the addresses of the children are.
    AddressCells,
    /// `#size-cells`: how long the sizes of the children are.
    SizeCells,
}

impl Property {
    /// The name in the device tree.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reg => "reg",
            Self::AssignedAddresses => "assigned-addresses",
            Self::Ranges => "ranges",
            Self::Status => "status",
            Self::DeviceType => "device_type",
            Self::AddressCells => "#address-cells",
            Self::SizeCells => "#size-cells",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Addresses of the CPU at which a device answers: host-physical, since the tree is the host's.
/// Neither aligned nor rounded; regions may overlap each other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Region<'w> {
    /// The device.
    pub node: NodePath<'w>,
    /// The addresses.
    pub range: HostPhysRange,
    /// [`Property::Reg`], [`Property::AssignedAddresses`], or [`Property::Ranges`] for a window of a
    /// bus.
    pub property: Property,
    /// Which entry of the property, counted from 0.
    pub index: usize,
    /// Whether the device and all nodes above it have no `status`, or `ok` or `okay`.
    pub is_enabled: bool,
}

/// A property, or an entry of one, that makes no sense and counts as absent.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ignored<'w> {
    /// The node that has the property.
    pub node: NodePath<'w>,
    /// The property.
    pub property: Property,
    /// Which entry of the property, counted from 0; `None` when it is all of it.
    pub index: Option<usize>,
    /// Why it is ignored.
    pub reason: IgnoredReason,
    /// The bus that does not translate the entry, for [`IgnoredReason::OutsideWindows`] and
    /// [`IgnoredReason::NoWindows`].
    pub bus: Option<NodePath<'w>>,
}

/// `/soc/serial@10000000: reg[1]: ...`, for people.
impl fmt::Display for Ignored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.property)?;
        if let Some(index) = self.index {
            write!(f, "[{index}]")?;
        }
        write!(f, ": {}", self.reason)?;
        match self.bus {
            Some(bus) => write!(f, " of {bus}"),
            None => Ok(()),
        }
    }
}

/// An entry that the windows of a bus translate in part: [`Region::range`] has what they hold.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Clipped<'w> {
    /// What is left. The region has been reported as [`Finding::Region`].
    pub region: Region<'w>,
    /// How many bytes the entry asks for.
    pub asked: u64,
}

/// `/soc/serial@10000000: reg[1]: ...`, for people.
impl fmt::Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Region {
            node,
            range,
            property,
            index,
            ..
        } = self.region;
        write!(
            f,
            "{node}: {property}[{index}]: of {:#x} bytes, the windows above hold the first {:#x}, {range}",
            self.asked,
            range.size(),
        )
    }
}

/// A selected node that contributes nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Idle<'w> {
    /// The node.
    pub node: NodePath<'w>,
    /// Why.
    pub reason: IdleReason<'w>,
}

/// Why a selected node contributes nothing. The first reason that applies is named.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum IdleReason<'w> {
    /// The node is memory, `/cpus`, `/reserved-memory`, or below one of the last two.
    NotADevice,
    /// A path to the node, or to one above it, is excluded.
    Excluded {
        /// The highest excluded node on the way.
        by: NodePath<'w>,
    },
    /// The `status` of the node, or of one above it, is neither `ok` nor `okay`.
    Disabled {
        /// The highest such node on the way.
        by: NodePath<'w>,
    },
    /// No entry has a size.
    NoAddress,
    /// There are entries, and none of them translates to an address of the CPU that is narrow enough.
    NotTranslated,
}

/// Why a property or an entry of one is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IgnoredReason {
    /// The value of `reg` or `ranges` is not a whole number of entries.
    NotWholeEntries {
        /// The size of the value, in bytes.
        bytes: usize,
        /// The size of an entry by the cells that apply, in bytes.
        entry_bytes: usize,
    },
    /// The value of `#address-cells` or `#size-cells` is not one cell. The default applies.
    NotOneCell {
        /// The size of the value, in bytes.
        bytes: usize,
    },
    /// The value of `status` or `device_type` does not end with a NUL. It is read as if it did.
    NotAString,
    /// The entry has a size, but addresses take no cells.
    NoAddress,
    /// No window of a bus holds the first byte of the entry.
    OutsideWindows {
        /// The first address, on that bus.
        start: u64,
    },
    /// A bus does not translate the addresses of its children: it has no `ranges`, or addresses of no
    /// cells or more than three.
    NoWindows {
        /// The first address, on that bus.
        start: u64,
    },
    /// The entry runs past the last of 2^64 addresses.
    Wraps {
        /// The first address.
        start: u64,
        /// The size in bytes, or `u64::MAX` when that is not enough.
        size: u64,
    },
    /// The entry translates to addresses wider than
    /// [`Selection::address_bits`](crate::Selection::address_bits).
    TooWide {
        /// The addresses.
        range: HostPhysRange,
        /// How wide they may be, in bits.
        address_bits: u32,
    },
}

impl fmt::Display for IgnoredReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWholeEntries { bytes, entry_bytes } => write!(
                f,
                "{bytes} bytes are not a whole number of entries of {entry_bytes} bytes"
            ),
            Self::NotOneCell { bytes } => write!(f, "{bytes} bytes instead of 4"),
            Self::NotAString => f.write_str("not a string"),
            Self::NoAddress => f.write_str("no address: #address-cells is 0"),
            Self::OutsideWindows { start } => write!(f, "{start:#x} is in no window of the ranges"),
            Self::NoWindows { start } => write!(f, "{start:#x} has no translation by the ranges"),
            Self::Wraps { start, size } => {
                write!(f, "{size:#x} bytes at {start:#x} run past 2^64")
            }
            Self::TooWide {
                range,
                address_bits,
            } => write!(f, "{range} is wider than {address_bits} bits"),
        }
    }
}

/// What the host uses memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryUse {
    /// RAM.
    Ram,
    /// Set aside for something below `/reserved-memory`.
    Reserved,
}

/// Memory of the host, as [`DeviceTree::visit_memory`](crate::DeviceTree::visit_memory) finds it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Memory<'w> {
    /// The node that describes the memory.
    pub node: NodePath<'w>,
    /// The addresses, neither aligned nor rounded.
    pub range: HostPhysRange,
    /// RAM or reserved.
    pub memory_use: MemoryUse,
}

/// What [`DeviceTree::visit_regions`](crate::DeviceTree::visit_regions) reports.
///
/// Exhaustive on purpose: a device that a consumer does not hear of is a device that does not work, or is within
/// reach.
#[derive(Clone, Copy, Debug)]
pub enum Finding<'w> {
    /// A region of a device that is passed through.
    Region(Region<'w>),
    /// A region that is shorter than its entry.
    Clipped(Clipped<'w>),
    /// Something that was ignored.
    Ignored(Ignored<'w>),
    /// A selected node without regions.
    Idle(Idle<'w>),
}
