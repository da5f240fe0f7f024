//! One mapping of a plan.

use core::fmt;

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::builder::Entry;
use crate::class::Class;
use crate::leaves::Extent;
use crate::pages::Pages;
use crate::plan::Plan;
use crate::region::{Region, RegionKind};

/// One mapping of a plan: whole 4 KiB pages of one kind, with one set of flags, linear from guest to host.
#[derive(Clone, Copy)]
pub struct Mapping<'p, 'a> {
    plan: &'p Plan<'p, 'a>,
    entry: &'p Entry,
    /// Any source has the kind, the flags and the linear function of all of them.
    source: &'p Region<'a>,
}

impl<'p, 'a> Mapping<'p, 'a> {
    /// `None` for an entry without sources, which no plan has.
    pub(crate) fn new(plan: &'p Plan<'p, 'a>, entry: &'p Entry) -> Option<Self> {
        let source = sources(plan, entry).next()?;
        Some(Self {
            plan,
            entry,
            source,
        })
    }

    /// The guest addresses: whole 4 KiB pages.
    #[inline]
    #[must_use]
    pub const fn guest(&self) -> GuestPhysRange {
        self.entry.guest
    }

    /// The host address behind the first guest address, or `None` for alloc mappings.
    #[inline]
    #[must_use]
    pub fn host(&self) -> Option<HostPhysAddr> {
        self.source.host()?;
        Some(self.source.class().host_of(self.entry.guest.start()))
    }

    /// What stands behind the mapping. Never [`RegionKind::Emulated`].
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> RegionKind {
        self.source.kind()
    }

    /// What the guest may do, and how the memory behaves.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> MappingFlags {
        self.source.flags()
    }

    #[inline]
    pub(crate) const fn class(&self) -> Class {
        self.source.class()
    }

    /// Where the mapping lies, without what it is.
    #[inline]
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            guest: self.guest(),
            host: self.host(),
        }
    }

    /// The regions that the mapping was made of, by guest address and then by input order, each
    /// once. A region from a device tree that was cut is a source of each of its pieces.
    ///
    /// Listing the sources of all mappings takes time in proportion to their number, and a
    /// logarithm more for those that were cut.
    pub fn sources(&self) -> impl Iterator<Item = &'p Region<'a>> + Clone + use<'p, 'a> {
        sources(self.plan, self.entry)
    }

    /// The mapped bytes of a passthrough mapping that no source asked for: what else happens to
    /// lie in its pages. 0 for RAM.
    ///
    /// Linear in the number of sources.
    #[must_use]
    pub fn exposed_bytes(&self) -> u64 {
        if self.kind() != RegionKind::Passthrough {
            return 0;
        }
        let mapped = self.guest();
        let mut exposed = mapped.size();
        let mut uncounted = Some(mapped.start());
        for source in self.sources() {
            let asked = source
                .requested()
                .and_then(|bytes| bytes.intersection(&mapped));
            let (Some(asked), Some(from)) = (asked, uncounted) else {
                continue;
            };
            if let Ok(new) = GuestPhysRange::from_start_last(asked.start().max(from), asked.last())
            {
                exposed = exposed.saturating_sub(new.size());
                uncounted = new.end();
            }
        }
        exposed
    }
}

/// The regions that `entry` was made of.
///
/// The first of its own positions, where it has any, is a source. Between those of RAM there may be
/// device-tree regions that gave way; between those of passthrough, device-tree regions that only
/// begin behind the next cut.
fn sources<'p, 'a>(
    plan: &'p Plan<'p, 'a>,
    entry: &Entry,
) -> impl Iterator<Item = &'p Region<'a>> + Clone + use<'p, 'a> {
    let pages = Pages::around(entry.guest);
    let (first, end) = entry.own;
    let own = plan
        .regions
        .get(first as usize..end as usize)
        .unwrap_or(&[]);
    let kind = own.first().map_or(RegionKind::Passthrough, Region::kind);
    let inherited_before = match kind {
        RegionKind::Passthrough => first,
        _ => 0,
    };
    plan.crossing
        .ending_after(pages.start, inherited_before)
        .filter_map(|position| plan.regions.get(position as usize))
        .chain(own)
        .filter(move |region| {
            region.kind() == kind && region.pages().is_some_and(|source| source.overlaps(pages))
        })
}

/// `passthrough, guest 0x1000-0x1fff, host 0x9000, flags READ|WRITE`.
impl fmt::Display for Mapping<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, guest, flags) = (self.kind(), self.guest(), self.flags());
        write!(f, "{kind}, guest {guest}, ")?;
        if let Some(host) = self.host() {
            write!(f, "host {host}, ")?;
        }
        write!(f, "flags {flags}")
    }
}

impl fmt::Debug for Mapping<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({self})")
    }
}
