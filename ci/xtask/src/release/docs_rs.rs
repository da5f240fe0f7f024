//! The documentation of each library as docs.rs builds it.

use cargo_metadata::Package;

use super::{kept, nightly};
use crate::process;
use crate::report::Tally;
use crate::workspace;

/// Documents each library for the target that docs.rs shows first, warnings denied; each counts as one.
///
/// docs.rs has a nightly compiler. Without one nothing is documented, and that is said.
pub(super) fn check() -> Tally {
    let mut tally = Tally::default();
    let Ok(metadata) = workspace::metadata().map_err(|reason| tally.fail(reason)) else {
        return tally;
    };
    if let Err(reason) = nightly::prepare(&metadata) {
        println!("Skipped: {reason}");
        return tally;
    }
    for package in nightly::libraries(&metadata) {
        match document(package) {
            Ok(()) => tally.passed += 1,
            Err(reason) => tally.fail(reason),
        }
    }
    tally
}

fn document(package: &Package) -> Result<(), String> {
    let target = nightly::target(package);
    process::run(
        nightly::cargo()
            .args(["doc", "--quiet", "--lib", "--no-deps", "--all-features"])
            .args(["--package", &package.name])
            .args(target.iter().flat_map(|target| ["--target", target]))
            .arg("--target-dir")
            .arg(kept("nightly")?)
            .env("RUSTDOCFLAGS", "--cfg docsrs -D warnings"),
    )
}
