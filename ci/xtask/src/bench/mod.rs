//! `cargo xtask bench`: the benchmarks, in two profiles.

mod envelope;
pub(crate) mod guard;
mod program;
mod size;
mod tool;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use crate::bench::program::{Profile, Program};
use crate::process;
use crate::report::Report;
use crate::toolchain::Source;
use crate::workspace::target_directory;

/// How many rounds the workloads are timed.
const ROUNDS: u16 = 21;

/// Something that can be done.
type Step<'a> = Box<dyn Fn() -> Result<(), String> + 'a>;

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
    /// How many rounds are timed: 21, or 5 of the envelope
    #[arg(long)]
    rounds: Option<u16>,
    /// Time every cell of the envelope instead: ten minutes
    #[arg(long, conflicts_with_all = ["json", "workloads", "contenders"])]
    envelope: bool,
    /// Only cells whose names have these parts, such as protect-less+2M+RWX; alternatives after commas
    #[arg(long, requires = "envelope")]
    only: Option<String>,
    /// One cell of seven, and fewer rounds
    #[arg(long, requires = "envelope")]
    quick: bool,
    /// Where the plot goes; target/benchmarks/ratios.svg otherwise
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Count instead: invalidations by kind, frames of tables, heap
    #[arg(long, conflicts_with = "json")]
    count: bool,
    /// Measure the code of the least consumer of each library instead, on bare metal
    #[arg(long, conflicts_with = "json")]
    size: bool,
    /// Time guest-map on a hundred thousand devices instead
    #[arg(long, conflicts_with = "json")]
    tool: bool,
    /// Compare instruction counts with the committed baseline instead
    #[arg(long, conflicts_with = "json")]
    guard: bool,
    /// Write the baseline instead
    #[arg(long, conflicts_with = "json")]
    update_baseline: bool,
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

    /// Everything that can be done, and whether it is asked for: the times, if nothing else is.
    fn steps(&self) -> [(bool, &'static str, Step<'_>); 7] {
        let others = self.envelope
            || self.count
            || self.size
            || self.tool
            || self.guard
            || self.update_baseline;
        [
            (!others, "times", Box::new(|| time(self))),
            (self.envelope, "envelope", Box::new(|| envelope::run(self))),
            (self.count, "counts", Box::new(count)),
            (
                self.size,
                "code size",
                Box::new(|| size::run(self.toolchain)),
            ),
            (self.tool, "guest-map", Box::new(tool::run)),
            (self.guard, "instructions", Box::new(guard::run)),
            (self.update_baseline, "baseline", Box::new(guard::update)),
        ]
    }

    /// The arguments of the benchmarks' command `time`.
    fn time_arguments(&self) -> Vec<String> {
        let rounds = self.rounds.unwrap_or(ROUNDS).to_string();
        let mut arguments = vec!["--rounds".to_owned(), rounds];
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
    for (is_wanted, name, step) in options.steps() {
        if is_wanted {
            report.step(name, step);
        }
    }
    report.finish()
}

/// Times every profile, and reports them together.
fn time(options: &Options) -> Result<(), String> {
    let folder = target_directory()?.join("benchmarks");
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

pub(crate) fn describe(error: &io::Error) -> String {
    error.to_string()
}
