//! Which crates from outside a library brings along when its features are off: all of them, not only those that its
//! manifest names.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::collections::BTreeSet;
use std::process::Command;

/// Libraries and the external crates in their trees without default features.
const TREES: &[(&str, &[&str])] = &[
    ("guest-addr", &[]),
    ("mapping-flags", &["bitflags"]),
    ("nested-page-table", &["arrayvec", "bitflags"]),
    ("nested-paging-riscv64", &["arrayvec", "bitflags"]),
    ("nested-paging-aarch64", &["arrayvec", "bitflags"]),
    ("nested-paging-x86-64", &["arrayvec", "bitflags"]),
    ("host-services", &["arrayvec", "bitflags"]),
    ("region-planner", &["bitflags"]),
    ("device-tree-regions", &[]),
    ("reference-mmu", &[]),
    ("guest-vm", &["arrayvec", "bitflags"]),
    ("nested-paging", &["arrayvec", "bitflags", "cfg-if"]),
];

/// The external crates in the output of `cargo tree --prefix none`: those without a path in brackets.
fn external(tree: &str) -> BTreeSet<&str> {
    tree.lines()
        .filter(|line| !line.is_empty() && !line.contains(" (/"))
        .filter_map(|line| line.split(' ').next())
        .collect()
}

/// The normal dependencies of `library` for every target, as `cargo tree` prints them.
fn tree(library: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--no-default-features"])
        .args(["--edges", "normal", "--target", "all", "--prefix", "none"])
        .args(["--package", library])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree {library}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_library_without_features_brings_only_these_crates_along() {
    for (library, expected) in TREES {
        let tree = tree(library);
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(external(&tree), expected, "{library}");
    }
}

#[test]
fn an_external_crate_is_told_from_ours() {
    let tree = "mapping-flags v0.1.0 (/a/b)\nbitflags v2.13.0\nserde v1.0.0 (proc-macro)\nbitflags v2.13.0 (*)\n";
    assert_eq!(external(tree), BTreeSet::from(["bitflags", "serde"]));
}
