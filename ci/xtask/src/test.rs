//! `cargo xtask test`: everything that has to hold before a change is merged.

use crate::bench::guard;
use crate::browser;
use crate::cross;
use crate::encodings;
use crate::guest;
use crate::libtest::Results;
use crate::machine;
use crate::process::{self, cargo};
use crate::release;
use crate::report::{Report, Tally};
use crate::sanitize;

/// Runs all checks; a failure does not keep the others from running.
pub(crate) fn run(report: &mut Report) {
    report.step("format", format);
    report.step("clippy", clippy);
    report.step("documentation", documentation);
    report.step("tests", tests);
    browser::run(report);
    release::run(&release::Options::default(), report);
    sanitize::run(report);
    report.step("instructions", guard::run);
    cross::run(&cross::Options::default(), report);
    encodings::run(&encodings::Options::default(), report);
    machine::run_all(report);
    guest::run_all(report);
}

fn format() -> Result<(), String> {
    need_component("fmt", "rustfmt")?;
    process::run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    need_component("clippy", "clippy")?;
    process::run(
        cargo()
            .args(["clippy", "--keep-going", "--workspace"])
            .args(["--all-targets", "--all-features"])
            .args(["--", "-D", "warnings"]),
    )
}

fn documentation() -> Result<(), String> {
    process::run(
        cargo()
            .args(["doc", "--keep-going", "--workspace"])
            .args(["--no-deps", "--all-features"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn tests() -> Tally {
    let mut results = Results::default();
    let status = process::run_lines(
        cargo().args(["test", "--workspace", "--all-features", "--no-fail-fast"]),
        |line| results.line(line),
    );
    results.finish(status.is_ok())
}

/// Checks that `cargo command` exists: `component` is a part of the toolchain that may be missing.
fn need_component(command: &str, component: &str) -> Result<(), String> {
    process::output(cargo().args([command, "--version"]))
        .map(drop)
        .map_err(|reason| {
            format!("{reason}; install it: rustup component add {component} (Debian: {component})")
        })
}
