//! A plan as a picture: guest-physical memory on the left, host-physical memory on the right, the lowest
//! addresses at the top.
//!
//! Every region and every gap has a height that grows with the logarithm of its size, so that a page is
//! visible beside gigabytes. What has the same address in guest and host stands at the same height; what has
//! not is joined by a band.

use std::io::{self, Write};

use super::picture::{Sheet, Widths, blocks_of, draw, draw_legend, text::Escaped};
use crate::plan::Planned;

/// Above the first row: title, legend, headings.
const HEAD: u32 = 140;
const MARGIN: u32 = 20;
/// So many rows are in each address space. More regions are summed up.
const ROWS: usize = 400;
/// Neither scripts nor markup of HTML: the picture is also read by programs that know SVG only.
pub(super) const STYLE: &str = include_str!("picture/picture.css");
const PAPER: &str = ":root { background: #fff }\n.picture .paper { fill: #fff; stroke: none }\n\
                     @media screen and (prefers-color-scheme: dark) {\n  :root { background: #14181c }\n  \
                     .picture .paper { fill: #14181c }\n}\n";

/// Writes the picture.
pub(crate) fn write(planned: &Planned<'_, '_>, output: &mut impl Write) -> io::Result<()> {
    let blocks = blocks_of(planned);
    let widths = Widths::of(&blocks);
    let sheet = Sheet::new(&blocks, ROWS);
    let (width, height) = (widths.total, HEAD + sheet.height + MARGIN);
    let config = planned.config;
    let title = format!(
        "VM {} {:?}: memory of guest and host, {} {}",
        config.id,
        config.name,
        planned.mode.architecture(),
        planned.mode,
    );
    let title = Escaped(title);
    writeln!(
        output,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n<title>{title}</title>\n<style>\n{STYLE}{PAPER}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"heading\" x=\"{MARGIN}\" y=\"34\">{title}</text>"
    )?;
    draw_legend(&widths, 64, output)?;
    draw(&sheet, &widths, HEAD, output)?;
    writeln!(output, "</svg>")
}
