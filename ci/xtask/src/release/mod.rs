//! `cargo xtask release`: what has to hold before the crates are published, beyond their tests.

pub(crate) mod api;
mod docs_rs;
mod examples;
mod features;
pub(crate) mod nightly;
mod packages;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::report::Report;
use crate::workspace;

/// The options of `cargo xtask release`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only this check; all otherwise
    #[arg(long, value_enum)]
    only: Option<Check>,
}

/// One check of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The examples run
    Examples,
    /// Every combination of features compiles
    Features,
    /// Every library is documented as docs.rs does it
    DocsRs,
    /// The public API of every library is the one that is listed
    PublicApi,
    /// Every package builds from its own files
    Packages,
}

/// Runs the checks of a release; a failure does not keep the others from running.
pub(crate) fn run(options: &Options, report: &mut Report) {
    for &check in Check::value_variants() {
        if options.only.is_some_and(|only| only != check) {
            continue;
        }
        match check {
            Check::Examples => report.step("examples", examples::run),
            Check::Features => report.step("features", features::check),
            Check::DocsRs => report.step("docs.rs", docs_rs::check),
            Check::PublicApi => report.step("public API", api::check),
            Check::Packages => report.step("packages", packages::verify),
        }
    }
}

/// A folder below the target directory that is kept from run to run.
fn kept(folder: &str) -> Result<PathBuf, String> {
    Ok(workspace::target_directory()?.join(folder))
}
