//! `cargo xtask release`: what has to hold before the crates are published, beyond their tests.

mod examples;
mod features;
mod packages;

use cargo_metadata::camino::Utf8PathBuf;
use cargo_metadata::{Metadata, MetadataCommand};

use crate::report::Report;

/// Runs all checks of a release; a failure does not keep the others from running.
pub(crate) fn run(report: &mut Report) {
    report.step("examples", examples::run);
    report.step("features", features::check);
    report.step("packages", packages::verify);
}

fn metadata() -> Result<Metadata, String> {
    let metadata = MetadataCommand::new().no_deps().exec();
    metadata.map_err(|error| error.to_string())
}

/// A folder below the target directory that is kept from run to run.
fn kept(folder: &str) -> Result<Utf8PathBuf, String> {
    Ok(metadata()?.target_directory.join(folder))
}
