//! Every combination of features of every crate.

use std::path::Path;
use std::process::Command;

use super::kept;
use crate::process::{self, cargo};

const VERSION: &str = "0.6.46";

/// Checks each crate, and its tests, by itself with each combination of its features, warnings denied.
///
/// cargo-hack does it. Where it is missing and cannot be installed, nothing is checked, and that is said.
///
/// # Errors
///
/// When a combination does not compile without warnings.
pub(super) fn check() -> Result<(), String> {
    let tools = kept("tools")?;
    let program = tools.join("bin/cargo-hack");
    if !is_wanted_version(&program)
        && let Err(reason) = install(&tools)
    {
        println!("Skipped: cargo-hack {VERSION} could not be installed: {reason}");
        return Ok(());
    }
    process::run(
        Command::new(&program)
            .args([
                "hack",
                "check",
                "--workspace",
                "--feature-powerset",
                "--all-targets",
            ])
            .args(["--quiet", "--keep-going", "--target-dir"])
            .arg(kept("features")?)
            .env("RUSTFLAGS", "-D warnings"),
    )
}

fn is_wanted_version(program: &Path) -> bool {
    let version = process::output(Command::new(program).args(["hack", "--version"]));
    version.is_ok_and(|version| version.trim() == format!("cargo-hack {VERSION}"))
}

fn install(tools: &Path) -> Result<(), String> {
    process::run(
        cargo()
            .args(["install", "--quiet", "--locked", "cargo-hack"])
            .args(["--version", VERSION, "--root"])
            .arg(tools),
    )
}
