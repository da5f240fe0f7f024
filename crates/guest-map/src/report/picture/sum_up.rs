//! Neighbours become one row, where there are more than a picture can show.

use std::cmp::Reverse;
use std::ops::Range;

use super::space::{Column, Span};

/// One row of a column: a place, or a run of neighbours that is summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// From the first byte to the last, with the gaps between.
    pub(crate) span: Span,
    /// The places of the column.
    pub(crate) places: Range<usize>,
}

/// A place that is so many times larger than most is a row of its own.
const LARGE: u64 = 64;

/// The places of `column` in at most `limit` rows, which is at least 8. O(n log n + n limit).
///
/// A fourth of the rows is for places that are much larger than most. The others are cut into runs where the
/// gaps are widest, and where gaps are alike into equal parts.
pub(crate) fn sum_up(column: &Column, limit: usize) -> Vec<Row> {
    let places = &column.places;
    let runs = match places.len() <= limit {
        true => (0..places.len()).map(|place| place..place + 1).collect(),
        false => runs(
            &places.iter().map(|place| place.span).collect::<Vec<_>>(),
            limit,
        ),
    };
    runs.into_iter()
        .filter_map(|run| {
            let run_of = places.get(run.clone())?;
            let span = Span {
                start: run_of.first()?.span.start,
                last: run_of.last()?.span.last,
            };
            Some(Row { span, places: run })
        })
        .collect()
}

fn runs(spans: &[Span], limit: usize) -> Vec<Range<usize>> {
    let large = large_size(spans, limit / 4);
    let is_large = |span: &Span| span.bytes() >= large;
    let larges = spans.iter().filter(|span| is_large(span)).count();
    // Small places stand in front of each large one and behind the last.
    let reserved = 2 * larges + 1;
    let spare = limit.saturating_sub(reserved);
    let smalls = spans.len() - larges;
    let mut runs = Vec::with_capacity(limit);
    let mut next = 0;
    while next < spans.len() {
        let rest = spans.get(next..).unwrap_or_default();
        let length = rest.iter().take_while(|span| !is_large(span)).count();
        let parts = 1 + (length * spare).checked_div(smalls).unwrap_or_default();
        split(spans, next..next + length, parts, &mut runs);
        next += length;
        if next < spans.len() {
            runs.push(next..next + 1);
            next += 1;
        }
    }
    runs
}

/// The least size of at most `limit` large places.
fn large_size(spans: &[Span], limit: usize) -> u64 {
    let mut sizes: Vec<_> = spans.iter().map(|span| span.bytes()).collect();
    sizes.sort_unstable_by_key(|&size| Reverse(size));
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or_default();
    let one_too_many = sizes.get(limit).copied().unwrap_or_default();
    median
        .saturating_mul(LARGE)
        .max(one_too_many.saturating_add(1))
}

/// Cuts `run` into at most `parts` parts.
fn split(spans: &[Span], run: Range<usize>, parts: usize, runs: &mut Vec<Range<usize>>) {
    if run.is_empty() {
        return;
    }
    if parts >= run.len() {
        runs.extend(run.map(|place| place..place + 1));
        return;
    }
    if parts <= 1 {
        runs.push(run);
        return;
    }
    let middle = run.start + run.len() / 2;
    // Gaps that differ by less than a factor of two count as alike.
    let width = |&cut: &usize| {
        let before = cut.checked_sub(1).and_then(|before| spans.get(before));
        let gap = before.zip(spans.get(cut));
        let gap = gap.map_or(0, |(before, after)| after.start - before.last);
        (gap.checked_ilog2(), Reverse(cut.abs_diff(middle)))
    };
    let cut = (run.start + 1..run.end).max_by_key(width).unwrap_or(middle);
    let left = (parts * (cut - run.start) / run.len()).clamp(1, parts - 1);
    split(spans, run.start..cut, left, runs);
    split(spans, cut..run.end, parts - left, runs);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(spans: impl Iterator<Item = (u64, u64)>) -> Column {
        let span = |(start, bytes)| Span {
            start,
            last: start + (bytes - 1),
        };
        Column::of(spans.map(span).zip(0..))
    }

    fn assert_covers(column: &Column, rows: &[Row], limit: usize) {
        assert!(rows.len() <= limit, "{} rows", rows.len());
        let mut next = 0;
        for row in rows {
            assert_eq!(row.places.start, next);
            next = row.places.end;
        }
        assert_eq!(next, column.places.len());
    }

    #[test]
    fn few_places_stay_alone() {
        let few = column((0..300).map(|n| (n * 0x3000, 0x1000)));
        let rows = sum_up(&few, 300);
        assert_covers(&few, &rows, 300);
        assert_eq!(rows.len(), 300);
    }

    #[test]
    fn like_places_are_cut_into_like_parts() {
        let many = column((0..100_000).map(|n| (n * 0x3000, 0x1000)));
        let rows = sum_up(&many, 300);
        assert_covers(&many, &rows, 300);
        assert!(rows.len() > 200, "{} rows", rows.len());
        let longest = rows.iter().map(|row| row.places.len()).max();
        assert!(longest < Some(1600), "{longest:?} in one row");
    }

    #[test]
    fn what_is_large_stays_alone_and_wide_gaps_cut() {
        let devices = (0..1000).map(|n| (n * 0x2000, 0x1000));
        let far = (0..1000).map(|n| (0x40_0000_0000 + n * 0x2000, 0x1000));
        let all = devices.chain([(0x8000_0000, 0x4000_0000)]).chain(far);
        let all = column(all);
        let rows = sum_up(&all, 40);
        assert_covers(&all, &rows, 40);
        let memory = rows.iter().find(|row| row.span.start == 0x8000_0000);
        assert_eq!(memory.unwrap().span.last, 0xbfff_ffff);
        assert!(rows.iter().any(|row| row.span.start == 0x40_0000_0000));
    }

    #[test]
    fn the_ends_of_the_space_are_no_trouble() {
        let all = (0..1000).map(|n| (u64::MAX - n * 0x1000, 1));
        let all = column(all.chain([(0, 1)]));
        assert_covers(&all, &sum_up(&all, 8), 8);
        let whole = column([(0, u64::MAX), (u64::MAX, 1)].into_iter());
        assert_covers(&whole, &sum_up(&whole, 8), 8);
        assert_eq!(sum_up(&column([].into_iter()), 8), []);
    }

    #[test]
    fn what_overlaps_is_one_place() {
        let both = column([(0, 0x2000), (0x1000, 0x800), (0x2000, 0x1000)].into_iter());
        assert_eq!(both.places.len(), 2);
        assert_eq!(both.blocks(&(0..1)).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(both.blocks(&(0..2)).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
