//! The elements of the picture: guest memory on the left, host memory on the right.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::{self, Write};

use region_planner::RegionKind;

use super::layout::{Band, Placed, Sheet, gaps};
use super::space::{Block, Span};
use super::text::{Escaped, shorten, shorten_all};
use crate::report::size::size;
use crate::report::table;
use crate::report::words::count;

const MARGIN: u32 = 20;
/// The width of a character in thousandths of a pixel, a little more than fonts of 12 pixels have.
const CHARACTER: u32 = 7300;
const NAMES: u32 = 236;
const HOST_NAMES: u32 = 210;
const BAR: u32 = 178;
/// Between guest and host, where the bands are.
const MIDDLE: u32 = 130;
/// What `→ 0x` takes of it.
const ARROW: u32 = 4 * CHARACTER / 1000 + 2 * SPACE;
const SPACE: u32 = 8;
/// A band that leads further up or down is not drawn: the address where it leads is written instead. Many
/// long bands would be a blot.
const LONGEST_BAND: u32 = 700;
/// More bands than this are a blot too.
const MOST_BANDS: usize = 800;
/// So many names are in the text that appears over a row.
const MOST_NAMES: usize = 12;

/// Where the columns of a picture begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// The digits of all addresses.
    digits: usize,
    guest_bar: u32,
    host_bar: u32,
    host_names: u32,
    pub(crate) total: u32,
}

impl Widths {
    /// Columns that have room for the addresses of all blocks.
    pub(crate) fn of(blocks: &[Block<'_, '_>]) -> Self {
        let last = |block: &Block<'_, '_>| {
            let host = block.host.map_or(0, |host| host.last);
            block.guest.last.max(host)
        };
        let widest = blocks.iter().map(last).max().unwrap_or_default();
        let digits = (widest.checked_ilog2().unwrap_or_default() / 4 + 1).max(8);
        let range = (2 * (digits + 2) + 1) * CHARACTER / 1000 + SPACE;
        let guest_bar = MARGIN + NAMES + SPACE + range;
        let middle = MIDDLE.max(digits * CHARACTER / 1000 + ARROW);
        let host_bar = guest_bar + BAR + middle;
        let host_names = host_bar + BAR + range + SPACE;
        Self {
            digits: digits as usize,
            guest_bar,
            host_bar,
            host_names,
            total: host_names + HOST_NAMES + MARGIN,
        }
    }

    pub(crate) const fn digits(&self) -> usize {
        self.digits
    }

    fn range(&self, span: Span) -> String {
        let width = self.digits + 2;
        format!("{:#0width$x}-{:#0width$x}", span.start, span.last)
    }

    /// Where a block leads.
    fn arrow_to(&self, block: &Block<'_, '_>) -> String {
        let width = self.digits + 2;
        let start = block.host.map_or(0, |host| host.start);
        format!("→ {start:#0width$x}")
    }
}

/// One of the two columns.
#[derive(Clone, Copy)]
enum Side {
    Guest,
    Host,
}

/// Draws a sheet, with its top at `y`.
pub(crate) fn draw(
    sheet: &Sheet<'_, '_, '_>,
    widths: &Widths,
    y: u32,
    output: &mut impl Write,
) -> io::Result<()> {
    writeln!(output, "<g transform=\"translate(0 {y})\">")?;
    draw_bands(sheet, widths, output)?;
    for (side, column) in [(Side::Guest, &sheet.guest), (Side::Host, &sheet.host)] {
        draw_gaps(column, side, widths, output)?;
        for placed in column {
            draw_row(sheet, placed, side, widths, output)?;
        }
        draw_names(sheet, column, side, widths, output)?;
    }
    writeln!(output, "</g>")
}

fn draw_row(
    sheet: &Sheet<'_, '_, '_>,
    placed: &Placed,
    side: Side,
    widths: &Widths,
    output: &mut impl Write,
) -> io::Result<()> {
    let Placed { row, y, height } = placed;
    let summary = match side {
        Side::Guest => Summary::of(sheet.guest_blocks(row), |block| Some(block.guest)),
        Side::Host => Summary::of(sheet.host_blocks(row), |block| block.host),
    };
    let (bar, range, anchor) = match side {
        Side::Guest => (widths.guest_bar, widths.guest_bar - SPACE, "end"),
        Side::Host => (widths.host_bar, widths.host_bar + BAR + SPACE, "start"),
    };
    let addresses = widths.range(row.span);
    let (class, text) = (summary.class(), summary.text());
    let title = format!("{addresses}\n{}", summary.title);
    write!(
        output,
        "<g><title>{}</title><rect class=\"{class}\" x=\"{bar}\" y=\"{y}\" width=\"{BAR}\" height=\"{height}\"/>",
        Title(&title),
    )?;
    if let Some(leaf) = summary.leaf {
        write!(
            output,
            "<rect class=\"{leaf}\" x=\"{bar}\" y=\"{y}\" width=\"{BAR}\" height=\"{height}\"/>"
        )?;
    }
    let line = y + height / 2 + 4;
    writeln!(
        output,
        "<text x=\"{}\" y=\"{line}\" text-anchor=\"middle\">{text}</text>\
         <text x=\"{range}\" y=\"{line}\" text-anchor=\"{anchor}\">{addresses}</text></g>",
        bar + BAR / 2,
    )
}

