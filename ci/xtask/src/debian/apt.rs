//! An apt that shares nothing with the system's but its mirrors, its keys, and how it reaches a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Scope;
use crate::process;

/// Without a network apt waits for minutes before it gives up.
const UPDATE_LIMIT: Duration = Duration::from_secs(120);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
/// The keys of every release, where the package that brings them is installed. Otherwise apt takes the
/// keys that it trusts anyway.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt with a folder of its own.
#[derive(Debug)]
pub(super) struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// An apt for packages of `architecture` that keeps everything in `folder`. It takes no package for
    /// installed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be filled, or there is no apt.
    pub(super) fn new(folder: &Path, architecture: &str) -> Result<Self, String> {
        for part in [
            "lists/partial",
            "archives/partial",
            "log",
            "root",
            "unpacked",
        ] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(|error| format!("{}: {error}", part.display()))?;
        }
        let folder = folder.to_path_buf();
        write(&folder.join("status"), "")?;
        let configuration = configuration(&folder, architecture) + &network()?;
        write(&folder.join("apt.conf"), &configuration)?;
        Ok(Self { folder })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Learns what `release` of `mirror` has.
    ///
    /// # Errors
    ///
    /// When the mirror cannot be reached, lacks the release, or its signature is not good.
    pub(super) fn update(&self, mirror: &str, release: &str) -> Result<(), String> {
        let keys = match Path::new(KEYRING).exists() {
            true => format!("[signed-by={KEYRING}] "),
            false => String::new(),
        };
        let source = format!("deb {keys}{mirror} {release} main\n");
        write(&self.folder.join("sources.list"), &source)?;
        // A release that could not be fetched is a warning to apt.
        let strict = "--error-on=any";
        process::run_within(
            self.command("apt-get").args(["update", "--quiet", strict]),
            UPDATE_LIMIT,
        )
    }

    /// Downloads `packages`, and with them what `scope` says: the archives.
    ///
    /// # Errors
    ///
    /// When the release lacks one, or its archive cannot be fetched.
    pub(super) fn download(
        &self,
        packages: &[String],
        scope: Scope,
    ) -> Result<Vec<PathBuf>, String> {
        let archives = self.folder.join("archives");
        let mut command = self.command("apt-get");
        match scope {
            Scope::WithDependencies => command
                .args(["install", "--download-only", "--yes", "--quiet"])
                .arg("--no-install-recommends"),
            Scope::Alone => command.args(["download", "--quiet"]),
        };
        process::run_within(
            command.args(packages).current_dir(&archives),
            DOWNLOAD_LIMIT,
        )?;
        let entries = fs::read_dir(&archives).map_err(|error| error.to_string())?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(files
            .filter(|file| file.extension().is_some_and(|extension| extension == "deb"))
            .collect())
    }

    /// What `apt-cache depends` says of `package`.
    ///
    /// # Errors
    ///
    /// When the release lacks the package.
    pub(super) fn depends(&self, package: &str) -> Result<String, String> {
        process::output(self.command("apt-cache").args(["depends", package]))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Everything that apt reads or writes is in `folder`. The system's configuration is left out as a whole:
/// it has hooks that clean up the system's own cache.
fn configuration(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        "APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::parts \"/dev/null\";\n\
         Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::Etc::preferences \"/dev/null\";\n\
         Dir::Etc::preferencesparts \"/dev/null\";\n\
         Dir::State \"{folder}\";\n\
         Dir::State::status \"{folder}/status\";\n\
         Dir::Cache \"{folder}\";\n\
         Dir::Log \"{folder}/log\";\n"
    )
}

/// How the system's apt reaches a network (proxies, certificates, time limits), as lines of a
/// configuration. What it fetches beside packages is left out.
fn network() -> Result<String, String> {
    let settings = process::output(Command::new("apt-config").args(["dump", "Acquire"]))?;
    let foreign = ["Acquire::IndexTargets", "Acquire::Languages"];
    let lines = settings
        .lines()
        .filter(|line| !foreign.iter().any(|name| line.starts_with(name)));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
