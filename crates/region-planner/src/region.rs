//! One region as it was asked for.

use core::fmt;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr, HostPhysRange};
use mapping_flags::MappingFlags;

use crate::class::Class;
use crate::pages::Pages;

/// What stands behind a region of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionKind {
    /// RAM at the host address that equals the guest address, reserved in the host's allocator.
    Identical,
    /// RAM whose host frames are chosen later, not necessarily contiguous.
    Alloc,
    /// RAM at the host address that equals the guest address, which the host's allocator does not have.
    Reserved,
    /// A device that the guest drives itself.
    Passthrough,
    /// An emulated device: never mapped, so every access traps.
    Emulated,
}

impl RegionKind {
    /// Whether the kind is RAM: identical, alloc or reserved.
    #[inline]
    #[must_use]
    pub const fn is_ram(self) -> bool {
        matches!(self, Self::Identical | Self::Alloc | Self::Reserved)
    }

    /// The name in lower case, such as `passthrough`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identical => "identical",
            Self::Alloc => "alloc",
            Self::Reserved => "reserved",
            Self::Passthrough => "passthrough",
            Self::Emulated => "emulated",
        }
    }
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who asked for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The region was configured explicitly, with its addresses.
    Explicit,
    /// The region was derived from a device tree. RAM and emulated devices take precedence over it.
    DeviceTree,
}

/// A region of guest-physical memory as it was asked for, to the byte.
///
/// The name is for messages and need not be unique. Nothing is checked before
/// [`plan`](crate::plan()) sees the region. Flags are never checked here: [`MappingFlags::validate`] checks
/// combinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region<'a> {
    name: &'a str,
    guest: GuestPhysAddr,
    /// Equal to the guest address, and without a meaning, where the kind has no host address.
    host: HostPhysAddr,
    length: u64,
    flags: MappingFlags,
    index: u32,
    kind: RegionKind,
    origin: Origin,
}

impl<'a> Region<'a> {
    /// RAM at the host address that equals `guest`, `length` bytes.
    #[must_use]
    pub const fn identical(
        name: &'a str,
        guest: GuestPhysAddr,
        length: u64,
        flags: MappingFlags,
    ) -> Self {
        Self::identity(name, RegionKind::Identical, guest, length, flags)
    }

    /// RAM whose host frames are chosen later, `length` bytes.
    #[must_use]
    pub const fn alloc(
        name: &'a str,
        guest: GuestPhysAddr,
        length: u64,
        flags: MappingFlags,
    ) -> Self {
        Self::identity(name, RegionKind::Alloc, guest, length, flags)
    }

    /// RAM at the host address that equals `guest`, which the host's allocator does not have, `length` bytes.
    #[must_use]
    pub const fn reserved(
        name: &'a str,
        guest: GuestPhysAddr,
        length: u64,
        flags: MappingFlags,
    ) -> Self {
        Self::identity(name, RegionKind::Reserved, guest, length, flags)
    }

    /// A device that was configured by its addresses, with [`MappingFlags::PASSTHROUGH`].
    #[must_use]
    pub const fn passthrough(
        name: &'a str,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        length: u64,
    ) -> Self {
        Self {
            host,
            ..Self::identity(
                name,
                RegionKind::Passthrough,
                guest,
                length,
                MappingFlags::PASSTHROUGH,
            )
        }
    }

    /// A device that was found in a device tree, with [`MappingFlags::PASSTHROUGH`].
    #[must_use]
    pub const fn device_tree(
        name: &'a str,
        guest: GuestPhysAddr,
        host: HostPhysAddr,
        length: u64,
    ) -> Self {
        Self {
            origin: Origin::DeviceTree,
            ..Self::passthrough(name, guest, host, length)
        }
    }

    /// An emulated device of `length` bytes. It has neither host address nor flags.
    #[must_use]
    pub const fn emulated(name: &'a str, guest: GuestPhysAddr, length: u64) -> Self {
        Self::identity(
            name,
            RegionKind::Emulated,
            guest,
            length,
            MappingFlags::empty(),
        )
    }

