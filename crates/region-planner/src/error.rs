//! Why regions have no plan.

use core::fmt;

use guest_addr::HostPhysRange;

use crate::region::{Region, RegionKind};

/// What two regions that share a page disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OverlapReason {
    /// Their kinds differ, for example RAM and an emulated device.
    Kind,
    /// Their flags differ.
    Flags,
    /// They lead to different host pages: guest minus host differs.
    Target,
    /// They are RAM, and bytes that one asked for were also asked for by the other.
    RamBytes,
}

impl OverlapReason {
    pub(crate) fn between(first: &Region<'_>, second: &Region<'_>) -> Self {
        if first.kind() != second.kind() {
            Self::Kind
        } else if first.flags() != second.flags() {
            Self::Flags
        } else {
            Self::Target
        }
    }
}

/// Why regions have no plan. Each error carries the regions as they were asked for, with
/// [`Region::index`] set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlanError<'a> {
    /// The region has no bytes.
    ZeroLength {
        /// The region at fault.
        region: Region<'a>,
    },
    /// The region's guest bytes run past 2^64.
    GuestPastEnd {
        /// The region at fault.
        region: Region<'a>,
    },
    /// The region's host bytes run past 2^64.
    HostPastEnd {
        /// The region at fault.
        region: Region<'a>,
    },
    /// Guest and host address lie at different bytes of their 4 KiB pages, so that no page table
    /// can lead from one to the other.
    PageOffset {
        /// The region at fault.
        region: Region<'a>,
    },
    /// Two regions have a page in common, after rounding, and disagree.
    Overlap {
        /// The region that comes first by guest address, then by input order.
        first: Region<'a>,
        /// The other region.
        second: Region<'a>,
        /// What they disagree about.
        reason: OverlapReason,
    },
    /// A host page is RAM at one guest address and passed through at another.
    HostAlias {
        /// The identical or reserved region.
        ram: Region<'a>,
        /// The passthrough region.
        device: Region<'a>,
        /// Whole pages that both lead to.
        host: HostPhysRange,
    },
    /// Merged regions cover all 2^64 bytes of the guest, which no page table translates.
    WholeSpace {
        /// The first of the regions.
        region: Region<'a>,
    },
    /// There are more than 2^32 - 1 regions.
    TooManyRegions {
        /// How many there are.
        count: usize,
    },
}

impl fmt::Display for PlanError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroLength { region } => {
                write!(f, "{region} has no bytes: give it a length or remove it")
            }
            Self::GuestPastEnd { region } => {
                write!(f, "{region} runs past the guest's last byte: shorten it")
            }
            Self::HostPastEnd { region } => {
                write!(f, "{region} runs past the host's last byte: shorten it")
            }
            Self::PageOffset { region } => write_page_offset(f, region),
            Self::Overlap {
                first,
                second,
                reason,
            } => write_overlap(f, first, second, *reason),
            Self::HostAlias { ram, device, host } => write!(
                f,
                "{ram} and {device} both lead to host {host}: RAM and a device differ in memory type; \
                 correct an address"
            ),
            Self::WholeSpace { region } => write!(
                f,
                "the regions that begin with {region} cover all 2^64 bytes: leave some out"
            ),
            Self::TooManyRegions { count } => {
                write!(f, "{count:#x} regions are more than 0xffffffff")
            }
        }
    }
}

fn write_page_offset(f: &mut fmt::Formatter<'_>, region: &Region<'_>) -> fmt::Result {
    let guest = region.guest().page_offset_4k();
    let host = region.host().map_or(guest, |host| host.page_offset_4k());
    write!(
        f,
        "{region} has guest byte {guest:#x} and host byte {host:#x} of a 4 KiB page: make them equal"
    )
}

fn write_overlap(
    f: &mut fmt::Formatter<'_>,
    first: &Region<'_>,
    second: &Region<'_>,
    reason: OverlapReason,
) -> fmt::Result {
    let advice = match reason {
        OverlapReason::Kind
            if first.kind() == RegionKind::Emulated || second.kind() == RegionKind::Emulated =>
        {
            "an access cannot both trap and not trap: move or shorten one"
        }
        OverlapReason::Kind => "their kinds differ: move or shorten one",
        OverlapReason::Flags => "their flags differ: give both the same, or move one",
        OverlapReason::Target => "they lead to different host pages: correct an address",
        OverlapReason::RamBytes => "RAM may be asked for only once: move or shorten one",
    };
    write!(f, "{first} and {second} overlap in a 4 KiB page: {advice}")
}

impl core::error::Error for PlanError<'_> {}