/// Text of several lines: the ends of lines are kept.
struct Title<'t>(&'t str);

impl std::fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, line) in self.0.lines().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{}", Escaped(line))?;
        }
        Ok(())
    }
}

/// The names beside the rows. An element of its own clips what a font draws wider than expected.
fn draw_names(
    sheet: &Sheet<'_, '_, '_>,
    column: &[Placed],
    side: Side,
    widths: &Widths,
    output: &mut impl Write,
) -> io::Result<()> {
    let (x, width) = match side {
        Side::Guest => (MARGIN, NAMES),
        Side::Host => (widths.host_names, HOST_NAMES),
    };
    // Guest names end beside their addresses.
    let (at, anchor) = match side {
        Side::Guest => (width, "end"),
        Side::Host => (0, "start"),
    };
    let characters = (width * 1000 / CHARACTER) as usize;
    let height = sheet.height;
    writeln!(
        output,
        "<svg x=\"{x}\" y=\"0\" width=\"{width}\" height=\"{height}\">"
    )?;
    for placed in column {
        let row = &placed.row;
        let line = placed.y + placed.height / 2 + 4;
        let text = match side {
            Side::Guest => {
                let names = sheet.guest_blocks(row).flat_map(Block::names);
                shorten_all(names, characters)
            }
            Side::Host => match sheet.host_blocks(row).any(Block::is_moved) {
                true => shorten_all(sheet.host_blocks(row).flat_map(Block::names), characters),
                // The name stands on the left, at the same height.
                false => shorten("= guest", characters),
            },
        };
        writeln!(
            output,
            "<text x=\"{at}\" y=\"{line}\" text-anchor=\"{anchor}\">{}</text>",
            Escaped(text)
        )?;
    }
    writeln!(output, "</svg>")
}

fn draw_gaps(
    column: &[Placed],
    side: Side,
    widths: &Widths,
    output: &mut impl Write,
) -> io::Result<()> {
    let bar = match side {
        Side::Guest => widths.guest_bar,
        Side::Host => widths.host_bar,
    };
    let right = bar + BAR;
    for (bytes, range) in gaps(column) {
        let (top, bottom) = (range.start, range.end);
        write!(
            output,
            "<path class=\"gap\" d=\"M{bar} {top}V{bottom}M{right} {top}V{bottom}\"/>"
        )?;
        if let Some(bytes) = bytes {
            let (x, y) = (bar + BAR / 2, (top + bottom) / 2 + 4);
            let size = size(bytes);
            write!(
                output,
                "<text class=\"soft\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>"
            )?;
        }
        writeln!(output)?;
    }
    Ok(())
}

fn draw_bands(
    sheet: &Sheet<'_, '_, '_>,
    widths: &Widths,
    output: &mut impl Write,
) -> io::Result<()> {
    let ends = sheet.bands.iter().filter_map(|band| {
        let guest = sheet.guest.get(band.rows.0)?;
        Some((band, guest, sheet.host.get(band.rows.1)?))
    });
    let (mut near, far): (Vec<_>, Vec<_>) =
        ends.partition(|(_, guest, host)| guest.y.abs_diff(host.y) <= LONGEST_BAND);
    near.sort_by_key(|(band, ..)| Reverse(band.blocks));
    let (near, too_many) = near.split_at(near.len().min(MOST_BANDS));
    for (band, guest, host) in near {
        draw_band(band, guest, host, widths, output)?;
    }
    let mut far: Vec<_> = far.iter().chain(too_many).collect();
    far.sort_by_key(|(band, ..)| band.rows);
    for of_row in far.chunk_by(|(one, ..), (other, ..)| one.rows.0 == other.rows.0) {
        let Some((_, guest, _)) = of_row.first() else {
            continue;
        };
        let mut blocks = sheet.guest_blocks(&guest.row);
        let text = match (blocks.next(), blocks.next()) {
            (Some(single), None) => widths.arrow_to(single),
            _ => {
                let moved = of_row.iter().map(|(band, ..)| band.blocks).sum::<usize>();
                format!("→ {moved} elsewhere")
            }
        };
        let (x, y) = (
            widths.guest_bar + BAR + SPACE,
            guest.y + guest.height / 2 + 4,
        );
        writeln!(
            output,
            "<text class=\"soft\" x=\"{x}\" y=\"{y}\">{text}</text>"
        )?;
    }
    Ok(())
}

fn draw_band(
    band: &Band,
    guest: &Placed,
    host: &Placed,
    widths: &Widths,
    output: &mut impl Write,
) -> io::Result<()> {
    let (left, right) = (widths.guest_bar + BAR, widths.host_bar);
    let middle = (left + right) / 2;
    let (top, bottom, to, to_bottom) = (guest.y, guest.bottom(), host.y, host.bottom());
    writeln!(
        output,
        "<path class=\"band\" d=\"M{left} {top}C{middle} {top} {middle} {to} {right} {to}V{to_bottom}\
         C{middle} {to_bottom} {middle} {bottom} {left} {bottom}Z\"><title>{}, guest {} to host {}</title></path>",
        count(band.blocks as u64, "region"),
        widths.range(guest.row.span),
        widths.range(host.row.span),
    )
}