    const fn identity(
        name: &'a str,
        kind: RegionKind,
        guest: GuestPhysAddr,
        length: u64,
        flags: MappingFlags,
    ) -> Self {
        Self {
            name,
            guest,
            host: HostPhysAddr::new(guest.as_u64()),
            length,
            flags,
            index: 0,
            kind,
            origin: Origin::Explicit,
        }
    }

    /// The same region with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: MappingFlags) -> Self {
        Self { flags, ..self }
    }

    /// The name that messages use.
    #[inline]
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// What stands behind the region.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> RegionKind {
        self.kind
    }

    /// Who asked for the region.
    #[inline]
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The flags of the mapping; empty for an emulated region.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> MappingFlags {
        self.flags
    }

    /// The first guest byte.
    #[inline]
    #[must_use]
    pub const fn guest(&self) -> GuestPhysAddr {
        self.guest
    }

    /// The host byte behind the first guest byte, or `None` for alloc and emulated regions.
    #[inline]
    #[must_use]
    pub const fn host(&self) -> Option<HostPhysAddr> {
        match self.kind {
            RegionKind::Alloc | RegionKind::Emulated => None,
            RegionKind::Identical | RegionKind::Reserved | RegionKind::Passthrough => {
                Some(self.host)
            }
        }
    }

    /// The number of bytes, as asked for.
    #[inline]
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The position that the region had in the slice given to [`plan`](crate::plan()), which sorts
    /// that slice. Zero in a region that no plan has seen.
    #[inline]
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index as usize
    }

    /// The guest bytes that were asked for, or `None` when there are none or they run past 2^64.
    #[inline]
    #[must_use]
    pub fn requested(&self) -> Option<GuestPhysRange> {
        GuestPhysRange::from_start_size(self.guest, self.length).ok()
    }

    pub(crate) const fn set_index(&mut self, index: u32) {
        self.index = index;
    }

    #[inline]
    pub(crate) const fn sort_key(&self) -> (GuestPhysAddr, u32) {
        (self.guest, self.index)
    }

    #[inline]
    pub(crate) const fn class(&self) -> Class {
        Class::new(self.kind, self.flags, self.guest, self.host)
    }

    /// The whole pages around the requested bytes, for every region that has a place in a plan.
    #[inline]
    pub(crate) fn pages(&self) -> Option<Pages> {
        self.requested().map(Pages::around)
    }

    /// Whether this region takes precedence over device-tree regions: it is RAM or emulated.
    #[inline]
    pub(crate) const fn owns_pages(&self) -> bool {
        !matches!(self.kind, RegionKind::Passthrough)
    }

    pub(crate) const fn is_from_device_tree(&self) -> bool {
        matches!(self.origin, Origin::DeviceTree)
    }

    /// Whether the last host byte would lie past 2^64. `false` where it equals the guest's.
    #[inline]
    pub(crate) fn host_runs_past_end(&self) -> bool {
        let before_last = self.length.saturating_sub(1);
        self.kind == RegionKind::Passthrough && self.host.checked_add(before_last).is_none()
    }

    #[inline]
    pub(crate) const fn differs_in_page_offset(&self) -> bool {
        self.guest.page_offset_4k() != self.host.page_offset_4k()
    }
}

/// Everything that a person needs to find the region and to see what it asks for:
/// `uart (region 3: passthrough, guest 0x1000-0x1fff, host 0x9000-0x9fff, flags READ|WRITE)`.
impl fmt::Display for Region<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, index, kind) = (self.name, self.index, self.kind);
        write!(f, "{name} (region {index}: {kind}, guest ")?;
        match self.requested() {
            Some(range) => write!(f, "{range}")?,
            None => write!(f, "{} + {:#x}", self.guest, self.length)?,
        }
        if let Some(host) = self.host() {
            match HostPhysRange::from_start_size(host, self.length) {
                Ok(range) => write!(f, ", host {range}")?,
                Err(_) => write!(f, ", host {host} + {:#x}", self.length)?,
            }
        }
        if self.kind == RegionKind::Emulated {
            return f.write_str(")");
        }
        write!(f, ", flags {})", self.flags)
    }
}
