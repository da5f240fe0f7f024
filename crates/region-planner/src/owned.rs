//! The pages that device-tree regions give way to.

use alloc::vec::Vec;

use crate::pages::Pages;
use crate::region::{Origin, Region};

/// The pages of RAM and emulated regions, as sorted, disjoint ranges that do not even touch.
#[derive(Debug, Default)]
pub(crate) struct OwnedPages {
    ranges: Vec<Pages>,
}

impl OwnedPages {
    /// Linear in `regions`, which must be sorted by guest address.
    pub(crate) fn of(regions: &[Region<'_>]) -> Self {
        let mut ranges: Vec<Pages> = Vec::new();
        for pages in regions
            .iter()
            .filter(|region| region.owns_pages())
            .filter_map(Region::pages)
        {
            match ranges.last_mut() {
                Some(last) if pages.start <= last.end => last.end = last.end.max(pages.end),
                _ => ranges.push(pages),
            }
        }
        Self { ranges }
    }

    /// The pages of `region` that conflicts and mappings look at, or `None` when it has none.
    #[inline]
    pub(crate) fn visible(&self, region: &Region<'_>) -> Option<Pages> {
        let pages = region.pages()?;
        match region.origin() {
            Origin::Explicit => Some(pages),
            Origin::DeviceTree => self.trim(pages),
        }
    }

    /// `pages` from its first to its last page that is not owned; pages in between may be.
    ///
    /// `None` when all are. Logarithmic in the number of ranges.
    pub(crate) fn trim(&self, pages: Pages) -> Option<Pages> {
        let start = self
            .owner(pages.start)
            .map_or(pages.start, |owner| owner.end);
        let last = pages.end.checked_sub(1)?;
        let end = self.owner(last).map_or(pages.end, |owner| owner.start);
        (start < end).then_some(Pages { start, end })
    }

    fn owner(&self, page: u64) -> Option<Pages> {
        let after = self.ranges.partition_point(|range| range.end <= page);
        self.ranges
            .get(after)
            .copied()
            .filter(|range| range.start <= page)
    }
}
