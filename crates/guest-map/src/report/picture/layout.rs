//! Where each row stands.

use std::collections::BTreeMap;
use std::ops::Range;

use super::space::{Block, Column, Span};
use super::sum_up::{Row, sum_up};

/// A row with one line of text.
const ROW: u32 = 19;
/// A gap that is only a break.
const BREAK: u32 = 5;
/// A gap with its size.
const GAP: u32 = 18;
/// The size from which a gap is named.
const WIDE_GAP: u64 = 16 << 20;

/// A row of a column, at its height.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) row: Row,
    pub(crate) y: u32,
    pub(crate) height: u32,
}

impl Placed {
    pub(crate) const fn bottom(&self) -> u32 {
        self.y + self.height
    }
}

/// A row of guest memory that leads to a row of host memory with other addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// Positions in [`Sheet::guest`] and [`Sheet::host`].
    pub(crate) rows: (usize, usize),
    /// How many blocks lead there.
    pub(crate) blocks: usize,
}

/// Some blocks in both address spaces.
#[derive(Debug)]
pub(crate) struct Sheet<'b, 'p, 'a> {
    pub(crate) blocks: &'b [Block<'p, 'a>],
    pub(crate) guest_column: Column,
    pub(crate) host_column: Column,
    pub(crate) guest: Vec<Placed>,
    pub(crate) host: Vec<Placed>,
    pub(crate) bands: Vec<Band>,
    pub(crate) height: u32,
}

impl<'b, 'p, 'a> Sheet<'b, 'p, 'a> {
    /// A sheet of `blocks`, with at most `limit` rows in each address space.
    pub(crate) fn new(blocks: &'b [Block<'p, 'a>], limit: usize) -> Self {
        let guest_column = Column::of(blocks.iter().map(|block| block.guest).zip(0..));
        let hosts = blocks.iter().zip(0..);
        let hosts = hosts.filter_map(|(block, index)| Some((block.host?, index)));
        let host_column = Column::of(hosts);
        let guest_rows = sum_up(&guest_column, limit);
        let host_rows = sum_up(&host_column, limit);
        let (guest, host, height) = lay_out(guest_rows, host_rows);
        let mut sheet = Self {
            blocks,
            guest_column,
            host_column,
            guest,
            host,
            bands: Vec::new(),
            height,
        };
        sheet.bands = sheet.find_bands();
        sheet
    }

    /// The blocks of a row of guest memory.
    pub(crate) fn guest_blocks(
        &self,
        row: &Row,
    ) -> impl Iterator<Item = &'b Block<'p, 'a>> + Clone {
        let blocks = self.blocks;
        let positions = self.guest_column.blocks(&row.places);
        positions.filter_map(|position| blocks.get(position))
    }

    /// The blocks of a row of host memory.
    pub(crate) fn host_blocks(&self, row: &Row) -> impl Iterator<Item = &'b Block<'p, 'a>> + Clone {
        let blocks = self.blocks;
        let positions = self.host_column.blocks(&row.places);
        positions.filter_map(|position| blocks.get(position))
    }

    fn find_bands(&self) -> Vec<Band> {
        let mut host_row_of = vec![None; self.blocks.len()];
        for (index, placed) in self.host.iter().enumerate() {
            for block in self.host_column.blocks(&placed.row.places) {
                if let Some(row) = host_row_of.get_mut(block) {
                    *row = Some(index);
                }
            }
        }
        let mut bands = BTreeMap::new();
        for (index, placed) in self.guest.iter().enumerate() {
            for block in self.guest_column.blocks(&placed.row.places) {
                let host = host_row_of.get(block).copied().flatten();
                let is_moved = self.blocks.get(block).is_some_and(Block::is_moved);
                if let Some(host) = host.filter(|_| is_moved) {
                    *bands.entry((index, host)).or_insert(0) += 1;
                }
            }
        }
        let band = |(rows, blocks)| Band { rows, blocks };
        bands.into_iter().map(band).collect()
    }
}

