//! Every package as it would be published, built from its own files only.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use cargo_metadata::{Metadata, Package};

use super::kept;
use crate::process::{self, cargo};
use crate::workspace;

/// The first cargo that publishes packages that depend on each other at once.
const FIRST_MINOR_VERSION: u32 = 90;

/// Packages everything that is published, and builds each package against the others.
///
/// Does nothing with a cargo that cannot, and says so.
///
/// # Errors
///
/// When a package cannot be built, or could not be published.
pub(super) fn verify() -> Result<(), String> {
    let version = process::output(cargo().arg("--version"))?;
    if minor_version(&version).is_none_or(|minor| minor < FIRST_MINOR_VERSION) {
        println!("Skipped: it takes cargo 1.{FIRST_MINOR_VERSION}, and this is {version}");
        return Ok(());
    }
    let metadata = workspace::metadata()?;
    let folder = kept("packages")?;
    forget_builds(&metadata, &folder)?;
    forget_sources(&metadata)?;
    // Whatever is not committed yet is checked too. External crates stay built.
    let published = process::run(
        cargo()
            .args(["publish", "--dry-run", "--workspace", "--allow-dirty"])
            .args(["--quiet", "--target-dir"])
            .arg(&folder),
    );
    forget_sources(&metadata)?;
    published
}

/// Removes what an earlier run has built of our packages. Cargo takes them for those of a registry, where a version never
/// changes, and would not build them again.
fn forget_builds(metadata: &Metadata, folder: &Path) -> Result<(), String> {
    let packages = metadata.workspace_packages().into_iter();
    process::run(
        cargo()
            .args(["clean", "--quiet"])
            .arg("--target-dir")
            .arg(folder)
            .args(packages.flat_map(|package| ["--package", package.name.as_str()])),
    )
}

/// Removes our packages from where cargo unpacks those of local registries, for the same reason.
fn forget_sources(metadata: &Metadata) -> Result<(), String> {
    let Some(home) = cargo_home() else {
        return Ok(());
    };
    for registry in local_registries(&home.join("registry/src")) {
        for package in metadata.workspace_packages() {
            let folder = registry.join(unpacked_name(package));
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", folder.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn cargo_home() -> Option<PathBuf> {
    let given = env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// The folders of registries that are folders of this machine: a host's name would stand before the dash.
fn local_registries(sources: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(sources) else {
        return Vec::new();
    };
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    folders
        .filter(|folder| {
            let name = folder.file_name();
            name.is_some_and(|name| name.to_string_lossy().starts_with('-'))
        })
        .collect()
}

fn unpacked_name(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
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

    #[test]
    fn only_registries_without_a_host_are_local() {
        let sources = env::temp_dir().join(format!("xtask-registries-{}", std::process::id()));
        for name in ["-92aeb90a6bbd260d", "index.crates.io-1949cf8c6b5b557f"] {
            fs::create_dir_all(sources.join(name)).unwrap();
        }
        let found = local_registries(&sources);
        fs::remove_dir_all(&sources).unwrap();
        assert_eq!(found, [sources.join("-92aeb90a6bbd260d")]);
    }
}