/// What the blocks of a row have in common.
struct Summary {
    blocks: usize,
    bytes: u64,
    /// `None` for several kinds.
    kind: Option<RegionKind>,
    /// The class of the shade for large leaves.
    leaf: Option<&'static str>,
    /// What a single block may do.
    flags: String,
    title: String,
}

impl Summary {
    fn of<'b, 'p: 'b, 'a: 'p>(
        blocks: impl Iterator<Item = &'b Block<'p, 'a>> + Clone,
        span_of: impl Fn(&Block<'p, 'a>) -> Option<Span>,
    ) -> Self {
        let first = blocks.clone().next();
        let number = blocks.clone().count();
        let kind = first.map(Block::kind);
        let is_alike = blocks.clone().all(|block| Some(block.kind()) == kind);
        let spans = blocks.clone().filter_map(span_of);
        let bytes = spans.fold(0_u64, |sum, span| sum.saturating_add(span.bytes()));
        let single = first.filter(|_| number == 1);
        let flags = single.and_then(Block::flags).map(table::flags);
        let mut title = match single {
            Some(block) => describe(block),
            None => format!("{}\n", count(number as u64, "region")),
        };
        let mut names = blocks.flat_map(Block::names);
        for name in names.by_ref().take(MOST_NAMES) {
            let _ = writeln!(title, "{}", name.replace('\n', "\u{fffd}"));
        }
        let more = names.count();
        if more > 0 {
            let _ = writeln!(title, "and {more} more");
        }
        Self {
            blocks: number,
            bytes,
            kind: kind.filter(|_| is_alike),
            leaf: single.and_then(leaf_class),
            flags: flags.unwrap_or_default(),
            title,
        }
    }

    fn class(&self) -> String {
        let kind = self.kind.map_or("mixed", RegionKind::name);
        match self.blocks {
            1 => kind.into(),
            _ => format!("{kind} many"),
        }
    }

    /// What stands in the bar.
    fn text(&self) -> String {
        let size = size(self.bytes);
        match self.blocks {
            1 if self.kind == Some(RegionKind::Emulated) => format!("{size} traps"),
            1 => format!("{size} {}", self.flags).trim_end().into(),
            more => format!("{more} regions, {size}"),
        }
    }
}

fn describe(block: &Block<'_, '_>) -> String {
    let kind = block.kind();
    match (kind, block.host) {
        (RegionKind::Emulated, _) => "emulated: never mapped\n".into(),
        (_, None) => format!("{kind}: the hypervisor chooses the frames\n"),
        (_, Some(_)) if !block.is_moved() => format!("{kind}: guest and host address are equal\n"),
        (_, Some(host)) => {
            let guest = block.guest;
            format!(
                "{kind}: guest {:#x} leads to host {:#x}\n",
                guest.start, host.start
            )
        }
    }
}

fn leaf_class(block: &Block<'_, '_>) -> Option<&'static str> {
    let leaves = block.leaves();
    match (leaves.size_1g, leaves.size_2m) {
        (0, 0) => None,
        (0, _) => Some("leaf"),
        _ => Some("leaf leaf1g"),
    }
}

const KINDS: [RegionKind; 5] = [
    RegionKind::Identical,
    RegionKind::Alloc,
    RegionKind::Reserved,
    RegionKind::Passthrough,
    RegionKind::Emulated,
];

/// What the colours mean, in lines from `y` on, and the headings of the columns below them.
pub(crate) fn draw_legend(widths: &Widths, y: u32, output: &mut impl Write) -> io::Result<()> {
    let kinds = KINDS.map(|kind| (kind.name(), kind.name()));
    let others = [
        ("mixed many", "several regions"),
        ("band", "guest and host differ"),
    ];
    let mut x = MARGIN;
    for (class, text) in kinds.into_iter().chain(others) {
        let (box_y, line, label) = (y - 12, y + 1, x + 22);
        writeln!(
            output,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{box_y}\" width=\"16\" height=\"16\"/>\
             <text x=\"{label}\" y=\"{line}\">{text}</text>"
        )?;
        x = label + (text.len() as u32 * CHARACTER) / 1000 + 24;
    }
    let line = y + 26;
    writeln!(
        output,
        "<text class=\"soft\" x=\"{MARGIN}\" y=\"{line}\">shaded: leaves of 2 MiB, then of 1 GiB; \
         gaps and sizes are not to scale</text>"
    )?;
    let line = y + 58;
    for (text, bar) in [
        ("guest-physical", widths.guest_bar),
        ("host-physical", widths.host_bar),
    ] {
        let x = bar + BAR / 2;
        writeln!(
            output,
            "<text class=\"heading\" x=\"{x}\" y=\"{line}\" text-anchor=\"middle\">{text}</text>"
        )?;
    }
    Ok(())
}
