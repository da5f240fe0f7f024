#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod arena;
mod contender;
mod floor;
mod frames;
mod machine;
mod measurement;
mod planner;
mod selection;
mod trial;
mod workload;

use anyhow::Result;
use clap::Parser;

use crate::measurement::Measurement;
use crate::selection::{Outcome, Refusal, Selection};

/// Measures page tables against each other and against the memory floor
#[derive(Debug, Parser)]
#[command(bin_name = "cargo run --release --package benchmarks --")]
struct Options {
    /// Only these workloads, such as W1,W6
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Only contenders with one of these in their names, beside the floor
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// How many rounds are timed
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let selection = Selection {
        workloads: options.workloads,
        contenders: options.contenders,
        rounds: options.rounds.into(),
    };
    arena::map()?;
    frames::fill();
    println!("workload  contender                   ns/unit     ratio   of minima");
    selection.run(print)
}

fn print(outcome: &Outcome) {
    for measurement in &outcome.measurements {
        println!("{}", line(outcome, measurement));
    }
    for Refusal { contender, reason } in &outcome.refusals {
        println!("{:<9} {contender:<26} cannot: {reason}", outcome.workload);
    }
}

fn line(outcome: &Outcome, measurement: &Measurement) -> String {
    let ns = measurement.median().as_secs_f64() * 1e9 / outcome.units as f64;
    let (workload, contender) = (outcome.workload, measurement.contender);
    let line = format!("{workload:<9} {contender:<26} {ns:>8.3}");
    let Some(floor) = outcome.floor() else {
        return line;
    };
    let ratio = measurement.median().div_duration_f64(floor.median());
    let of_minima = measurement.minimum().div_duration_f64(floor.minimum());
    format!("{line} {ratio:>9.3} {of_minima:>11.3}")
}
