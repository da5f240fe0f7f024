//! Finds, or fetches, a compiler for a bare-metal target.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::process::{self, cargo};
use crate::tool;

/// Without a network `rustup` waits for minutes before it gives up.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

/// Where the bare-metal targets may come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// The active toolchain, after `rustup target add` if need be; else Debian's
    #[default]
    Auto,
    /// The active toolchain only, after `rustup target add` if need be
    Rustup,
    /// Debian's rustc-web, with core and alloc built from rust-web-src
    Debian,
}

/// A compiler that can build for a bare-metal target.
#[derive(Clone, Debug)]
pub(crate) enum Toolchain {
    /// The active toolchain has the target's core and alloc.
    Active,
    /// Debian's compiler at this path, which has their source.
    Debian(PathBuf),
}

impl Toolchain {
    /// A `cargo build` with this compiler.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut command = cargo();
        command.arg("build");
        if let Self::Debian(rustc) = self {
            command
                .arg("-Zbuild-std=core,alloc")
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// A [`cargo_build`](Self::cargo_build) of programs: `flags` go to the compiler, and where it
    /// brings no linker, Debian's is taken.
    ///
    /// # Errors
    ///
    /// When there is no linker.
    pub(crate) fn cargo_build_programs(&self, flags: &str) -> Result<Command, String> {
        let mut flags = flags.to_owned();
        if matches!(self, Self::Debian(_)) {
            let linker = tool::LLD.path()?.display();
            flags += &format!(" -C linker={linker} -C linker-flavor=ld.lld");
        }
        let mut command = self.cargo_build();
        command.env("RUSTFLAGS", flags.trim());
        Ok(command)
    }
}

/// The compilers of this machine; fetches what is missing, once.
#[derive(Debug)]
pub(crate) struct Toolchains<'a> {
    source: Source,
    targets: &'a [&'a str],
    rustup: OnceCell<Result<(), String>>,
    debian: OnceCell<Result<PathBuf, String>>,
}

impl<'a> Toolchains<'a> {
    /// Compilers from `source` for `targets`. Nothing is fetched yet.
    pub(crate) fn new(source: Source, targets: &'a [&'a str]) -> Self {
        Self {
            source,
            targets,
            rustup: OnceCell::new(),
            debian: OnceCell::new(),
        }
    }

    /// A compiler for `target`.
    ///
    /// # Errors
    ///
    /// When there is none and none can be fetched: the message says what to install.
    pub(crate) fn find(&self, target: &str) -> Result<Toolchain, String> {
        match self.source {
            Source::Auto => self.active(target).or_else(|reason| {
                self.debian(&reason)
                    .map_err(|other| format!("{reason}; or: {other}"))
            }),
            Source::Rustup => self.active(target),
            Source::Debian => self.debian("--toolchain debian"),
        }
    }

    fn active(&self, target: &str) -> Result<Toolchain, String> {
        if has_core(target) {
            return Ok(Toolchain::Active);
        }
        self.rustup
            .get_or_init(|| add_targets(self.targets))
            .clone()
            .map_err(|reason| {
                format!("{reason}; install the target: rustup target add {target}")
            })?;
        if has_core(target) {
            Ok(Toolchain::Active)
        } else {
            Err(format!(
                "rustup added {target}, but not to the rustc in PATH"
            ))
        }
    }

    fn debian(&self, why: &str) -> Result<Toolchain, String> {
        println!("Taking Debian's compiler: {why}");
        self.debian
            .get_or_init(debian_rustc)
            .clone()
            .map(Toolchain::Debian)
    }
}

/// Whether the active compiler comes with the core library for `target`.
fn has_core(target: &str) -> bool {
    let folder = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .output();
    folder.is_ok_and(|folder| {
        let folder = String::from_utf8_lossy(&folder.stdout);
        holds_core(Path::new(folder.trim()))
    })
}

fn holds_core(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

fn add_targets(targets: &[&str]) -> Result<(), String> {
    process::run_within(
        Command::new("rustup").args(["target", "add"]).args(targets),
        RUSTUP_LIMIT,
    )
}

/// Debian's compiler, if it has the source of its library.
fn debian_rustc() -> Result<PathBuf, String> {
    let rustc = tool::RUSTC.unpack()?;
    let sysroot = process::output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.toml");
    match source.exists() {
        true => Ok(rustc),
        false => Err(format!("{} is missing", source.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_core_and_an_unknown_target_has_none() {
        let host = process::output(Command::new("rustc").args(["--print", "target-libdir"]));
        assert!(host.is_ok_and(|folder| holds_core(Path::new(folder.trim()))));
        assert!(!has_core("no-such-target"));
        assert!(!holds_core(Path::new("")));
    }
}
