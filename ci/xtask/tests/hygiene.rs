//! What every crate and every file of the repository has to keep to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use cargo_metadata::{MetadataCommand, Package};

const LONGEST_FILE: usize = 600;

/// Parts of paths that only exist on one machine, cut in two so that this file does not contain them.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("sha", "red/"),
];
/// Parts of addresses of mirrors, cut in two likewise.
const MIRRORS: [&str; 3] = [
    concat!("deb.deb", "ian"),
    concat!("debian.", "org/debian"),
    concat!("ubuntu.", "com/ubuntu"),
];
const UNFINISHED: [&str; 3] = [
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A file that git tracks: its path from the root of the repository, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tracked files that are text; one that is deleted and not yet committed is left out. Without git they
/// are all files that git would not ignore, since a machine that runs the tests need not have git.
fn tracked_files() -> io::Result<Vec<File>> {
    let paths = match git_files() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => files_below(&root(), "")?,
        paths => paths?,
    };
    let read = |path: String| {
        let text = fs::read_to_string(root().join(&path)).ok()?;
        Some(File { path, text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

/// What git tracks.
fn git_files() -> io::Result<Vec<String>> {
    // Whoever made the clone, its list of files may be read.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root())
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(message));
    }
    let paths = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(paths.split_terminator('\0').map(str::to_owned).collect())
}

/// The files below `folder`, each with `prefix` before its name, without git's own and those that cargo builds.
fn files_below(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == ".git" || name == "target" || name.starts_with("target-") {
            continue;
        }
        let path = format!("{prefix}{name}");
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(&entry.path(), &format!("{path}/"))?),
            false => files.push(path),
        }
    }
    Ok(files)
}

#[test]
fn without_git_the_same_files_are_found() {
    let root = root();
    let found = files_below(&root, "").unwrap();
    assert!(found.iter().any(|path| path == "ci/xtask/tests/hygiene.rs"));
    assert!(!found.iter().any(|path| path.starts_with("target/")));
    let Ok(tracked) = git_files() else { return };
    let is_there = |path: &&String| root.join(path).exists();
    let mut missing = tracked.iter().filter(is_there);
    assert_eq!(missing.find(|path| !found.contains(path)), None);
}

fn packages() -> cargo_metadata::Result<Vec<Package>> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.workspace_packages().into_iter().cloned().collect())
}

/// The roots of the libraries and programs of `package`, each with its text.
fn crate_roots(package: &Package) -> Vec<File> {
    let targets = package.targets.iter();
    targets
        .filter(|target| target.is_lib() || target.is_bin())
        .map(|target| File {
            path: target.src_path.to_string(),
            text: fs::read_to_string(&target.src_path).unwrap_or_default(),
        })
        .collect()
}

/// Fails with one complaint a line.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn inherits_lints(manifest: &str) -> bool {
    let manifest: Result<toml::Table, _> = manifest.parse();
    let inherited = |table: &toml::Table| table.get("lints")?.get("workspace")?.as_bool();
    manifest.ok().as_ref().and_then(inherited) == Some(true)
}

#[test]
fn every_member_inherits_the_lints() {
    let packages = packages().unwrap();
    let careless = packages
        .iter()
        .filter(|package| !inherits_lints(&fs::read_to_string(&package.manifest_path).unwrap()))
        .map(|package| format!("{}: [lints] workspace = true is missing", package.name));
    assert_none(&careless.collect::<Vec<_>>());
}

#[test]
fn missing_lints_are_noticed() {
    assert!(inherits_lints("[lints]\nworkspace = true\n"));
    assert!(inherits_lints("lints.workspace = true"));
    assert!(!inherits_lints("[lints]\nworkspace = false\n"));
    assert!(!inherits_lints(
        "[dependencies]\n# [lints] workspace = true\n"
    ));
    assert!(!inherits_lints("[lints"));
}

