#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod arena;
mod catalogue;
mod contender;
mod count;
mod envelope;
mod floor;
mod frames;
mod instructions;
mod machine;
mod measurement;
mod planner;
mod remote;
mod report;
mod results;
mod selection;
mod stopwatch;
mod time;
mod trial;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser};

use crate::results::Results;

/// Measures page tables against each other and against the memory floor
#[derive(Debug, Parser)]
#[command(bin_name = "cargo run --release --package benchmarks --")]
enum Command {
    /// Time the workloads
    Time(time::Options),
    /// Time every cell of the envelope, and print those where this project is not first
    Envelope(envelope::Options),
    /// Count invalidations and memory, and print tables in Markdown
    Count,
    /// Run one contender once, for a tool that counts instructions
    Instructions(instructions::Options),
    /// Print results that were written to files, as a Markdown table or as JSON
    Report(ReportOptions),
}

#[derive(Debug, Args)]
struct ReportOptions {
    /// What `time --output` wrote
    #[arg(required = true)]
    results: Vec<PathBuf>,
    /// Print JSON: an array with one object for each contender, workload and profile
    #[arg(long)]
    json: bool,
    /// Draw the ratios to the floor into this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
}

#[global_allocator]
static ALLOCATOR: count::CountingAllocator = count::CountingAllocator;

fn main() -> Result<()> {
    match Command::parse() {
        Command::Time(options) => {
            set_up()?;
            time::run(&options)
        }
        Command::Envelope(options) => {
            set_up()?;
            envelope::run(&options)
        }
        Command::Count => {
            set_up()?;
            print!("{}", count::markdown()?);
            Ok(())
        }
        Command::Instructions(options) => {
            set_up()?;
            instructions::run(&options)
        }
        Command::Report(options) => report(&options),
    }
}

/// Makes the memory for tables.
fn set_up() -> Result<()> {
    arena::map()?;
    frames::fill();
    Ok(())
}

fn report(options: &ReportOptions) -> Result<()> {
    let results = Results::read(&options.results)?;
    if let Some(path) = &options.plot {
        let saved = svg::save(path, &report::plot(&results));
        saved.with_context(|| path.display().to_string())?;
    }
    match options.json {
        true => println!("{}", serde_json::to_string(&results.rows)?),
        false => {
            let mut text = String::new();
            report::markdown(&results, &mut text)?;
            print!("{text}");
        }
    }
    Ok(())
}
