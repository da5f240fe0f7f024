//! `cargo xtask release`: what has to hold before the crates are published, beyond their tests.

mod docs_rs;
mod examples;
mod features;
mod nightly;
mod packages;

use std::path::PathBuf;

use crate::report::Report;
use crate::workspace;

/// Runs all checks of a release; a failure does not keep the others from running.
pub(crate) fn run(report: &mut Report) {
    report.step("examples", examples::run);
    report.step("features", features::check);
    report.step("docs.rs", docs_rs::check);
    report.step("packages", packages::verify);
}

/// A folder below the target directory that is kept from run to run.
fn kept(folder: &str) -> Result<PathBuf, String> {
    Ok(workspace::target_directory()?.join(folder))
}
