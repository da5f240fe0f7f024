//! How many page-table frames a set of mappings takes.

use guest_addr::PAGE_SIZE_4K;

use crate::leaves::Extent;
use crate::pages::{Block, Pages};

/// The 4 KiB frames of the page tables that map `extents` with the leaves of
/// [`Extent::leaf_counts`], the root included.
///
/// `extents` are sorted by guest address and disjoint; mappings that lie in the same table share it.
/// `shifts` says for each level, from the leaf tables up to the root, how many bytes one entry maps, as a
/// power of two: `[12, 21, 30]` for three levels. Every table but the root is one frame; the root
/// is `root_bytes` long, rounded up to frames, and is there even when nothing is mapped.
///
/// O(extents x levels), whatever their sizes. Addresses wider than the root can translate are counted
/// as if the root had entries for them.
#[must_use]
pub fn table_frames<I>(extents: I, shifts: &[u32], root_bytes: u64) -> u64
where
    I: IntoIterator<Item = Extent>,
    I::IntoIter: Clone,
{
    let extents = extents.into_iter();
    let root = root_bytes.div_ceil(PAGE_SIZE_4K);
    // The entry above a table maps what the table spans, so the spans are the shifts but the first.
    let spans = shifts.iter().skip(1);
    spans.fold(root, |frames, &span| {
        frames.saturating_add(tables_of_span(extents.clone(), span))
    })
}

/// The tables that span 2^`span` bytes each.
fn tables_of_span(extents: impl Iterator<Item = Extent>, span: u32) -> u64 {
    let mut counter = Counter::default();
    for extent in extents {
        let pages = Pages::around(extent.guest);
        let first = Block::of(pages.start, span);
        let last = Block::of(pages.end.saturating_sub(1), span);
        if span > extent.largest_leaf_shift() {
            counter.add(first.number, last.number);
            continue;
        }
        // Where the extent fills a table, the level above has a leaf: only its edges are tables.
        if !first.is_start {
            counter.add(first.number, first.number);
        }
        if !Block::of(pages.end, span).is_start {
            counter.add(last.number, last.number);
        }
    }
    counter.count
}

/// Counts numbers that come in ascending order, each once.
#[derive(Default)]
struct Counter {
    count: u64,
    /// The lowest number that was not counted yet.
    next: u64,
}

impl Counter {
    fn add(&mut self, first: u64, last: u64) {
        let from = first.max(self.next);
        let next = last.saturating_add(1);
        self.count = self.count.saturating_add(next.saturating_sub(from));
        self.next = next;
    }
}
