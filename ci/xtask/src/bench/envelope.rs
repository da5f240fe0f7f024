//! Every cell of the envelope, beside every peer.

use std::fs;

use crate::bench::program::{Profile, Program};
use crate::bench::{Options, describe};
use crate::process;
use crate::workspace::target_directory;

/// Times the cells in one profile, fat LTO unless the options say otherwise; prints those where this project is not
/// first, and leaves all times and a picture in target/benchmarks.
///
/// # Errors
///
/// When a build or a contender fails.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let folder = target_directory()?.join("benchmarks");
    fs::create_dir_all(&folder).map_err(|error| describe(&error))?;
    let (results, picture) = (folder.join("envelope.json"), folder.join("envelope.svg"));
    let program = Program::build(options.profile.unwrap_or(Profile::Lto))?;
    let mut command = program.command("envelope");
    command.arg("--output").arg(&results);
    command.arg("--heat-map").arg(&picture);
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    if options.quick {
        command.arg("--quick");
    }
    process::run_unannounced(&mut command)?;
    eprintln!("The times are in {}", results.display());
    eprintln!("The heat map is in {}", picture.display());
    Ok(())
}
