//! What only a nightly compiler does: documentation as docs.rs shows it, and as JSON.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::{Metadata, Package};

use crate::process;

/// The toolchain, as `rustup` names it.
pub(crate) const TOOLCHAIN: &str = "nightly";

/// The cargo of the nightly toolchain.
pub(crate) fn cargo() -> Command {
    run("cargo")
}

/// The compiler of the nightly toolchain.
pub(crate) fn rustc() -> Command {
    run("rustc")
}

fn run(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, program]);
    // Cargo names its own programs to those it runs, and these are another toolchain's.
    for name in ["CARGO", "RUSTC", "RUSTDOC"] {
        command.env_remove(name);
    }
    command
}

/// The libraries that are published.
pub(super) fn libraries(metadata: &Metadata) -> Vec<&Package> {
    let packages = metadata.workspace_packages().into_iter();
    packages
        .filter(|package| package.publish != Some(Vec::new()))
        .filter(|package| package.targets.iter().any(|target| target.is_lib()))
        .collect()
}

/// The target that docs.rs shows first for `package`, unless it is the host's.
pub(super) fn target(package: &Package) -> Option<&str> {
    package.metadata["docs"]["rs"]["default-target"].as_str()
}

/// Adds the targets of all libraries to the toolchain.
///
/// # Errors
///
/// Where there is no such toolchain, or no network for a target that it lacks.
pub(super) fn prepare(metadata: &Metadata) -> Result<(), String> {
    let targets: BTreeSet<&str> = libraries(metadata).into_iter().filter_map(target).collect();
    let mut add = Command::new("rustup");
    add.args(["target", "add", "--toolchain", TOOLCHAIN]);
    process::output(add.args(targets))
        .map(drop)
        .map_err(|reason| format!("it takes a {TOOLCHAIN} toolchain and its targets: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_published_libraries_are_found() {
        let metadata = workspace::metadata().unwrap();
        let names: Vec<&str> = libraries(&metadata)
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        assert!(names.contains(&"nested-paging"), "{names:?}");
        assert!(!names.contains(&"guest-map"), "{names:?}");
        assert!(!names.contains(&"test-hypervisor-kit"), "{names:?}");
    }
}
