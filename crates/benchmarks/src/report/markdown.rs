//! Results as Markdown.

use std::fmt::{self, Write};

use crate::catalogue::{ENTRIES, Entry};
use crate::report::distinct;
use crate::results::{Results, Row};

/// The tables: for each profile the ratios to the floor, then the times; then what cannot be done.
///
/// # Errors
///
/// Those of `output`.
pub(crate) fn markdown(results: &Results, output: &mut impl Write) -> fmt::Result {
    let measured = |entry: &&Entry| results.rows.iter().any(|row| row.workload == entry.name);
    let entries: Vec<&Entry> = ENTRIES.iter().filter(measured).collect();
    for profile in distinct(&results.rows, |row| &row.profile) {
        let of_profile = |row: &&Row| row.profile == profile;
        let rows: Vec<Row> = results.rows.iter().filter(of_profile).cloned().collect();
        writeln!(output, "## Ratio to the floor, profile `{profile}`\n")?;
        table(&entries, &rows, output, |row| row.ratio)?;
        writeln!(output, "\n## Nanoseconds, profile `{profile}`\n")?;
        table(&entries, &rows, output, |row| Some(row.ns))?;
        writeln!(output)?;
    }
    legend(&entries, output)?;
    for refusal in &results.refusals {
        let (workload, contender) = (&refusal.workload, &refusal.contender);
        writeln!(
            output,
            "- {contender} cannot do {workload}: {}.",
            refusal.reason
        )?;
    }
    Ok(())
}

fn table(
    entries: &[&Entry],
    rows: &[Row],
    output: &mut impl Write,
    value: impl Fn(&Row) -> Option<f64>,
) -> fmt::Result {
    write!(output, "| |")?;
    for entry in entries {
        write!(output, " {} |", entry.name)?;
    }
    writeln!(output, "\n|---|{}", "--:|".repeat(entries.len()))?;
    for contender in distinct(rows, |row| &row.contender) {
        let cell = |entry: &&Entry| {
            let is_cell = |row: &&Row| row.contender == contender && row.workload == entry.name;
            rows.iter().find(is_cell).and_then(&value)
        };
        let cells: Vec<Option<f64>> = entries.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            write!(output, "| {contender} |")?;
            for cell in cells {
                write!(output, " {} |", number(cell))?;
            }
            writeln!(output)?;
        }
    }
    Ok(())
}

fn legend(entries: &[&Entry], output: &mut impl Write) -> fmt::Result {
    writeln!(output, "| | what | ns for each | goal for the ratio |")?;
    writeln!(output, "|---|---|---|--:|")?;
    for entry in entries {
        let Entry {
            name, title, unit, ..
        } = entry;
        writeln!(
            output,
            "| {name} | {title} | {unit} | {} |",
            number(entry.goal)
        )?;
    }
    writeln!(output)
}

/// Three digits that count; nothing where there is no number.
fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 0.1 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Refused;

    fn row(workload: &str, contender: &str, ns: f64, ratio: Option<f64>) -> Row {
        Row {
            workload: workload.to_owned(),
            contender: contender.to_owned(),
            profile: "lto".to_owned(),
            ns,
            ratio,
        }
    }

    #[test]
    fn a_table_has_a_row_for_each_contender_and_a_column_for_each_workload() {
        let results = Results {
            rows: vec![
                row("W3", "floor", 0.25, Some(1.0)),
                row("W3", "peer", 2.5, Some(10.0)),
                row("W9", "guest-vm", 1234.0, None),
            ],
            refusals: vec![Refused {
                workload: "W8".to_owned(),
                contender: "peer".to_owned(),
                reason: "no huge leaf is split".to_owned(),
            }],
        };
        let mut text = String::new();
        markdown(&results, &mut text).unwrap();
        assert!(
            text.contains(
                "| | W3 | W9 |\n|---|--:|--:|\n| floor | 1.00 |  |\n| peer | 10.0 |  |\n\n"
            )
        );
        assert!(text.contains("| guest-vm |  | 1234 |"));
        assert!(text.contains("| W3 | unmap all of W1 | page | 0.080 |"));
        assert!(text.contains("- peer cannot do W8: no huge leaf is split.\n"));
    }
}