/// Cuts blocks that follow each other into sheets of about `height`: the number of rows in each, and its
/// blocks. There are at most `limit` rows in all.
pub(crate) fn rows_of(
    blocks: &[Block<'_, '_>],
    limit: usize,
    height: u32,
) -> Vec<(usize, Range<usize>)> {
    let column = Column::of(blocks.iter().map(|block| block.guest).zip(0..));
    let mut sheets: Vec<(usize, Range<usize>)> = Vec::new();
    let mut left = 0;
    let mut before = 0;
    for row in sum_up(&column, limit) {
        let of_row = column.blocks(&row.places).count();
        let needed = height_of(row.span) + gap_height(row.span.start - before);
        before = row.span.last;
        match sheets.last_mut() {
            Some((rows, blocks)) if needed <= left => {
                *rows += 1;
                blocks.end += of_row;
                left -= needed;
            }
            last => {
                let start = last.map_or(0, |(_, blocks)| blocks.end);
                sheets.push((1, start..start + of_row));
                left = height.saturating_sub(needed);
            }
        }
    }
    sheets
}

/// One line, and 2 pixels more whenever the size doubles from 64 KiB on.
fn height_of(span: Span) -> u32 {
    let pages = (span.last - span.start) >> 12;
    ROW + 2 * pages.checked_ilog2().unwrap_or_default().saturating_sub(3)
}

/// Stacks the rows of both columns. Rows with the same addresses stand at the same height.
fn lay_out(guest: Vec<Row>, host: Vec<Row>) -> (Vec<Placed>, Vec<Placed>, u32) {
    let anchors = anchors(&guest, &host);
    let (mut left, mut right) = (Stack::new(guest), Stack::new(host));
    for (on_left, on_right) in anchors {
        left.place(on_left);
        right.place(on_right);
        let y = left.next_y().max(right.next_y());
        left.place_at(y);
        right.place_at(y);
    }
    left.place(usize::MAX);
    right.place(usize::MAX);
    let height = left.y.max(right.y);
    (left.placed, right.placed, height)
}

/// The positions of rows with the same addresses.
fn anchors(guest: &[Row], host: &[Row]) -> Vec<(usize, usize)> {
    let mut others = host.iter().enumerate().peekable();
    let mut anchors = Vec::new();
    for (index, row) in guest.iter().enumerate() {
        while others
            .next_if(|(_, other)| other.span.start < row.span.start)
            .is_some()
        {}
        if let Some((other, _)) = others.next_if(|(_, other)| other.span == row.span) {
            anchors.push((index, other));
        }
    }
    anchors
}

/// Rows of one column, from the top.
struct Stack {
    rows: std::vec::IntoIter<Row>,
    placed: Vec<Placed>,
    y: u32,
}

impl Stack {
    fn new(rows: Vec<Row>) -> Self {
        Self {
            placed: Vec::with_capacity(rows.len()),
            rows: rows.into_iter(),
            y: 0,
        }
    }

    /// Places rows until there are `end`, or all.
    fn place(&mut self, end: usize) {
        while self.placed.len() < end && self.rows.len() > 0 {
            self.place_at(self.next_y());
        }
    }

    /// Where the next row can stand.
    fn next_y(&self) -> u32 {
        let Some(next) = self.rows.as_slice().first() else {
            return self.y;
        };
        self.y + gap_height(self.gap_before(next))
    }

    fn gap_before(&self, row: &Row) -> u64 {
        match self.placed.last() {
            // Not even the first address is free.
            None => row.span.start,
            Some(before) => row.span.start - before.row.span.last - 1,
        }
    }

    fn place_at(&mut self, y: u32) {
        if let Some(row) = self.rows.next() {
            let height = height_of(row.span);
            self.y = y + height;
            self.placed.push(Placed { row, y, height });
        }
    }
}

fn gap_height(bytes: u64) -> u32 {
    match bytes {
        0 => 0,
        1..WIDE_GAP => BREAK,
        _ => GAP,
    }
}

/// The gaps of a column: their size, if that is to be written, and where they begin and end.
pub(crate) fn gaps(column: &[Placed]) -> impl Iterator<Item = (Option<u64>, Range<u32>)> {
    let mut before: Option<&Placed> = None;
    column.iter().filter_map(move |placed| {
        let y = before.map_or(0, Placed::bottom);
        let free = before.map_or(Some(0), |before| before.row.span.last.checked_add(1));
        before = Some(placed);
        let bytes = placed.row.span.start - free?;
        let size = (bytes >= WIDE_GAP).then_some(bytes);
        (bytes > 0).then_some((size, y..placed.y))
    })
}
