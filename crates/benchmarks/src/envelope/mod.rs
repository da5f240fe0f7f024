//! The envelope: every operation, in every size, place and state that makes sense, beside every peer.
//!
//! A [`cell::Cell`] is a point in the dimensions, [`product::cells`] lists them, [`work::Work`] is what one consists of,
//! [`trial::CellTrial`] does it with any table, and [`field::measure`] has all contenders do it in turns.

mod bandwidth;
mod cell;
mod field;
mod heat_map;
mod outcome;
mod product;
mod summary;
mod trial;
mod work;

pub(crate) use cell::{Cell, Operation};
pub(crate) use trial::{ByRange, CellTrial};
pub(crate) use work::Work;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::envelope::outcome::CellOutcome;

/// How many rounds are timed, unless the options say otherwise.
const ROUNDS: u16 = 5;
const QUICK_ROUNDS: u16 = 3;
/// Of how many cells a quick run measures one.
const QUICK_STEP: usize = 7;

/// The options of `envelope`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only cells whose names have all of these parts: protect-less+2M+RWX; alternatives after commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many rounds are timed: 5, or 3 of a quick run
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// One cell of seven, and fewer rounds
    #[arg(long)]
    quick: bool,
    /// Name the cells, and measure none
    #[arg(long)]
    list: bool,
    /// Write every time to this file, as JSON
    #[arg(long)]
    output: Option<PathBuf>,
    /// Draw the ratios to the best peer into this SVG file
    #[arg(long)]
    heat_map: Option<PathBuf>,
}

/// The cell called `name`.
///
/// # Errors
///
/// When there is none.
pub(crate) fn cell(name: &str) -> Result<Cell> {
    let mut cells = product::cells().into_iter();
    let found = cells.find(|cell| cell.to_string() == name);
    found.with_context(|| format!("there is no cell {name}"))
}

/// Whether the cell called `name` has all parts of `filter`, which stand between plus signs. A part with a slash may
/// be any piece of the name.
fn is_meant(name: &str, filter: &str) -> bool {
    let has = |part: &str| match part.contains('/') {
        true => name.contains(part),
        false => name.split('/').any(|of_name| of_name == part),
    };
    filter.split('+').all(has)
}

/// Measures the cells that are meant, prints those where this project is not first, and writes the files.
///
/// # Errors
///
/// When no cell is meant, a table does something else than it should, or a file cannot be written.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cells = product::cells();
    if !options.only.is_empty() {
        let filters = &options.only;
        cells.retain(|cell| filters.iter().any(|part| is_meant(&cell.to_string(), part)));
    }
    if options.quick {
        cells = cells.into_iter().step_by(QUICK_STEP).collect();
    }
    ensure!(!cells.is_empty(), "no cell is called {:?}", options.only);
    if options.list {
        cells.iter().for_each(|cell| println!("{cell}"));
        return Ok(());
    }
    let rounds = if options.quick { QUICK_ROUNDS } else { ROUNDS };
    let outcomes = measure(&cells, options.rounds.unwrap_or(rounds))?;
    print!("{}", summary::text(&outcomes)?);
    if let Some(path) = &options.output {
        write(path, &outcomes).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &options.heat_map {
        let saved = svg::save(path, &heat_map::draw(&outcomes));
        saved.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn measure(cells: &[Cell], rounds: u16) -> Result<Vec<CellOutcome>> {
    let mut outcomes = Vec::with_capacity(cells.len());
    for (number, cell) in cells.iter().enumerate() {
        let outcome = field::measure(*cell, rounds.into()).with_context(|| cell.to_string())?;
        eprintln!(
            "{:>4}/{} {}",
            number + 1,
            cells.len(),
            summary::line(&outcome)
        );
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn write(path: &PathBuf, outcomes: &[CellOutcome]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, outcomes)?;
    file.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_parts_of_a_name() {
        let name = "protect-less/2M/x16/random/RWX/in-64G/full";
        assert!(is_meant(name, "protect-less"));
        assert!(is_meant(name, "2M+RWX"));
        assert!(is_meant(name, "2M/x16"));
        assert!(!is_meant(name, "RW"));
        assert!(!is_meant(name, "2M+RW"));
        assert!(cell(name).is_ok());
        assert!(cell("protect-less").is_err());
    }
}
