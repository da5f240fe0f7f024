#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cross;
mod libtest;
mod process;
mod report;
mod test;
mod toolchain;

use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;

/// The commands of this workspace.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Check the formatting, clippy, the documentation, all tests, and the bare-metal builds
    Test,
    /// Build every library for the bare-metal targets
    Cross(cross::Options),
}

fn main() -> ExitCode {
    let mut report = Report::default();
    match Command::parse() {
        Command::Test => test::run(&mut report),
        Command::Cross(options) => cross::run(&options, &mut report),
    }
    report.finish()
}
