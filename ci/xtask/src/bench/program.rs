//! The program that measures, as cargo builds it.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::process::{self, cargo};
use crate::workspace::target_directory;

/// How the benchmarks are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Fat LTO, one codegen unit
    Lto,
    /// Cargo's default release profile
    Plain,
}

impl Profile {
    /// The name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lto => "lto",
            Self::Plain => "plain",
        }
    }

    /// The name that cargo knows, which is its folder's too.
    const fn cargo_name(self) -> &'static str {
        match self {
            Self::Lto => "lto",
            Self::Plain => "release",
        }
    }
}

/// The program, built.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

impl Program {
    /// Builds the program.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(crate) fn build(profile: Profile) -> Result<Self, String> {
        let name = profile.cargo_name();
        let path = target_directory()?
            .join(name)
            .join(format!("benchmarks{EXE_SUFFIX}"));
        process::run_unannounced(
            cargo()
                .args(["build", "--package", "benchmarks"])
                .args(["--profile", name]),
        )?;
        Ok(Self { path })
    }

    /// Where the program is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The program's command `name`.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(name);
        command
    }
}
