//! Where the backends execute instructions: on every target of their architecture that is not hosted. A call
//! that silently did nothing would leave translations that its caller believes to be gone.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ARCHITECTURES: [&str; 3] = ["riscv64", "aarch64", "x86_64"];
/// The instructions, and what stands in for them.
const TWINS: [&str; 2] = ["hardware.rs", "elsewhere.rs"];

fn sources(architecture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../arch")
        .join(architecture)
        .join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let below = entries.map(|entry| entry.unwrap().path());
    below
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

#[test]
fn assembly_stands_in_one_file_of_each_backend() {
    for architecture in ARCHITECTURES {
        let mut with_assembly = files(&sources(architecture));
        with_assembly.retain(|path| read(path).contains("asm!("));
        let with_assembly: Vec<_> = with_assembly
            .iter()
            .map(|path| path.file_name().unwrap())
            .collect();
        assert_eq!(with_assembly, ["hardware.rs"], "{architecture}");
    }
}

/// Each module is there exactly where the other is not.
#[test]
fn hosted_targets_get_the_stand_in_and_all_others_the_instructions() {
    for architecture in ARCHITECTURES {
        let executed = format!("all(target_arch = \"{architecture}\", not(any(unix, windows)))");
        let expected = format!(
            "#[cfg({executed})]\nmod hardware;\n\
             #[cfg(not({executed}))]\n#[path = \"elsewhere.rs\"]\nmod hardware;\n"
        );
        let root = read(&sources(architecture).join("lib.rs"));
        assert!(root.contains(&expected), "{architecture}: {expected}");
        assert_eq!(root.matches("target_os").count(), 0, "{architecture}");
    }
}

/// The names of the functions that a module offers to its crate.
fn functions(module: &str) -> Vec<&str> {
    let declarations = module.lines().filter(|line| line.starts_with("pub(crate)"));
    let names = declarations.filter_map(|line| line.split_once("fn "));
    let mut names: Vec<_> = names
        .filter_map(|(_, rest)| rest.split_once('('))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn the_stand_in_panics_in_every_function_but_publish() {
    for architecture in ARCHITECTURES {
        let [hardware, elsewhere] = TWINS.map(|name| read(&sources(architecture).join(name)));
        let names = functions(&hardware);
        assert_eq!(names, functions(&elsewhere), "{architecture}");
        // A barrier for page walkers is a barrier for threads there.
        let publishes = usize::from(names.contains(&"publish"));
        let panics = elsewhere.matches("    unavailable()\n").count();
        assert_eq!(panics + publishes, names.len(), "{architecture}");
    }
}

/// What the compiler says of a target, which need not be installed.
fn cfg(target: &str) -> String {
    let output = Command::new("rustc")
        .args(["--print", "cfg", "--target", target])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hosted_is_what_is_unix_or_windows() {
    let is_hosted = |target: &str| {
        let cfg = cfg(target);
        assert!(cfg.contains("target_arch"), "{target}: {cfg}");
        cfg.lines().any(|line| line == "unix" || line == "windows")
    };
    for target in [
        "riscv64gc-unknown-none-elf",
        "aarch64-unknown-none",
        "x86_64-unknown-none",
        "aarch64-unknown-uefi",
        "x86_64-unknown-uefi",
    ] {
        assert!(!is_hosted(target), "{target}");
    }
    for target in [
        "riscv64gc-unknown-linux-gnu",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
    ] {
        assert!(is_hosted(target), "{target}");
    }
}
