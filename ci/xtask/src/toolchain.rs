//! Finds, or installs, a compiler for a bare-metal target.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use crate::apt;
use crate::process::{self, cargo};

/// Without a network `rustup` waits for minutes before it gives up.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Toolchain {
    /// The active toolchain has the target's core and alloc.
    Active,
    /// Debian's compiler, which has their source.
    Debian,
}

impl Toolchain {
    /// A `cargo build` with this compiler.
    pub(crate) fn cargo_build(self) -> Command {
        let mut command = cargo();
        command.arg("build");
        if matches!(self, Self::Debian) {
            command
                .arg("-Zbuild-std=core,alloc")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// A [`cargo_build`](Self::cargo_build) of programs: `flags` go to the compiler, and where it
    /// brings no linker, one is installed.
    ///
    /// # Errors
    ///
    /// When there is no linker.
    pub(crate) fn cargo_build_programs(self, flags: &str) -> Result<Command, String> {
        let mut flags = flags.to_owned();
        if matches!(self, Self::Debian) {
            apt::ensure("ld.lld", &["lld"])?;
            flags += " -C linker=ld.lld -C linker-flavor=ld.lld";
        }
        let mut command = self.cargo_build();
        command.env("RUSTFLAGS", flags.trim());
        Ok(command)
    }
}

/// The compilers of this machine; installs what is missing, once.
#[derive(Debug)]
pub(crate) struct Toolchains<'a> {
    source: Source,
    targets: &'a [&'a str],
    rustup: OnceCell<Result<(), String>>,
    debian: OnceCell<Result<(), String>>,
}

impl<'a> Toolchains<'a> {
    /// Compilers from `source` for `targets`. Nothing is installed yet.
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
    /// When there is none and none can be installed: the message says what to install.
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
            .get_or_init(install_debian)
            .clone()
            .map(|()| Toolchain::Debian)
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

fn install_debian() -> Result<(), String> {
    if has_debian() {
        return Ok(());
    }
    apt::install(&DEBIAN_PACKAGES)?;
    match has_debian() {
        true => Ok(()),
        false => Err(format!("{DEBIAN_RUSTC} has no library source")),
    }
}

/// Whether Debian's compiler and the source of its library are installed.
fn has_debian() -> bool {
    process::output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).is_ok_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/Cargo.toml")
            .exists()
    })
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
