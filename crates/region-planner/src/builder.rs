//! From sorted regions to maximal mappings.

use alloc::vec::Vec;

use guest_addr::GuestPhysRange;

use crate::class::Class;
use crate::pages::Pages;
use crate::region::RegionKind;

/// One mapping, with its sources as positions in the sorted slice. Kind, flags and host address are
/// those of any source, so they are not kept: this list is most of what a plan takes.
///
/// The regions that begin in the mapping are among the `own` positions. A piece behind a cut also
/// has device-tree regions from before them, which [`Crossing`](crate::crossing::Crossing) finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) guest: GuestPhysRange,
    pub(crate) own: (u32, u32),
}

/// Merged regions that the next one may still join.
#[derive(Clone, Copy, Debug)]
struct Run {
    pages: Pages,
    class: Class,
    own: (u32, u32),
}

impl Run {
    const fn new(pages: Pages, class: Class, index: u32) -> Self {
        let own = (index, index.saturating_add(1));
        Self { pages, class, own }
    }

    /// Takes in a region that overlaps or touches the run and is of its class; else says `false`.
    #[inline]
    fn absorb(&mut self, pages: Pages, class: Class, index: u32) -> bool {
        let joins = pages.start <= self.pages.end && class == self.class;
        if joins {
            self.pages.end = self.pages.end.max(pages.end);
            self.own.1 = index.saturating_add(1);
        }
        joins
    }
}

/// Sees the sorted regions one by one and writes down mappings by ascending address.
///
/// At most one run of RAM and one of passthrough are open. When both are, the RAM begins first:
/// a device-tree run is cut where RAM begins and goes on behind it.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pub(crate) entries: Vec<Entry>,
    /// The first region of a mapping that would be all 2^64 bytes.
    pub(crate) whole_space: Option<u32>,
    ram: Option<Run>,
    passthrough: Option<Run>,
}

impl Builder {
    /// Adds a region. `pages` are trimmed when a device tree is its origin.
    #[inline]
    pub(crate) fn add(&mut self, index: u32, pages: Pages, class: Class) {
        match class.kind {
            RegionKind::Passthrough => self.add_passthrough(index, pages, class),
            RegionKind::Emulated => self.cut(index, pages),
            RegionKind::Identical | RegionKind::Alloc | RegionKind::Reserved => {
                self.add_ram(index, pages, class);
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        self.close_passthrough();
        self.close_ram();
    }

    #[inline]
    fn add_ram(&mut self, index: u32, pages: Pages, class: Class) {
        if let Some(run) = &mut self.ram
            && run.absorb(pages, class, index)
        {
            return self.cut(index, pages);
        }
        self.close_ram();
        self.cut(index, pages);
        self.ram = Some(Run::new(pages, class, index));
    }

    #[inline]
    fn add_passthrough(&mut self, index: u32, pages: Pages, class: Class) {
        if let Some(run) = &mut self.passthrough
            && run.absorb(pages, class, index)
        {
            return;
        }
        self.close_passthrough();
        self.passthrough = Some(Run::new(pages, class, index));
    }

    /// Ends the passthrough run before `pages`, and begins it anew behind them if it goes on.
    #[inline]
    fn cut(&mut self, index: u32, pages: Pages) {
        let Some(run) = self.passthrough else {
            return;
        };
        if run.pages.end <= pages.end {
            return self.close_passthrough();
        }
        if run.pages.start < pages.start {
            self.close_ram();
            self.write(&run, pages.start);
        }
        let behind = Pages {
            start: run.pages.start.max(pages.end),
            end: run.pages.end,
        };
        let next = index.saturating_add(1);
        self.passthrough = Some(Run {
            pages: behind,
            own: (next, next),
            ..run
        });
    }

    #[inline]
    fn close_ram(&mut self) {
        if let Some(run) = self.ram.take() {
            self.write(&run, run.pages.end);
        }
    }

    #[inline]
    fn close_passthrough(&mut self) {
        if let Some(run) = self.passthrough.take() {
            self.close_ram();
            self.write(&run, run.pages.end);
        }
    }

    /// Writes the pages of `run` that lie before `end`, which are not none.
    #[inline]
    fn write(&mut self, run: &Run, end: u64) {
        let start = run.pages.start;
        let Ok(guest) = Pages { start, end }.bytes() else {
            self.whole_space = Some(run.own.0);
            return;
        };
        let own = run.own;
        self.entries.push(Entry { guest, own });
    }
}
