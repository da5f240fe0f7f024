//! The envelope as a picture: a square for each cell, coloured by the ratio to the best published peer.

use svg::Document;
use svg::node::element::{Group, Rectangle, Style, Text, Title};

use crate::envelope::cell::Cell;
use crate::envelope::outcome::CellOutcome;
use crate::envelope::summary::{self, PEERS};

const SQUARE: f64 = 15.0;
const LEFT: f64 = 250.0;
const HEAD: f64 = 190.0;
const GAP: f64 = 12.0;
const FOOT: f64 = 24.0;
/// The text and the background follow the reader's scheme; the squares are readable on both.
const SCHEME: &str =
    "svg { background: #ffffff } text { fill: #1b1b1b; font-family: sans-serif; font-size: 11px }
.title { font-size: 16px; font-weight: bold } .group { font-weight: bold }
@media (prefers-color-scheme: dark) { svg { background: #16181c } text { fill: #e6e6e6 } }";
/// Up to which ratio each colour goes: blue is faster than every peer, red is slower.
const COLOURS: [(f64, &str, &str); 8] = [
    (0.25, "#08519c", "up to 0.25"),
    (0.5, "#3182bd", "up to 0.5"),
    (0.8, "#6baed6", "up to 0.8"),
    (1.05, "#9ecae1", "up to 1.05"),
    (1.5, "#fdae6b", "up to 1.5"),
    (2.0, "#fb6a4a", "up to 2"),
    (3.0, "#de2d26", "up to 3"),
    (f64::INFINITY, "#8b0a1a", "above 3"),
];

/// A row or a column: its group and its label.
type Label = (String, String);

/// The picture: rows are operation, leaf, spread and state; columns are flags, call and position.
pub(crate) fn draw(outcomes: &[CellOutcome]) -> Document {
    let rows = distinct(outcomes, row);
    let columns = sorted(distinct(outcomes, column));
    let mut picture = Group::new().add(legend());
    for (number, (group, label)) in columns.iter().enumerate() {
        let at = x(&columns, number) + SQUARE - 4.0;
        let turn = format!("rotate(-90 {at} {})", HEAD - 6.0);
        picture = picture.add(text(label, at, HEAD - 6.0).set("transform", turn));
        if is_first(&columns, number) {
            let title = text(group, x(&columns, number), HEAD - 108.0);
            picture = picture.add(title.set("class", "group"));
        }
    }
    for (number, (group, label)) in rows.iter().enumerate() {
        let at = y(&rows, number) + SQUARE - 4.0;
        picture = picture.add(text(label, LEFT - 8.0, at).set("text-anchor", "end"));
        if is_first(&rows, number) {
            picture = picture.add(text(group, 12.0, at).set("class", "group"));
        }
    }
    for outcome in outcomes {
        let row = rows.iter().position(|label| *label == row(&outcome.cell));
        let column = columns
            .iter()
            .position(|label| *label == column(&outcome.cell));
        if let (Some(row), Some(column)) = (row, column) {
            picture = picture.add(square(outcome, x(&columns, column), y(&rows, row)));
        }
    }
    let width = x(&columns, columns.len()) + 12.0;
    let height = y(&rows, rows.len()) + FOOT;
    Document::new()
        .set("viewBox", (0, 0, width, height))
        .set("width", width)
        .set("height", height)
        .add(Style::new(SCHEME))
        .add(picture)
}

fn row(cell: &Cell) -> Label {
    let (leaf, spread, state) = (cell.leaf.name(), cell.spread.name(), cell.state.name());
    let label = format!("{leaf} {spread} {state}");
    (cell.operation.name().to_owned(), label)
}

fn column(cell: &Cell) -> Label {
    let label = format!("{} {}", cell.call, cell.position.name());
    (cell.flags.name().to_owned(), label)
}

fn distinct(outcomes: &[CellOutcome], label: fn(&Cell) -> Label) -> Vec<Label> {
    let mut labels = Vec::new();
    for outcome in outcomes {
        let label = label(&outcome.cell);
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

/// Columns by flags, then by the size of a call.
fn sorted(mut columns: Vec<Label>) -> Vec<Label> {
    columns.sort_by_cached_key(|(group, label)| {
        let call = label.trim_start_matches('x').split(' ').next();
        let leaves = call.and_then(|call| call.parse::<u32>().ok());
        let order = ["RW", "RWX", "alternating"];
        let group = order.iter().position(|name| name == group);
        (group, leaves.unwrap_or(u32::MAX), label.clone())
    });
    columns
}

fn is_first(labels: &[Label], number: usize) -> bool {
    let group = |number: usize| labels.get(number).map(|(group, _)| group);
    number == 0 || group(number) != group(number - 1)
}

/// How far the first `number` squares and the gaps between their groups reach.
fn reach(labels: &[Label], number: usize) -> f64 {
    let gaps = (1..=number.min(labels.len().saturating_sub(1)))
        .filter(|number| is_first(labels, *number))
        .count();
    number as f64 * SQUARE + gaps as f64 * GAP
}

fn x(columns: &[Label], number: usize) -> f64 {
    LEFT + reach(columns, number)
}

fn y(rows: &[Label], number: usize) -> f64 {
    HEAD + reach(rows, number)
}

fn square(outcome: &CellOutcome, x: f64, y: f64) -> Rectangle {
    let ratio = outcome.ratio_to(&PEERS);
    let colour = ratio.map_or("#888888", colour);
    rectangle(x, y, colour).add(Title::new(summary::line(outcome)))
}

fn colour(ratio: f64) -> &'static str {
    let found = COLOURS.iter().find(|(limit, _, _)| ratio <= *limit);
    found.map_or("#888888", |(_, colour, _)| colour)
}

fn rectangle(x: f64, y: f64, colour: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", SQUARE - 1.0)
        .set("height", SQUARE - 1.0)
        .set("fill", colour)
}

fn legend() -> Group {
    let title =
        "Time of the slowest of our three backends, as a multiple of the fastest published peer";
    let mut legend = Group::new().add(text(title, 12.0, 24.0).set("class", "title"));
    for (number, (_, colour, label)) in COLOURS.iter().enumerate() {
        let at = 12.0 + 88.0 * number as f64;
        legend = legend
            .add(rectangle(at, 38.0, colour))
            .add(text(*label, at + 20.0, 49.0));
    }
    legend
}

fn text(content: impl Into<String>, x: f64, y: f64) -> Text {
    Text::new(content.into()).set("x", x).set("y", y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_is_blue_up_to_five_percent_behind() {
        assert_eq!(colour(0.1), "#08519c");
        assert_eq!(colour(1.05), "#9ecae1");
        assert_eq!(colour(1.06), "#fdae6b");
        assert_eq!(colour(100.0), "#8b0a1a");
    }

    #[test]
    fn groups_are_apart() {
        let label = |group: &str| (group.to_owned(), String::new());
        let labels = [label("a"), label("a"), label("b")];
        assert!((reach(&labels, 1) - SQUARE).abs() < 1e-9);
        assert!((reach(&labels, 2) - 2.0 * SQUARE - GAP).abs() < 1e-9);
        assert!((reach(&labels, 3) - 3.0 * SQUARE - GAP).abs() < 1e-9);
    }
}
