//! Debian's packages for other architectures and of another release, without touching the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process;

const SOURCES: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                       http://deb.debian.org/debian trixie main\n";
const LIMIT: Duration = Duration::from_secs(600);

/// Packages of Debian 13 for one architecture, in a folder of our own with apt's state beside them.
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
        write(&folder.join("sources.list"), SOURCES)?;
        write(&folder.join("apt.conf"), &configuration)?;
        Ok(Self { folder })
    }

    /// Fetches `packages`, and what `kernel` depends on, and unpacks them: the folder that is their
    /// root. Debian's kernels change their names with every version, and the package `kernel` names
    /// the current one.
    ///
    /// # Errors
    ///
    /// When that fails.
    pub(crate) fn fetch(&self, packages: &[&str], kernel: &str) -> Result<PathBuf, String> {
        let root = self.folder.join("root");
        let done = self.folder.join("done");
        let wanted = format!("{} {kernel}", packages.join(" "));
        if fs::read_to_string(&done).is_ok_and(|there| there == wanted) {
            return Ok(root);
        }
        process::run_within(self.apt("apt-get").arg("update"), LIMIT)?;
        let depends = process::output(self.apt("apt-cache").args(["depends", kernel]))?;
        let kernel =
            dependency(&depends).ok_or_else(|| format!("{kernel} depends on no kernel"))?;
        let downloads = self.folder.join("downloads");
        let mut download = self.apt("apt-get");
        let download = download.arg("download").args(packages).arg(kernel);
        process::run_within(download.current_dir(&downloads), LIMIT)?;
        for package in fs::read_dir(&downloads).map_err(|error| error.to_string())? {
            let package = package.map_err(|error| error.to_string())?.path();
            process::run(Command::new("dpkg-deb").arg("-x").args([&package, &root]))?;
        }
        write(&done, &wanted)?;
        Ok(root)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf"));
        command
    }
}

/// The first package that `apt-cache depends` names.
fn dependency(depends: &str) -> Option<&str> {
    depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_package_depends_on() {
        let depends = "linux-image-riscv64\n  Depends: linux-image-6.12.1+deb13-riscv64\n";
        let kernel = Some("linux-image-6.12.1+deb13-riscv64");
        assert_eq!(dependency(depends), kernel);
        assert_eq!(dependency("linux-image-riscv64\n"), None);
    }
}
