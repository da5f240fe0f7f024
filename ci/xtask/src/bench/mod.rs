//! `cargo xtask bench`: the benchmarks, in two profiles.

mod program;
mod size;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use crate::bench::program::{Profile, Program};
use crate::process;
use crate::report::Report;
use crate::toolchain::Source;

/// The options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Print an array of JSON objects on standard output, and nothing else
    #[arg(long)]
    json: bool,
    /// Only this profile; both otherwise
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Only these workloads, such as W1,W6
    #[arg(long)]
    workloads: Option<String>,
    /// Only contenders with one of these in their names, beside the floor
    #[arg(long)]
    contenders: Option<String>,
    /// How many rounds are timed
    #[arg(long, default_value_t = 21)]
    rounds: u16,
    /// Where the plot goes; target/benchmarks/ratios.svg otherwise
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Count instead: invalidations by kind, frames of tables, heap
    #[arg(long, conflicts_with = "json")]
    count: bool,
    /// Measure the code of the least consumer of each library instead, on bare metal
    #[arg(long, conflicts_with = "json")]
    size: bool,
    /// Where the compiler and the targets for --size come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

impl Options {
    fn profiles(&self) -> Vec<Profile> {
        match self.profile {
            Some(profile) => vec![profile],
            None => vec![Profile::Lto, Profile::Plain],
        }
    }

    /// The arguments of the benchmarks' command `time`.
    fn time_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--rounds".to_owned(), self.rounds.to_string()];
        let selections = [
            ("--workloads", &self.workloads),
            ("--contenders", &self.contenders),
        ];
        for (name, value) in selections {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.clone()]);
            }
        }
        arguments
    }
}

/// Runs what the options say. With `--json` nothing but JSON goes to standard output, and the exit status
/// alone says whether it worked.
pub(crate) fn run(options: &Options, mut report: Report) -> ExitCode {
    if options.json {
        return match time(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        };
    }
    if options.count {
        report.step("counts", count);
    }
    if options.size {
        report.step("code size", || size::run(options.toolchain));
    }
    if !options.count && !options.size {
        report.step("times", || time(options));
    }
    report.finish()
}

/// Times every profile, and reports them together.
fn time(options: &Options) -> Result<(), String> {
    let folder = program::target_directory()?.join("benchmarks");
    fs::create_dir_all(&folder).map_err(|error| describe(&error))?;
    let mut results = Vec::new();
    let mut reporter = None;
    for profile in options.profiles() {
        let program = Program::build(profile)?;
        let path = folder.join(format!("{}.json", profile.name()));
        process::run_unannounced(
            program
                .command("time")
                .args(options.time_arguments())
                .args(["--profile", profile.name(), "--output"])
                .arg(&path),
        )?;
        results.push(path);
        reporter = Some(program);
    }
    let Some(reporter) = reporter else {
        return Err("no profile".to_owned());
    };
    let plot = options.plot.clone().unwrap_or(folder.join("ratios.svg"));
    let mut command = reporter.command("report");
    command.args(results).arg("--plot").arg(&plot);
    if options.json {
        command.arg("--json");
    }
    process::run_unannounced(&mut command)?;
    eprintln!("The plot is in {}", plot.display());
    Ok(())
}

/// Counts what is not timed. The profile makes no difference.
fn count() -> Result<(), String> {
    process::run_unannounced(&mut Program::build(Profile::Plain)?.command("count"))
}

fn describe(error: &io::Error) -> String {
    error.to_string()
}
