#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bench;
mod bochs;
mod browser;
mod cpio;
mod cross;
mod debian;
mod encodings;
mod guest;
mod isa;
mod libtest;
mod machine;
mod process;
mod release;
mod report;
mod sanitize;
mod test;
mod tool;
mod toolchain;
mod workspace;

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
    /// Compare the bare-metal instructions of the backends with the manuals' encodings
    Encodings(encodings::Options),
    /// Drive the page of guest-map in a browser
    Browser,
    /// Boot a test hypervisor in an emulator and have its MMU walk our tables
    Machine(machine::Options),
    /// Boot a real, unmodified guest on a test hypervisor
    Guest(guest::Options),
    /// Check what publishing takes: the examples, features, documentation and packages
    Release(release::Options),
    /// Run small tests under Miri and ThreadSanitizer, where a nightly toolchain has them
    Sanitize,
    /// Compare the public API of each library with its listing in docs/api, or write the listing
    Api(release::api::Options),
    /// Measure the page tables against each other and against the memory floor
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let mut report = Report::default();
    match Command::parse() {
        Command::Test => test::run(&mut report),
        Command::Cross(options) => cross::run(&options, &mut report),
        Command::Encodings(options) => encodings::run(&options, &mut report),
        Command::Browser => browser::run(&mut report),
        Command::Machine(options) => machine::run(&options, &mut report),
        Command::Guest(options) => guest::run(&options, &mut report),
        Command::Release(options) => release::run(&options, &mut report),
        Command::Sanitize => sanitize::run(&mut report),
        Command::Api(options) => report.step("public API", || release::api::run(&options)),
        Command::Bench(options) => return bench::run(&options, report),
    }
    report.finish()
}
