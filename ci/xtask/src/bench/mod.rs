//! `cargo xtask bench`: the benchmarks, in two profiles.

mod program;

use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, io};

use crate::bench::program::{Profile, Program};
use crate::process;
use crate::report::Report;

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
    report.step("benchmarks", || time(options));
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

fn describe(error: &io::Error) -> String {
    error.to_string()
}
