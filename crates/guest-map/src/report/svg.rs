//! A plan as a picture: guest-physical memory from the lowest address at the top to the highest at
//! the bottom.
//!
//! Every region and every gap has a height that grows with the logarithm of its size, so that a
//! page is visible beside gigabytes, and no label meets another.

use std::io::{self, Write};

use region_planner::{Region, RegionKind};
use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Text, Title};

use super::size::size;
use super::table;
use crate::plan::{Planned, unique_sources};
use crate::printable::printable;

const WIDTH: u32 = 960;
const MARGIN: u32 = 24;
/// Where the bar of memory begins and how wide it is.
const BAR: u32 = 210;
const BAR_WIDTH: u32 = 120;
/// Where the sources of a region are written.
const LABELS: u32 = BAR + BAR_WIDTH + 20;
/// How many characters of sources fit beside the bar.
const LABEL_CHARACTERS: usize = 84;
const HEAD: u32 = 92;
const GAP_HEIGHT: u32 = 22;

/// What stands at some guest addresses.
struct Block {
    start: u64,
    last: u64,
    kind: RegionKind,
    /// Where it leads and what the guest may do.
    detail: String,
    sources: String,
}

/// Writes the picture.
pub(crate) fn write(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let blocks = blocks(planned);
    let mut picture = Group::new();
    let mut y = HEAD;
    let mut next = Some(0);
    for block in &blocks {
        if next.is_some_and(|next| next < block.start) {
            let gap = block.start - next.unwrap_or_default();
            picture = picture.add(draw_gap(gap, y));
            y += GAP_HEIGHT;
        }
        picture = picture.add(draw_block(block, y));
        y += height(block);
        next = block.last.checked_add(1);
    }
    let document = Document::new()
        .set("viewBox", (0, 0, WIDTH, y + MARGIN))
        .set("width", WIDTH)
        .set("height", y + MARGIN)
        .set("font-family", "DejaVu Sans Mono, monospace")
        .set("font-size", 12)
        .add(
            Rectangle::new()
                .set("width", "100%")
                .set("height", "100%")
                .set("fill", "white"),
        )
        .add(draw_head(planned))
        .add(picture);
    writeln!(output, "{document}")
}

/// Mappings and emulated devices by guest address.
fn blocks(planned: &Planned<'_, '_>) -> Vec<Block> {
    let mappings = planned.plan.mappings().map(|mapping| {
        let guest = mapping.guest();
        let host = match mapping.host() {
            None => "allocated".into(),
            Some(host) if host.as_u64() == guest.start().as_u64() => "same host address".into(),
            Some(host) => format!("host address {host}"),
        };
        let sources: Vec<_> = unique_sources(&mapping).collect();
        Block {
            start: guest.start().as_u64(),
            last: guest.last().as_u64(),
            kind: mapping.kind(),
            detail: format!("{}, {host}", table::flags(mapping.flags()).trim_end()),
            sources: sources.join(", "),
        }
    });
    let emulated = |region: &Region<'_>| {
        let bytes = region.requested()?;
        Some(Block {
            start: bytes.start().as_u64(),
            last: bytes.last().as_u64(),
            kind: RegionKind::Emulated,
            detail: "never mapped".into(),
            sources: region.name().into(),
        })
    };
    let mut blocks: Vec<_> = mappings
        .chain(planned.emulated().filter_map(emulated))
        .collect();
    blocks.sort_by_key(|block| block.start);
    blocks
}

fn draw_head(planned: &Planned<'_, '_>) -> Group {
    let config = planned.config;
    let title = format!(
        "VM {} {:?}: guest-physical memory, {} {}",
        config.id,
        config.name,
        planned.mode.architecture(),
        planned.mode,
    );
    let kinds = [
        RegionKind::Identical,
        RegionKind::Alloc,
        RegionKind::Reserved,
        RegionKind::Passthrough,
        RegionKind::Emulated,
    ];
    let mut head = Group::new().add(
        text(&title, MARGIN, 34)
            .set("font-size", 17)
            .set("font-weight", "bold"),
    );
    for (kind, x) in kinds.into_iter().zip((MARGIN..).step_by(150)) {
        head = head
            .add(box_of(kind, x, 50).set("width", 16).set("height", 16))
            .add(text(kind.name(), x + 24, 63));
    }
    head
}

fn draw_block(block: &Block, y: u32) -> Group {
    let height = height(block);
    let middle = y + height / 2 + 4;
    let label = shorten(&block.sources);
    let bytes = (block.last - block.start).saturating_add(1);
    Group::new()
        .add(Title::new(printable(&format!(
            "{}: {}",
            block.kind, block.sources
        ))))
        .add(
            box_of(block.kind, BAR, y)
                .set("width", BAR_WIDTH)
                .set("height", height),
        )
        .add(text(&size(bytes), BAR + BAR_WIDTH / 2, middle).set("text-anchor", "middle"))
        .add(address(block.start, y + 12))
        .add(address(block.last, y + height - 4))
        .add(text(&block.detail, LABELS, y + 13).set("fill", "#555555"))
        .add(text(&label, LABELS, y + 28))
}

const TWO_LINES: u32 = 34;

/// Two lines for a page, and 2 pixels more whenever the size doubles.
fn height(block: &Block) -> u32 {
    let pages = ((block.last - block.start) >> 12) + 1;
    TWO_LINES + 2 * pages.ilog2()
}

fn draw_gap(bytes: u64, y: u32) -> Group {
    let middle = y + GAP_HEIGHT / 2;
    let side = |x: u32| {
        Line::new()
            .set("x1", x)
            .set("x2", x)
            .set("y1", y)
            .set("y2", y + GAP_HEIGHT)
            .set("stroke", "#999999")
            .set("stroke-dasharray", "2 3")
    };
    Group::new().add(side(BAR)).add(side(BAR + BAR_WIDTH)).add(
        text(&size(bytes), BAR + BAR_WIDTH / 2, middle + 4)
            .set("text-anchor", "middle")
            .set("fill", "#999999"),
    )
}

fn address(address: u64, y: u32) -> Text {
    text(&format!("{address:#010x}"), BAR - 8, y).set("text-anchor", "end")
}

fn text(content: &str, x: u32, y: u32) -> Text {
    Text::new(printable(content)).set("x", x).set("y", y)
}

fn box_of(kind: RegionKind, x: u32, y: u32) -> Rectangle {
    let fill = match kind {
        RegionKind::Identical => "#9ecae1",
        RegionKind::Alloc => "#a1d99b",
        RegionKind::Reserved => "#dadaeb",
        RegionKind::Passthrough => "#fdd0a2",
        RegionKind::Emulated => "#f0f0f0",
    };
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("fill", fill)
        .set("stroke", "#333333")
}

/// What fits beside the bar.
fn shorten(sources: &str) -> String {
    if sources.chars().count() <= LABEL_CHARACTERS {
        return sources.into();
    }
    let kept: String = sources.chars().take(LABEL_CHARACTERS - 4).collect();
    format!("{} ...", kept.trim_end_matches([',', ' ']))
}
