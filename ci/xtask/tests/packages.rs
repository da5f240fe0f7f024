//! What a package needs before it can be published: what its page on crates.io shows, and that it works there.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Packages with items that exist on one architecture, or without an operating system, only.
const BARE_METAL_DOCUMENTATION: [&str; 4] = [
    "nested-paging",
    "nested-paging-riscv64",
    "nested-paging-aarch64",
    "nested-paging-x86-64",
];

/// The workspace's packages that are published.
fn published() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let packages = metadata.workspace_packages().into_iter();
    let published: Vec<Package> = packages
        .filter(|package| package.publish != Some(Vec::new()))
        .cloned()
        .collect();
    assert!(published.len() > 10, "too few packages are published");
    published
}

fn folder(package: &Package) -> PathBuf {
    package.manifest_path.parent().unwrap().into()
}

/// Fails with one complaint a line.
fn assert_none(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The keys of `[package]` that crates.io shows or wants, and that `package` has not.
fn missing_keys(package: &Package) -> Vec<&'static str> {
    let given = [
        ("description", package.description.is_some()),
        ("license", package.license.is_some()),
        ("readme", package.readme.is_some()),
        ("documentation", package.documentation.is_some()),
        ("rust-version", package.rust_version.is_some()),
        (
            "keywords, 1 to 5",
            (1..=5).contains(&package.keywords.len()),
        ),
        (
            "categories, 1 to 5",
            (1..=5).contains(&package.categories.len()),
        ),
    ];
    let missing = given.into_iter().filter(|(_, is_given)| !is_given);
    missing.map(|(key, _)| key).collect()
}

#[test]
fn every_package_says_what_it_is() {
    let complaint = |package: &Package| {
        let missing = missing_keys(package).join(", ");
        (!missing.is_empty()).then(|| format!("{}: lacks {missing}", package.name))
    };
    assert_none(published().iter().filter_map(complaint));
}

#[test]
fn a_missing_key_is_noticed() {
    let mut package = published().swap_remove(0);
    package.description = None;
    package.keywords = vec!["keyword".to_owned(); 6];
    assert_eq!(missing_keys(&package), ["description", "keywords, 1 to 5"]);
}

/// Copies and not links: a checkout without symbolic links would package the name of a file.
#[test]
fn every_package_has_the_licences_as_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for package in published() {
        for licence in LICENCES {
            let path = folder(&package).join(licence);
            let file = fs::symlink_metadata(&path);
            assert!(file.is_ok_and(|file| file.is_file()), "{path:?} is no file");
            let same = fs::read(&path).unwrap() == fs::read(root.join(licence)).unwrap();
            assert!(same, "{path:?} differs from the workspace's");
        }
    }
}

/// The files of `package` as it would be published.
fn packaged_files(package: &Package) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "package",
            "--list",
            "--allow-dirty",
            "--package",
            &package.name,
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", package.name);
    let files = String::from_utf8(output.stdout).unwrap();
    files.lines().map(str::to_owned).collect()
}

#[test]
fn a_package_holds_its_sources_and_no_tests() {
    for package in published() {
        let files = packaged_files(&package);
        let has = |name: &str| files.iter().any(|file| file == name);
        let is_root = |file: &String| file == "src/lib.rs" || file == "src/main.rs";
        let is_whole = has("README.md") && LICENCES.iter().all(|&name| has(name));
        assert!(
            is_whole && files.iter().any(is_root),
            "{}: {files:?}",
            package.name
        );
        let test = files.iter().find(|file| file.starts_with("tests/"));
        assert_eq!(test, None, "{}", package.name);
    }
}

/// Where the links of a Markdown text lead, without those in fenced code and code spans.
///
/// A rustdoc link without a destination, [`like_this`], is none: elsewhere it shows as text.
fn destinations(markdown: &str) -> Vec<String> {
    let mut is_code = false;
    let prose: String = markdown
        .lines()
        .filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let inline = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let definitions = prose.lines().filter_map(|line| {
        let (label, destination) = line.split_once("]: ")?;
        label.starts_with('[').then_some(destination)
    });
    inline.chain(definitions).map(str::to_owned).collect()
}

fn works_everywhere(destination: &str) -> bool {
    destination.starts_with("https://") || destination.starts_with('#')
}

#[test]
fn links_of_a_readme_work_outside_the_repository() {
    let complaints = published().into_iter().flat_map(|package| {
        let readme = folder(&package).join("README.md");
        let text = fs::read_to_string(readme).unwrap();
        let broken = destinations(&text)
            .into_iter()
            .filter(|to| !works_everywhere(to));
        let complaint = |to| format!("{}: README.md links to {to:?}", package.name);
        broken.map(complaint).collect::<Vec<_>>()
    });
    assert_none(complaints);
}

#[test]
fn a_link_into_the_repository_is_noticed() {
    let text = "See [a](../a.md), [b](https://b), [c](#c), [`D`] and [`e`](D::e).\n\
                ```\n[f](f)\n```\n[g]: docs/g.md\n";
    let broken = destinations(text)
        .into_iter()
        .filter(|to| !works_everywhere(to));
    assert_eq!(broken.collect::<Vec<_>>(), ["../a.md", "D::e", "docs/g.md"]);
}

/// A dependency with a path and no version is left out of the package. Ours have a version where the package needs
/// them, and none where only its tests do: those crates build on the package itself.
#[test]
fn ours_have_a_version_except_in_tests() {
    let complaints = published().into_iter().flat_map(|package| {
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some());
        let wrong = ours.filter(|dependency| {
            let has_version = !dependency.req.comparators.is_empty();
            has_version == (dependency.kind == DependencyKind::Development)
        });
        let complaint =
            |name| format!("{}: {name} needs a version, or none in tests", package.name);
        wrong
            .map(|dependency| complaint(&dependency.name))
            .collect::<Vec<_>>()
    });
    assert_none(complaints);
}

#[test]
fn documentation_shows_what_exists_on_bare_metal_only() {
    for package in published() {
        let target = package.metadata["docs"]["rs"]["default-target"].as_str();
        let is_bare_metal = target.is_some_and(|target| target.contains("-none"));
        let is_wanted = BARE_METAL_DOCUMENTATION.contains(&package.name.as_str());
        assert_eq!(is_bare_metal, is_wanted, "{}: {target:?}", package.name);
    }
}
