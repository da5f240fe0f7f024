//! Debian's packages.

use std::env;
use std::process::Command;
use std::time::Duration;

use crate::process;

const LIMIT: Duration = Duration::from_secs(600);

/// Makes sure that `program` is in PATH, by installing `packages` where it is not.
///
/// # Errors
///
/// When it is not there and cannot be installed: the message says what to install.
pub(crate) fn ensure(program: &str, packages: &[&str]) -> Result<(), String> {
    if is_in_path(program) {
        return Ok(());
    }
    install(packages)?;
    match is_in_path(program) {
        true => Ok(()),
        false => Err(format!("{} brought no {program}", packages.join(" "))),
    }
}

/// Installs `packages`, after an update of the lists: the packages of a first release may be gone.
///
/// # Errors
///
/// When that fails: the message says what to install.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let update = || process::run_within(apt_get().arg("update"), LIMIT);
    let options = ["install", "--yes", "--no-remove", "--no-install-recommends"];
    let install = || process::run_within(apt_get().args(options).args(packages), LIMIT);
    update().and_then(|()| install()).map_err(|reason| {
        let packages = packages.join(" ");
        format!("{reason}; install Debian's packages as root: apt-get install {packages}")
    })
}

fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        assert_eq!(ensure("sh", &["no-such-package"]), Ok(()));
        assert!(!is_in_path("no-such-program"));
    }
}
