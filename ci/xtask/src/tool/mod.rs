//! The programs that this workspace's commands run and that a Rust toolchain does not bring: emulators
//! first of all.
//!
//! They come from [`debian`], and only where that fails from PATH: an installed program has a version that
//! nobody chose. `XTASK_EMULATORS=path` takes those in PATH only.

mod list;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::{self, Scope};
use crate::process;
pub(crate) use list::*;

const VARIABLE: &str = "XTASK_EMULATORS";
const LAUNCHER: &str = include_str!("launcher.sh");

/// A program.
#[derive(Debug)]
pub(crate) struct Tool {
    /// Its name in PATH.
    name: &'static str,
    /// Debian's packages that it needs beside those that they depend on.
    packages: &'static [&'static str],
    /// The end of a shell script that starts it: see `launcher.sh`.
    start: &'static str,
    /// What makes it say its version.
    version: &'static str,
    /// Where it was found.
    found: OnceLock<Result<PathBuf, String>>,
}

impl Tool {
    /// A command that runs the program.
    ///
    /// # Errors
    ///
    /// When it can neither be fetched nor is in PATH: the message says what to install.
    pub(crate) fn command(&self) -> Result<Command, String> {
        self.path().map(Command::new)
    }

    /// The program, or the script that starts it.
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub(crate) fn path(&self) -> Result<&Path, String> {
        let found = self.found.get_or_init(|| self.find());
        found.as_deref().map_err(String::clone)
    }

    fn find(&self) -> Result<PathBuf, String> {
        let path = match env::var_os(VARIABLE) {
            None => self.unpack().or_else(|reason| self.in_path(&reason)),
            Some(value) if value.is_empty() => self.unpack(),
            Some(value) if value == "path" => self.in_path(&format!("{VARIABLE}=path")),
            Some(value) => Err(format!(
                "{VARIABLE} is {}: only path has a meaning",
                value.display()
            )),
        }?;
        println!("{} ({})", self.version_of(&path), path.display());
        Ok(path)
    }

    /// The script that starts the program, below target/. PATH is not looked at.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched.
    pub(crate) fn unpack(&self) -> Result<PathBuf, String> {
        let packages = debian::native()?;
        let root = packages.fetch(self.packages, Scope::WithDependencies)?;
        let folder = root.with_file_name("bin");
        let script = folder.join(self.name);
        let describe = |error| format!("{}: {error}", script.display());
        fs::create_dir_all(&folder).map_err(describe)?;
        fs::write(&script, format!("{LAUNCHER}{}\n", self.start)).map_err(describe)?;
        fs::set_permissions(&script, Permissions::from_mode(0o755)).map_err(describe)?;
        Ok(script)
    }

    fn in_path(&self, reason: &str) -> Result<PathBuf, String> {
        let Some(path) = find_in(&env::var_os("PATH").unwrap_or_default(), self.name) else {
            return Err(format!(
                "{reason}; and PATH has no {}: install it (Debian: {})",
                self.name,
                self.packages.join(" ")
            ));
        };
        println!("Taking {} from PATH: {reason}", self.name);
        Ok(path)
    }

    /// What the program at `path` says of its version, in one line.
    fn version_of(&self, path: &Path) -> String {
        let said = process::everything_said(Command::new(path).arg(self.version));
        let line = said.lines().find(|line| says_version(line));
        let line = line.unwrap_or("its version is not known").trim();
        format!("{}: {line}", self.name)
    }
}

/// Whether `line` has a number with a dot, and is no line of a log, which begins with a number.
fn says_version(line: &str) -> bool {
    let is_number = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    let mut parts = line.split('.').skip(1);
    parts.any(is_number) && !is_number(line)
}

fn find_in(path: &OsStr, program: &str) -> Option<PathBuf> {
    let mut candidates = env::split_paths(path).map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    static ABSENT: Tool = Tool::new("no-such-program", &["no-such-package"], "", "--version");

    #[test]
    fn what_is_nowhere_says_what_to_install() {
        let reason = ABSENT.in_path("no network");
        let expected =
            "no network; and PATH has no no-such-program: install it (Debian: no-such-package)";
        assert_eq!(reason, Err(expected.to_owned()));
    }

    #[test]
    fn a_version_is_told_from_other_numbers() {
        assert!(says_version(
            "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"
        ));
        assert!(says_version("Version: DTC 1.7.2"));
        assert!(says_version("valgrind-3.24.0"));
        assert!(!says_version(
            "00000000000i[      ] LTDL_LIBRARY_PATH is set to 'a.1'"
        ));
        assert!(!says_version(
            "  -benchmark N     run Bochs for N millions of ticks"
        ));
    }

    #[test]
    fn a_program_in_path_is_found() {
        let path = find_in(OsStr::new("/nowhere:/usr/bin:/bin"), "sh").unwrap();
        assert!(path.ends_with("bin/sh"));
    }
}
