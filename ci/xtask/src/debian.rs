//! Debian's packages for other architectures and of other releases, without touching the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

const SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                      http://deb.debian.org/debian";
/// Debian 13, and what follows it where a mirror has no consistent index of Debian 13.
const RELEASES: [&str; 2] = ["trixie", "forky"];
const LIMIT: Duration = Duration::from_secs(600);

/// Packages for one architecture, in a folder of our own with apt's state beside them.
#[derive(Debug)]
pub(crate) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// The packages for `architecture`, kept in `folder`.
    ///
    /// # Errors
    ///
    /// When the folder cannot be filled.
    pub(crate) fn new(folder: &Path, architecture: &str) -> Result<Self, String> {
        let folder = folder.to_path_buf();
        for part in ["lists/partial", "archives/partial", "downloads", "root"] {
            fs::create_dir_all(folder.join(part)).map_err(|error| error.to_string())?;
        }
        let path = folder.display();
        let configuration = format!(
            "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Sandbox::User \"root\";\nDir::Etc::sourcelist \"{path}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State \"{path}\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{path}\";\n"
        );
        write(&folder.join("apt.conf"), &configuration)?;
        Ok(Self { folder })
    }

    /// Fetches `packages`, and the kernel that `kernel` depends on, and unpacks them: the folder that
    /// is their root. They come from the first release that has all of them. Debian's kernels change
    /// their names with every version, and the package `kernel` names the current one.
    ///
    /// # Errors
    ///
    /// When no release has them.
    pub(crate) fn fetch(&self, packages: &[&str], kernel: &str) -> Result<PathBuf, String> {
        let root = self.folder.join("root");
        let done = self.folder.join("done");
        let wanted = format!("{} {kernel}", packages.join(" "));
        if fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
            return Ok(root);
        }
        let mut reasons = Vec::new();
        for release in RELEASES {
            match self.fetch_from(release, packages, kernel) {
                Ok(()) => {
                    write(&done, &wanted)?;
                    return Ok(root);
                }
                Err(reason) => reasons.push(format!("{release}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    fn fetch_from(&self, release: &str, packages: &[&str], kernel: &str) -> Result<(), String> {
        let source = format!("{SOURCE} {release} main\n");
        write(&self.folder.join("sources.list"), &source)?;
        process::run_within(self.apt("apt-get").arg("update"), LIMIT)?;
        let kernel = self.current(kernel)?;
        let downloads = self.folder.join("downloads");
        let mut download = self.apt("apt-get");
        let download = download.arg("download").args(packages).arg(&kernel);
        process::run_within(download.current_dir(&downloads), LIMIT)?;
        let root = self.folder.join("root");
        for package in fs::read_dir(&downloads).map_err(|error| error.to_string())? {
            let package = package.map_err(|error| error.to_string())?.path();
            process::run(Command::new("dpkg-deb").arg("-x").args([&package, &root]))?;
        }
        Ok(())
    }

    /// The package with the kernel that `kernel` depends on, directly or not.
    fn current(&self, kernel: &str) -> Result<String, String> {
        let mut found = kernel.to_owned();
        loop {
            let depends = process::output(self.apt("apt-cache").args(["depends", &found]))?;
            match dependency(&depends) {
                Some(next) => found = next.to_owned(),
                None if found != kernel => return Ok(found),
                None => return Err(format!("{kernel} depends on no kernel")),
            }
        }
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf"));
        command
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

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
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
