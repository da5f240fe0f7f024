//! What a plan does that may surprise.

use core::fmt;

use guest_addr::{GuestPhysRange, HostPhysRange};

use crate::alias::Alias;
use crate::mapping::Mapping;
use crate::pages::Pages;
use crate::plan::Plan;
use crate::region::Region;

/// Something that is planned as asked, but may not be what was meant.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Warning<'p, 'a> {
    /// A passthrough mapping lets the guest reach bytes that no source asked for.
    PageExposure {
        /// The mapping, which knows its sources.
        mapping: Mapping<'p, 'a>,
        /// How many bytes.
        bytes: u64,
    },
    /// Two passthrough mappings lead to the same host memory.
    HostAlias {
        /// The mapping at the lower host address.
        first: Mapping<'p, 'a>,
        /// The other mapping.
        second: Mapping<'p, 'a>,
        /// Whole pages that both lead to.
        host: HostPhysRange,
    },
    /// A RAM region does not begin and end on 4 KiB boundaries and was grown to whole pages.
    RegionRounded {
        /// The region as it was asked for.
        region: &'p Region<'a>,
        /// Its whole pages.
        pages: GuestPhysRange,
    },
}

impl<'p, 'a> Warning<'p, 'a> {
    pub(crate) fn of_mapping(mapping: Mapping<'p, 'a>) -> Option<Self> {
        let bytes = mapping.exposed_bytes();
        (bytes > 0).then_some(Self::PageExposure { mapping, bytes })
    }

    pub(crate) fn of_alias(plan: &'p Plan<'_, 'a>, alias: Alias) -> Option<Self> {
        Some(Self::HostAlias {
            first: plan.mapping(alias.first)?,
            second: plan.mapping(alias.second)?,
            host: alias.host,
        })
    }

    pub(crate) fn of_region(region: &'p Region<'a>) -> Option<Self> {
        let bytes = region.requested()?;
        if !region.kind().is_ram() || bytes.is_aligned_4k() {
            return None;
        }
        let pages = Pages::around(bytes).bytes().ok()?;
        Some(Self::RegionRounded { region, pages })
    }

    /// The name of the warning: `page-exposure`, `host-alias` or `region-rounded`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PageExposure { .. } => "page-exposure",
            Self::HostAlias { .. } => "host-alias",
            Self::RegionRounded { .. } => "region-rounded",
        }
    }
}

impl fmt::Display for Warning<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PageExposure { mapping, bytes } => {
                write!(
                    f,
                    "the guest reaches {bytes:#x} bytes that nobody asked for, in the pages of"
                )?;
                let mut sources = mapping.sources();
                if let Some(first) = sources.next() {
                    write!(f, " {}", first.name())?;
                }
                match sources.count() {
                    0 => {}
                    more => write!(f, " and {more} more")?,
                }
                write!(f, " ({mapping})")
            }
            Self::HostAlias {
                first,
                second,
                host,
            } => write!(f, "{first} and {second} both lead to host {host}"),
            Self::RegionRounded { region, pages } => {
                write!(f, "{region} is grown to whole pages, guest {pages}")
            }
        }
    }
}
