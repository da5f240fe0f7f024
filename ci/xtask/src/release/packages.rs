//! Every package as it would be published, built from its own files only.

use super::kept;
use crate::process::{self, cargo};

/// The first cargo that publishes packages that depend on each other at once.
const FIRST_MINOR_VERSION: u32 = 90;

/// Packages everything that is published, and builds each package against the others.
///
/// Does nothing with a cargo that cannot, and says so.
///
/// # Errors
///
/// When a package cannot be built, or could not be published.
pub(crate) fn verify() -> Result<(), String> {
    let version = process::output(cargo().arg("--version"))?;
    if minor_version(&version).is_none_or(|minor| minor < FIRST_MINOR_VERSION) {
        println!("Skipped: it takes cargo 1.{FIRST_MINOR_VERSION}, and this is {version}");
        return Ok(());
    }
    // Whatever is not committed yet is checked too. External crates stay built in a folder of their own.
    process::run(
        cargo()
            .args(["publish", "--dry-run", "--workspace", "--allow-dirty"])
            .args(["--quiet", "--target-dir"])
            .arg(kept("packages")?),
    )
}

/// The 95 of `cargo 1.95.0 (f2d3ce0bd 2026-03-21)`.
fn minor_version(version: &str) -> Option<u32> {
    let (_, rest) = version.split_once("cargo 1.")?;
    rest.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_cargo_is_read() {
        assert_eq!(
            minor_version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)\n"),
            Some(95)
        );
        assert_eq!(minor_version("cargo 1.88.0"), Some(88));
        assert_eq!(minor_version("cargo"), None);
    }
}
