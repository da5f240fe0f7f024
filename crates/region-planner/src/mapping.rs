//! One mapping of a plan.

use core::fmt;

use guest_addr::{GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;

use crate::builder::Entry;
use crate::leaves::Extent;
use crate::pages::Pages;
use crate::plan::Plan;
use crate::region::{Region, RegionKind};

/// One mapping of a plan: whole 4 KiB pages of one kind, with one set of flags, linear from guest to host.
#[derive(Clone, Copy)]
pub struct Mapping<'p, 'a> {
    plan: &'p Plan<'p, 'a>,
    entry: &'p Entry,
}

impl<'p, 'a> Mapping<'p, 'a> {
    pub(crate) const fn new(plan: &'p Plan<'p, 'a>, entry: &'p Entry) -> Self {
        Self { plan, entry }
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
        (self.entry.kind != RegionKind::Alloc).then_some(self.entry.host)
    }

    /// What stands behind the mapping. Never [`RegionKind::Emulated`].
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> RegionKind {
        self.entry.kind
    }

    /// What the guest may do, and how the memory behaves.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> MappingFlags {
        self.entry.flags
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
        let &Self { plan, entry } = self;
        let pages = Pages::around(entry.guest);
        let (first, end) = entry.own;
        let own = plan
            .regions
            .get(first as usize..end as usize)
            .unwrap_or(&[]);
        plan.crossing
            .ending_after(pages.start, first)
            .filter_map(|position| plan.regions.get(position as usize))
            .chain(own)
            .filter(move |region| {
                region.kind() == entry.kind
                    && region.pages().is_some_and(|source| source.overlaps(pages))
            })
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
