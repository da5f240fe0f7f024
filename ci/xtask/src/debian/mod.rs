//! Debian's packages, of a release that this project chooses and for any architecture.
//!
//! Nothing is installed into the system. The packages are fetched by an apt with a configuration and a
//! state of its own ([`mod@apt`]), from the mirrors that the system's apt uses ([`mod@mirrors`]), and unpacked with
//! `dpkg-deb -x` below `target/debian`. All of that works as any user.

mod apt;
mod mirrors;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process;
use crate::workspace;
use apt::Apt;
use mirrors::mirrors;

/// Debian 13, and what follows it where a mirror has no consistent index of Debian 13.
const RELEASES: [&str; 2] = ["trixie", "forky"];

/// What comes with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that it depends on, the C library included
    WithDependencies,
    /// Nothing: the package is data, or a statically linked program
    Alone,
}

/// The packages of one architecture.
#[derive(Debug)]
pub(crate) struct Packages {
    architecture: String,
    /// For each release of [`RELEASES`] an apt that knows what is in it.
    apts: [OnceLock<Result<Apt, String>>; RELEASES.len()],
}

/// The packages for this machine.
///
/// # Errors
///
/// When this system has no dpkg.
pub(crate) fn native() -> Result<&'static Packages, String> {
    static NATIVE: OnceLock<Result<Packages, String>> = OnceLock::new();
    let found = NATIVE.get_or_init(|| {
        let architecture = process::output(Command::new("dpkg").arg("--print-architecture"))?;
        Ok(Packages::of(architecture.trim()))
    });
    found.as_ref().map_err(String::clone)
}

impl Packages {
    /// The packages for `architecture`, in Debian's spelling. Nothing is fetched yet.
    pub(crate) fn of(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            apts: [const { OnceLock::new() }; RELEASES.len()],
        }
    }

    /// Fetches and unpacks `packages`: the folder that is their root. Does nothing if they are there.
    ///
    /// # Errors
    ///
    /// When there is no apt or no dpkg-deb, or when no mirror has a release of [`RELEASES`] with all of
    /// them.
    pub(crate) fn fetch(&self, packages: &[&str], scope: Scope) -> Result<PathBuf, String> {
        self.fetch_set(&packages.join("+"), scope, |_| {
            Ok(packages.iter().copied().map(str::to_owned).collect())
        })
    }

    /// As [`fetch`](Self::fetch), for the kernel that the package `kernel` depends on, alone. Debian's
    /// kernels change their names with every version, and the package `kernel` names the current one.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    pub(crate) fn fetch_kernel(&self, kernel: &str) -> Result<PathBuf, String> {
        self.fetch_set(kernel, Scope::Alone, |apt| Ok(vec![current(apt, kernel)?]))
    }

    /// Fetches the packages that `choose` names, unless a root has what is called `set`.
    fn fetch_set(
        &self,
        set: &str,
        scope: Scope,
        choose: impl Fn(&Apt) -> Result<Vec<String>, String>,
    ) -> Result<PathBuf, String> {
        for release in RELEASES {
            let folder = self.folder(release)?;
            if marker(&folder, set).exists() {
                return Ok(folder.join("root"));
            }
        }
        let mut reasons = Vec::new();
        for (release, apt) in RELEASES.iter().zip(&self.apts) {
            let apt = apt.get_or_init(|| self.updated(release));
            let fetched = apt.as_ref().map_err(String::clone).and_then(|apt| {
                let archives = apt.download(&choose(apt)?, scope)?;
                unpack(&archives, apt.folder())?;
                touch(&marker(apt.folder(), set))?;
                Ok(apt.folder().join("root"))
            });
            match fetched {
                Ok(root) => return Ok(root),
                Err(reason) => reasons.push(format!("Debian {release}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    fn folder(&self, release: &str) -> Result<PathBuf, String> {
        let name = format!("{release}-{}", self.architecture);
        Ok(workspace::target_directory()?.join("debian").join(name))
    }

    /// An apt that knows what the first mirror with `release` has.
    fn updated(&self, release: &str) -> Result<Apt, String> {
        let apt = Apt::new(&self.folder(release)?, &self.architecture)?;
        let mirrors = mirrors()?;
        match mirrors
            .iter()
            .any(|mirror| apt.update(mirror, release).is_ok())
        {
            true => Ok(apt),
            false => Err(format!(
                "not to be had from {} (XTASK_DEBIAN_MIRROR can name another mirror)",
                mirrors.join(" or ")
            )),
        }
    }
}

/// What says that the root in `folder` has what is called `set`.
fn marker(folder: &Path, set: &str) -> PathBuf {
    folder.join("unpacked").join(set)
}

/// Unpacks those of `archives` that are not yet in the root in `folder`.
fn unpack(archives: &[PathBuf], folder: &Path) -> Result<(), String> {
    let root = folder.join("root");
    println!("Unpacking into {}", root.display());
    for archive in archives {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let marker = marker(folder, &name);
        if !marker.exists() {
            let mut command = Command::new("dpkg-deb");
            process::output(command.arg("-x").args([archive, &root]))?;
            touch(&marker)?;
        }
    }
    Ok(())
}

fn touch(path: &Path) -> Result<(), String> {
    fs::write(path, "").map_err(|error| format!("{}: {error}", path.display()))
}

/// The package with the kernel that `kernel` depends on, directly or not.
fn current(apt: &Apt, kernel: &str) -> Result<String, String> {
    let mut found = kernel.to_owned();
    loop {
        match dependency(&apt.depends(&found)?) {
            Some(next) => found = next.to_owned(),
            None if found != kernel => return Ok(found),
            None => return Err(format!("{kernel} depends on no kernel")),
        }
    }
}

/// The first package of a kernel that `apt-cache depends` names. From Debian 14 on, the package
/// linux-image-VERSION has none itself, but depends on linux-binary-VERSION.
fn dependency(depends: &str) -> Option<&str> {
    let mut names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let is_kernel =
        |name: &&str| name.starts_with("linux-image-") || name.starts_with("linux-binary-");
    names.find(is_kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_package_depends_on() {
        let depends = "linux-image-riscv64\n  Depends: linux-base-riscv64\n  \
                       Depends: linux-image-6.12.1+deb13-riscv64\n";
        let kernel = Some("linux-image-6.12.1+deb13-riscv64");
        assert_eq!(dependency(depends), kernel);
        assert_eq!(dependency("linux-image-riscv64\n"), None);
    }
}
