//! `cargo xtask cross`: every library, and every example that is a module for kernels, must build without an operating
//! system.

use cargo_metadata::camino::Utf8PathBuf;
use cargo_metadata::{CrateType, Metadata, MetadataCommand, Package, Target, TargetKind};

use crate::process;
use crate::report::Report;
use crate::toolchain::{Source, Toolchain, Toolchains};

const TARGETS: [&str; 3] = [
    "riscv64gc-unknown-none-elf",
    "aarch64-unknown-none",
    "x86_64-unknown-none",
];

/// The options of `cargo xtask cross`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Where the compiler and the targets come from
    #[arg(long, value_enum, default_value_t)]
    toolchain: Source,
}

/// Builds the libraries for each target; each target counts as one.
pub(crate) fn run(options: &Options, report: &mut Report) {
    let toolchains = Toolchains::new(options.toolchain, &TARGETS);
    for target in TARGETS {
        report.step(&format!("cross {target}"), || {
            Libraries::of_the_workspace()?.build(target, toolchains.find(target)?)
        });
    }
}

struct Libraries {
    names: Vec<String>,
    /// Package and name.
    examples: Vec<(String, String)>,
    target_directory: Utf8PathBuf,
}

impl Libraries {
    fn of_the_workspace() -> Result<Self, String> {
        let metadata = MetadataCommand::new().no_deps().exec();
        Ok(Self::in_metadata(
            &metadata.map_err(|error| error.to_string())?,
        ))
    }

    fn in_metadata(metadata: &Metadata) -> Self {
        let packages = metadata.workspace_packages().into_iter();
        let bare_metal: Vec<&Package> = packages.filter(|package| is_bare_metal(package)).collect();
        Self {
            names: bare_metal.iter().map(|package| name(package)).collect(),
            examples: bare_metal
                .iter()
                .flat_map(|package| modules(package))
                .collect(),
            target_directory: metadata.target_directory.join("cross"),
        }
    }

    fn build(&self, target: &str, toolchain: Toolchain) -> Result<(), String> {
        let command = || {
            let mut command = toolchain.cargo_build();
            command
                .args(["--keep-going", "--target", target, "--target-dir"])
                .arg(&self.target_directory);
            command
        };
        let packages = self.names.iter().flat_map(|name| ["--package", name]);
        process::run(command().arg("--lib").args(packages))?;
        self.examples.iter().try_for_each(|(package, example)| {
            process::run(command().args(["--package", package, "--example", example]))
        })
    }
}

fn name(package: &Package) -> String {
    package.name.to_string()
}

/// The examples of `package` that are libraries: package and name.
fn modules(package: &Package) -> Vec<(String, String)> {
    let is_module = |target: &&Target| {
        target.is_kind(TargetKind::Example) && !target.crate_types.contains(&CrateType::Bin)
    };
    let modules = package.targets.iter().filter(is_module);
    modules
        .map(|target| (name(package), target.name.clone()))
        .collect()
}

/// Whether `package` has a library and does not say `cross = false` in `[package.metadata.xtask]`.
fn is_bare_metal(package: &Package) -> bool {
    let has_library = package.targets.iter().any(|target| target.is_lib());
    has_library && package.metadata["xtask"]["cross"].as_bool() != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_built_and_programs_are_not() {
        let Libraries {
            names, examples, ..
        } = Libraries::of_the_workspace().unwrap();
        assert!(names.iter().any(|name| name == "nested-paging"));
        assert!(names.iter().any(|name| name == "nested-paging-riscv64"));
        assert!(!names.iter().any(|name| name == "xtask"));
        let module = ("nested-paging-arceos".into(), "axvm_tables".into());
        assert_eq!(examples, [module]);
    }

    #[test]
    fn a_library_can_opt_out() {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        let packages = metadata.workspace_packages();
        let mut package = (*packages.iter().find(|p| p.name == "guest-addr").unwrap()).clone();
        assert!(is_bare_metal(&package));
        package.metadata = serde_json::json!({ "xtask": { "cross": false } });
        assert!(!is_bare_metal(&package));
    }
}
