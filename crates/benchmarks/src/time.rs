//! The command that times the workloads.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::catalogue::{ENTRIES, Entry};
use crate::measurement::Measurement;
use crate::results::Results;
use crate::selection::{Outcome, Refusal, Selection};

/// The options of `time`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these workloads, such as W1,W6
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// Only contenders with one of these in their names, beside the floor
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// How many rounds are timed
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How this program was built, for the results
    #[arg(long, default_value = "plain")]
    profile: String,
    /// Write the results to this file too
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Times what is selected, and prints each result on standard error as soon as it is known.
///
/// # Errors
///
/// When there is no such workload, a contender fails or does something else than it should, or the file cannot be written.
pub(crate) fn run(options: &Options) -> Result<()> {
    for name in &options.workloads {
        let is_name = |entry: &Entry| entry.name.eq_ignore_ascii_case(name);
        let names = ENTRIES.map(|entry| entry.name).join(", ");
        ensure!(ENTRIES.iter().any(is_name), "{name} is none of {names}");
    }
    let selection = Selection {
        workloads: options.workloads.clone(),
        contenders: options.contenders.clone(),
        rounds: options.rounds.into(),
    };
    let mut results = Results::default();
    eprintln!("workload  contender                   ns/unit     ratio   of minima");
    selection.run(|outcome| {
        print(outcome);
        results.add(outcome, &options.profile);
    })?;
    match &options.output {
        Some(path) => results.write(path),
        None => Ok(()),
    }
}

fn print(outcome: &Outcome) {
    for measurement in &outcome.measurements {
        eprintln!("{}", line(outcome, measurement));
    }
    for Refusal { contender, reason } in &outcome.refusals {
        eprintln!("{:<9} {contender:<26} cannot: {reason}", outcome.workload);
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
