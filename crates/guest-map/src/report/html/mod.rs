//! A plan as a page that people keep open: both address spaces, with zoom, search, and what `explain` says of
//! each region. The page is one file and asks for nothing from outside.
//!
//! What is drawn is SVG, and of it only what is in sight: text stays sharp, each row has a name for screen
//! readers and takes the style of the reader's system, and a hundred thousand regions cost no more than those on the
//! screen. Regions that are too thin to read are summed up until the reader zooms in. The regions come
//! as arrays of numbers ([`mod@data`]).
//!
//! In print, and without scripts, the page has the same picture in sheets.

mod data;
mod overview;

use std::io::{self, Write};

use super::picture::text::Escaped;
use super::picture::{Block, Sheet, Widths, blocks_of, draw, draw_legend, rows_of};
use crate::cli::Options;
use crate::plan::Planned;
use crate::problem::Failure;
use crate::session::Machine;
use crate::warning::Warning;

const STYLE: &str = concat!(
    include_str!("../picture/picture.css"),
    include_str!("page.css")
);
/// One function, so that its names are its own: `top` and others belong to the window.
const SCRIPT: &str = concat!(
    "(() => {\n",
    include_str!("model.js"),
    include_str!("view.js"),
    include_str!("details.js"),
    include_str!("search.js"),
    include_str!("main.js"),
    "})();\n",
);
/// The browser runs the script and takes the style with these hashes, and nothing else: neither what a name
/// might smuggle in, nor anything from a network. A test says what they are.
const STYLE_HASH: &str = "sha256-6U94/NYZL/bov1SArLaEUpS0eFt37A4MAUn2FoVijd0=";
const SCRIPT_HASH: &str = "sha256-glqb3Ewgd9e7TgUAH+ghSE8l4VVOm76FLFd5Z3+U+qo=";

/// So many rows are in the sheets. More regions are summed up.
const ROWS: usize = 400;
/// A sheet is so many pixels high, which fits on a page in print.
const SHEET: u32 = 640;
/// Above the first row of the first sheet.
const HEAD: u32 = 100;
const MARGIN: u32 = 12;

/// Writes the page.
///
/// # Errors
///
/// When `output` cannot be written.
pub(crate) fn write(
    machine: &Machine<'_>,
    options: &Options,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let planned = &machine.planned;
    let blocks = blocks_of(planned);
    let warnings: Vec<_> = planned
        .warnings()
        .filter(|warning| !options.allows(warning))
        .collect();
    write_head(planned, output)?;
    write_body(planned, &warnings, output)?;
    write_sheets(&blocks, output)?;
    write!(output, "<script type=\"application/json\" id=\"data\">")?;
    data::write(machine, &blocks, &warnings, output)?;
    writeln!(
        output,
        "</script>\n<script>{SCRIPT}</script>\n</body>\n</html>"
    )?;
    Ok(())
}

fn write_head(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let (id, name) = (planned.config.id, Escaped(&planned.config.name));
    writeln!(
        output,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{STYLE_HASH}'; \
         script-src '{SCRIPT_HASH}'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>VM {id} {name}: memory map</title>\n<style>{STYLE}</style>\n</head>"
    )
}

fn write_body(
    planned: &Planned<'_, '_>,
    warnings: &[Warning],
    output: &mut impl Write,
) -> io::Result<()> {
    let (id, name) = (planned.config.id, Escaped(&planned.config.name));
    let (architecture, mode) = (planned.mode.architecture(), planned.mode);
    writeln!(
        output,
        "<body>\n<header>\n<h1>VM {id} <bdi>{name}</bdi>: memory of guest and host, {architecture} {mode}</h1>\n{}",
        include_str!("tools.html"),
    )?;
    writeln!(
        output,
        "</header>\n<main>\n{}<div id=\"aside\">\n<section id=\"details\" aria-label=\"Details\" hidden></section>",
        include_str!("view.html"),
    )?;
    overview::write(planned, warnings, output)?;
    writeln!(output, "</div>\n</main>")
}

/// The picture for print and for readers without scripts, cut where a page ends.
fn write_sheets(blocks: &[Block<'_, '_>], output: &mut impl Write) -> io::Result<()> {
    let widths = Widths::of(blocks);
    writeln!(output, "<div id=\"sheets\">")?;
    let mut is_first = true;
    for (rows, range) in rows_of(blocks, ROWS, SHEET) {
        let sheet = Sheet::new(blocks.get(range).unwrap_or_default(), rows);
        let head = if is_first { HEAD } else { 0 };
        let (width, height) = (widths.total, head + sheet.height + MARGIN);
        writeln!(
            output,
            "<svg class=\"picture\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">"
        )?;
        if is_first {
            draw_legend(&widths, 20, output)?;
        }
        draw(&sheet, &widths, head, output)?;
        writeln!(output, "</svg>")?;
        is_first = false;
    }
    writeln!(output, "</div>")
}
