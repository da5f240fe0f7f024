//! The examples of the libraries are programs for a host, and end by themselves.

use cargo_metadata::{CrateType, Metadata, TargetKind};

use crate::process::{self, cargo};
use crate::report::Tally;
use crate::workspace;

/// Runs every example; each counts as one.
pub(super) fn run() -> Tally {
    let mut tally = Tally::default();
    match workspace::metadata() {
        Err(reason) => tally.fail(reason),
        Ok(metadata) => {
            for (package, example) in examples(&metadata) {
                match run_one(&package, &example) {
                    Ok(()) => tally.passed += 1,
                    Err(reason) => tally.fail(reason),
                }
            }
        }
    }
    tally
}

fn run_one(package: &str, example: &str) -> Result<(), String> {
    let mut command = cargo();
    process::run(command.args(["run", "--quiet", "--package", package, "--example", example]))
}

/// The programs among the examples of all packages: package and name.
fn examples(metadata: &Metadata) -> Vec<(String, String)> {
    let packages = metadata.workspace_packages().into_iter();
    packages
        .flat_map(|package| {
            let targets = package.targets.iter();
            // A module for kernels is no program; `cross` builds it.
            let examples = targets.filter(|target| {
                target.is_kind(TargetKind::Example) && target.crate_types.contains(&CrateType::Bin)
            });
            examples.map(|target| (package.name.to_string(), target.name.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_facade_are_found() {
        let examples = examples(&workspace::metadata().unwrap());
        let names: Vec<&str> = examples
            .iter()
            .filter(|(package, _)| package == "nested-paging")
            .map(|(_, name)| name.as_str())
            .collect();
        assert_eq!(names, ["bare_table", "guest_faults"]);
    }
}