fn includes_readme(root: &str) -> bool {
    root.lines()
        .any(|line| line == r#"#![doc = include_str!("../README.md")]"#)
}

#[test]
fn every_crate_has_its_readme_as_documentation() {
    let packages = packages().unwrap();
    let undocumented = packages
        .iter()
        .filter(|package| {
            !crate_roots(package)
                .iter()
                .any(|root| includes_readme(&root.text))
        })
        .map(|package| {
            format!(
                "{}: the crate docs do not include ../README.md",
                package.name
            )
        });
    assert_none(&undocumented.collect::<Vec<_>>());
}

#[test]
fn a_missing_readme_is_noticed() {
    assert!(includes_readme(
        "#![doc = include_str!(\"../README.md\")]\n#![no_std]"
    ));
    assert!(!includes_readme(
        "// #![doc = include_str!(\"../README.md\")]"
    ));
    assert!(!includes_readme("//! A crate\n"));
}

fn limits_unsafe(root: &str) -> bool {
    root.lines().any(|line| {
        line.starts_with("#![forbid(unsafe_code") || line.starts_with("#![deny(unsafe_code")
    })
}

#[test]
fn every_crate_root_limits_unsafe_code() {
    let packages = packages().unwrap();
    let unlimited = packages
        .iter()
        .flat_map(crate_roots)
        .filter(|root| !limits_unsafe(&root.text))
        .map(|root| format!("{}: neither forbids nor denies unsafe_code", root.path));
    assert_none(&unlimited.collect::<Vec<_>>());
}

#[test]
fn unlimited_unsafe_code_is_noticed() {
    assert!(limits_unsafe("#![no_std]\n#![forbid(unsafe_code)]"));
    assert!(limits_unsafe("#![deny(unsafe_code)]"));
    assert!(!limits_unsafe("#![warn(unsafe_code)]"));
    assert!(!limits_unsafe("//! #![forbid(unsafe_code)]"));
}

/// `path:line: contains "pattern"` for each line of `file` that contains a pattern.
fn mentions(file: &File, patterns: &[&str]) -> Vec<String> {
    let mention = |(index, line): (usize, &str)| {
        let pattern = patterns.iter().find(|pattern| line.contains(**pattern))?;
        Some(format!("{}:{}: contains {pattern:?}", file.path, index + 1))
    };
    file.text.lines().enumerate().filter_map(mention).collect()
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let files = tracked_files().unwrap();
    let named = files.iter().flat_map(|file| mentions(file, &MACHINE_PATHS));
    assert_none(&named.collect::<Vec<_>>());
}

/// Packages come from where the system takes its own.
#[test]
fn no_file_names_a_mirror() {
    let files = tracked_files().unwrap();
    let named = files.iter().flat_map(|file| mentions(file, &MIRRORS));
    assert_none(&named.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let files = tracked_files().unwrap();
    let sources = files.iter().filter(|file| file.is_rust());
    let unfinished = sources.flat_map(|file| mentions(file, &UNFINISHED));
    assert_none(&unfinished.collect::<Vec<_>>());
}

#[test]
fn a_mention_is_noticed_with_its_line() {
    let [work, ..] = MACHINE_PATHS;
    let file = File {
        path: "docs/a.md".into(),
        text: format!("a framework/b\nsee {work}x and {work}y\n"),
    };
    assert_eq!(
        mentions(&file, &MACHINE_PATHS),
        [format!("docs/a.md:2: contains {work:?}")]
    );
    let [unfinished, ..] = UNFINISHED;
    let file = File {
        path: "a.rs".into(),
        text: format!("fn f() {{ {unfinished}) }}"),
    };
    assert_eq!(mentions(&file, &UNFINISHED).len(), 1);
}

/// The sources in a `Cargo.lock` that are not crates.io.
fn foreign_sources(lock: &str) -> Vec<&str> {
    lock.lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(|source| source.trim_matches('"'))
        .filter(|source| *source != CRATES_IO)
        .collect()
}

#[test]
fn every_external_crate_comes_from_crates_io() {
    let files = tracked_files().unwrap();
    let locks = files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.lock"));
    let foreign = locks.flat_map(|lock| foreign_sources(&lock.text));
    assert_none(&foreign.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn a_foreign_source_is_noticed() {
    let lock = format!("name = \"a\"\nsource = \"{CRATES_IO}\"\n\nname = \"b\"\n");
    assert!(foreign_sources(&lock).is_empty());
    let lock = format!("{lock}source = \"git+https://example.org/b\"\n");
    assert_eq!(foreign_sources(&lock), ["git+https://example.org/b"]);
}

fn too_long(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    let complaint = || format!("{}: {lines} lines, at most {LONGEST_FILE}", file.path);
    (lines > LONGEST_FILE).then(complaint)
}

#[test]
fn no_source_file_is_too_long() {
    let files = tracked_files().unwrap();
    let sources = files.iter().filter(|file| file.is_rust());
    assert_none(&sources.filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn a_long_file_is_noticed() {
    let file = |lines| File {
        path: "a.rs".into(),
        text: "\n".repeat(lines),
    };
    assert!(too_long(&file(LONGEST_FILE)).is_none());
    assert!(too_long(&file(LONGEST_FILE + 1)).is_some());
}

/// The scripts in `ci/` whose path is in no other file but prose.
fn idle_scripts(files: &[File]) -> Vec<String> {
    let is_script =
        |file: &&File| file.path.starts_with("ci/") && !file.path.starts_with("ci/xtask/");
    let is_called = |script: &File| {
        files
            .iter()
            .filter(|file| file.path != script.path && !file.path.ends_with(".md"))
            .any(|file| file.text.contains(&script.path))
    };
    files
        .iter()
        .filter(is_script)
        .filter(|script| !is_called(script))
        .map(|script| format!("{}: nothing calls it", script.path))
        .collect()
}

#[test]
fn every_script_is_called() {
    assert_none(&idle_scripts(&tracked_files().unwrap()));
}

#[test]
fn an_idle_script_is_noticed() {
    let file = |path: &str, text: &str| File {
        path: path.into(),
        text: text.into(),
    };
    let mut files = vec![
        file("ci/test", "# ci/test\ncargo xtask test"),
        file("ci/xtask/src/main.rs", ""),
        file("CONTRIBUTING.md", "Run ci/test."),
    ];
    assert_eq!(idle_scripts(&files), ["ci/test: nothing calls it"]);
    files.push(file(".github/workflows/test.yml", "run: ci/test"));
    assert!(idle_scripts(&files).is_empty());
}
