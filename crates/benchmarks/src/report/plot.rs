//! Results as a picture: the ratio to the floor, a row for each workload, on a logarithmic axis.

use svg::Document;
use svg::node::element::{Circle, Group, Line, Rectangle, Text, Title};

use crate::catalogue::{ENTRIES, Entry};
use crate::report::distinct;
use crate::results::{Results, Row};

const WIDTH: f64 = 1040.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 24.0;
const HEAD: f64 = 150.0;
const ROW: f64 = 44.0;
const FOOT: f64 = 56.0;
/// The decades of the axis.
const DECADES: [i32; 2] = [-2, 3];
/// The first are ours; peers follow.
const COLOURS: [(&str, &str); 11] = [
    ("nested-page-table/ept", "#0b5fa5"),
    ("nested-page-table/stage2", "#1f9ac9"),
    ("nested-page-table/g-stage", "#5ec4d4"),
    ("region-planner", "#0f766e"),
    ("guest-vm", "#14532d"),
    ("host-services", "#65a30d"),
    ("page_table_multiarch", "#d1495b"),
    ("page-table-generic", "#e07b39"),
    ("aarch64-paging", "#8d5fa8"),
    ("aarch64-paging/active", "#c39bd3"),
    ("x86_64", "#7a6a58"),
];
const OTHER: &str = "#888888";
const INK: &str = "#222222";
const FAINT: &str = "#dddddd";

/// The picture. The first profile is drawn filled, the second as a ring.
pub(crate) fn plot(results: &Results) -> Document {
    let has_ratio = |entry: &&Entry| {
        let mut rows = results.rows.iter();
        rows.any(|row| row.workload == entry.name && row.ratio.is_some())
    };
    let entries: Vec<&Entry> = ENTRIES.iter().filter(has_ratio).collect();
    let bottom = HEAD + ROW * entries.len() as f64;
    let mut picture = Group::new().add(axis(bottom)).add(legend(results));
    for (number, entry) in entries.iter().enumerate() {
        let middle = HEAD + ROW * (number as f64 + 0.5);
        picture = picture.add(workload(results, entry, middle));
    }
    Document::new()
        .set("viewBox", (0, 0, WIDTH, bottom + FOOT))
        .set("width", WIDTH)
        .set("height", bottom + FOOT)
        .set("font-family", "DejaVu Sans, sans-serif")
        .set("font-size", 13)
        .add(rectangle(0.0, 0.0, WIDTH, bottom + FOOT, "#ffffff"))
        .add(picture)
}

/// Where `ratio` is on the axis; what does not fit is at its end.
fn x(ratio: f64) -> f64 {
    let [first, last] = DECADES.map(f64::from);
    let position = (ratio.log10() - first) / (last - first);
    LEFT + position.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn axis(bottom: f64) -> Group {
    let mut axis = Group::new();
    for decade in DECADES[0]..=DECADES[1] {
        let at = x(10_f64.powi(decade));
        let (ink, width) = if decade == 0 {
            (INK, 1.5)
        } else {
            (FAINT, 1.0)
        };
        axis = axis.add(line(at, HEAD - 6.0, at, bottom, ink).set("stroke-width", width));
        let label = match decade {
            0 => "1 (floor)".to_owned(),
            _ => 10_f64.powi(decade).to_string(),
        };
        axis = axis.add(text(label, at, bottom + 18.0).set("text-anchor", "middle"));
    }
    let title = "time as a multiple of the memory floor; a tick marks this project's goal";
    axis.add(text(title, x(1.0), bottom + 40.0).set("text-anchor", "middle"))
}

fn workload(results: &Results, entry: &Entry, middle: f64) -> Group {
    let band = line(LEFT, middle, WIDTH - RIGHT, middle, FAINT);
    let title = text(entry.title, 16.0, middle + 13.0)
        .set("font-size", 11)
        .set("fill", "#666666");
    let mut group = Group::new()
        .add(band)
        .add(text(entry.name, 16.0, middle - 2.0).set("font-weight", "bold"))
        .add(title);
    if let Some(goal) = entry.goal {
        let tick = line(x(goal), middle - 15.0, x(goal), middle + 15.0, "#2e8b57");
        group = group.add(tick.set("stroke-width", 3));
    }
    let rows = results.rows.iter().filter(|row| row.workload == entry.name);
    for row in rows.filter(|row| row.contender != "floor") {
        if let Some(ratio) = row.ratio {
            group = group.add(mark(results, row, ratio, middle));
        }
    }
    group
}

/// A contender in a row, above or below its middle by its profile.
fn mark(results: &Results, row: &Row, ratio: f64, middle: f64) -> Circle {
    let is_first = is_first_profile(results, &row.profile);
    let (y, fill) = match is_first {
        true => (middle - 7.0, colour(&row.contender)),
        false => (middle + 7.0, "#ffffff"),
    };
    let label = format!("{} ({}): {ratio:.3}", row.contender, row.profile);
    Circle::new()
        .set("cx", x(ratio))
        .set("cy", y)
        .set("r", 5)
        .set("fill", fill)
        .set("stroke", colour(&row.contender))
        .set("stroke-width", 2)
        .add(Title::new(label))
}

fn legend(results: &Results) -> Group {
    let mut group = Group::new().add(
        text("Page tables against the memory floor", 16.0, 30.0)
            .set("font-size", 18)
            .set("font-weight", "bold"),
    );
    let contenders = distinct(&results.rows, |row| &row.contender);
    let shown = contenders.into_iter().filter(|name| *name != "floor");
    for (number, contender) in shown.enumerate() {
        let column = 16.0 + 250.0 * (number % 4) as f64;
        let line = 56.0 + 22.0 * (number / 4) as f64;
        let dot = Circle::new()
            .set("cx", column + 6.0)
            .set("cy", line - 4.0)
            .set("r", 5)
            .set("fill", colour(contender));
        group = group.add(dot).add(text(contender, column + 18.0, line));
    }
    let profiles = distinct(&results.rows, |row| &row.profile);
    let profiles = match profiles.as_slice() {
        [filled, ring, ..] => format!("filled: profile {filled}; ring: profile {ring}"),
        [filled] => format!("profile {filled}"),
        [] => String::new(),
    };
    group.add(text(profiles, 16.0, 126.0).set("fill", "#666666"))
}

fn is_first_profile(results: &Results, profile: &str) -> bool {
    results
        .rows
        .first()
        .is_some_and(|row| row.profile == profile)
}

fn colour(contender: &str) -> &'static str {
    let found = COLOURS.iter().find(|(name, _)| *name == contender);
    found.map_or(OTHER, |(_, colour)| colour)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, ink: &str) -> Line {
    Line::new()
        .set("x1", x1)
        .set("y1", y1)
        .set("x2", x2)
        .set("y2", y2)
        .set("stroke", ink)
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", height)
        .set("fill", fill)
}

fn text(content: impl Into<String>, x: f64, y: f64) -> Text {
    Text::new(content.into())
        .set("x", x)
        .set("y", y)
        .set("fill", INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic_and_ends() {
        let decade = x(10.0) - x(1.0);
        assert!((x(1.0) - x(0.1) - decade).abs() < 1e-6);
        assert!((x(1e-9) - LEFT).abs() < 1e-6);
        assert!((x(1e9) - (WIDTH - RIGHT)).abs() < 1e-6);
    }
}
