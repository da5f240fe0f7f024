//! The engine is laid out in wings, and a wing names only those below it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers stop at what they cannot read, as the tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom to the top. What stands beside them in `src` is above all of them.
const WINGS: &[&str] = &["contract", "tree", "settle", "read", "change", "live"];

/// The wing in which a file of `src` lies, by its path below `src`, or `None` beside the wings.
fn wing_of(file: &Path) -> Option<usize> {
    let mut parts = file.iter();
    let folder = parts.next()?.to_str()?;
    parts.next()?;
    Some(number_of(folder).unwrap_or_else(|| panic!("{folder} is not a wing: see WINGS")))
}

fn number_of(name: &str) -> Option<usize> {
    WINGS.iter().position(|wing| *wing == name)
}

/// The modules of the crate that the code of `text` names by a path from the crate's root, or by one
/// that leaves its own wing.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or("")
        })
}

/// Each arrow in `text`, which is `file` below `src`, that does not point downwards, as a sentence.
fn violations(file: &Path, text: &str) -> Vec<String> {
    let Some(own) = wing_of(file) else {
        return Vec::new();
    };
    let mut found: Vec<String> = named(text)
        .filter(|name| number_of(name).is_none_or(|wing| wing > own))
        .map(|name| format!("{} names crate::{name}", file.display()))
        .collect();
    // Such a path could lead anywhere, and no wing has folders of its own.
    if text.contains("super::super") || text.contains("use super::") {
        found.push(format!("{} names super", file.display()));
    }
    found
}

/// The Rust files below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_wing_names_only_those_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let mut in_wings = 0;
    let mut found = Vec::new();
    for path in paths {
        let file = path.strip_prefix(&src).unwrap();
        in_wings += usize::from(wing_of(file).is_some());
        found.extend(violations(file, &fs::read_to_string(&path).unwrap()));
    }
    assert!(in_wings > 20, "only {in_wings} files lie in wings");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_arrow_that_points_upwards_is_reported() {
    let tree = Path::new("tree/words.rs");
    let upwards = violations(tree, "use crate::settle::release;");
    assert_eq!(upwards, ["tree/words.rs names crate::settle"]);
    assert_eq!(violations(tree, "let t = crate::table::new();").len(), 1);
    assert_eq!(violations(tree, "use super::super::table;").len(), 1);
    assert!(violations(tree, "use crate::contract::level::Level;").is_empty());
    assert!(violations(tree, "//! Before [`settle`](crate::settle).").is_empty());
    assert!(violations(Path::new("table.rs"), "use crate::change::edit::Edit;").is_empty());
}
