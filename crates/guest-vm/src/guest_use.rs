//! What a guest wants host memory for.

use core::fmt;

use mapping_flags::MappingFlags;

/// What a guest wants host memory for: the question that [`VmHal::grants`](crate::VmHal::grants)
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuestUse {
    /// RAM of the configuration at [`MapType::Identical`](crate::MapType::Identical) addresses, which
    /// [`alloc_memory_region_at`](crate::VmHal::alloc_memory_region_at) will be asked to reserve next.
    IdenticalRam,
    /// The same memory after `alloc_memory_region_at` has refused to reserve it: does the guest get it
    /// all the same? Approve RAM that the host keeps out of its allocator for this guest.
    UnreservedIdenticalRam,
    /// RAM of the configuration at [`MapType::Reserved`](crate::MapType::Reserved) addresses.
    ReservedRam,
    /// Memory that [`Vm::map_region`](crate::Vm::map_region) was called with.
    MapRegion(HostMemoryKind),
    /// A passthrough region of the configuration.
    Passthrough(HostMemoryKind),
    /// A channel that [`Vm::map_ivc_channel`](crate::Vm::map_ivc_channel) was called with: frames of the
    /// machine that made it. Approve them if they are frames of this host, and the two machines may
    /// communicate.
    IvcChannel,
}

impl GuestUse {
    /// Whether the guest treats the memory as RAM or as a device.
    #[must_use]
    pub const fn kind(self) -> HostMemoryKind {
        match self {
            Self::IdenticalRam
            | Self::UnreservedIdenticalRam
            | Self::ReservedRam
            | Self::IvcChannel => HostMemoryKind::Ram,
            Self::MapRegion(kind) | Self::Passthrough(kind) => kind,
        }
    }
}

impl fmt::Display for GuestUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdenticalRam => f.write_str("identical RAM"),
            Self::UnreservedIdenticalRam => f.write_str("identical RAM that is not reserved"),
            Self::ReservedRam => f.write_str("reserved RAM"),
            Self::IvcChannel => f.write_str("an IVC channel"),
            Self::MapRegion(kind) => write!(f, "a mapped region of {kind}"),
            Self::Passthrough(kind) => write!(f, "a passthrough region of {kind}"),
        }
    }
}

/// Whether host memory is RAM, which the hypervisor reads and writes too, or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostMemoryKind {
    /// Mapped without `DEVICE`. [`Vm::read_from_guest`](crate::Vm::read_from_guest) and
    /// [`Vm::write_to_guest`](crate::Vm::write_to_guest) reach it through
    /// [`HostFrames::pointer`](nested_page_table::HostFrames::pointer).
    Ram,
    /// Mapped with `DEVICE`. The hypervisor never touches it.
    Device,
}

impl HostMemoryKind {
    /// The kind of memory that is mapped with `flags`.
    pub(crate) const fn of(flags: MappingFlags) -> Self {
        match flags.contains(MappingFlags::DEVICE) {
            true => Self::Device,
            false => Self::Ram,
        }
    }
}

impl fmt::Display for HostMemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ram => "RAM",
            Self::Device => "a device",
        })
    }
}
