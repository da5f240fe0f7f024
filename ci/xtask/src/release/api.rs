//! The public API of each library, against the listing of it that is committed.

use std::collections::BTreeSet;
use std::fs;

use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::{Metadata, Package};
use public_api::Builder;

use super::nightly;
use crate::process;
use crate::report::Tally;
use crate::workspace;

/// The version of rustdoc's JSON that `public-api` reads.
const FORMAT: u64 = 57;

/// The options of `cargo xtask api`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the listings anew, instead of comparing with them
    #[arg(long)]
    update: bool,
}

/// What is done with the API of a library.
type Judge = fn(listing: &Utf8Path, api: &str) -> Result<(), String>;

/// Compares the API of each library with its listing, or writes the listing. To do neither is a failure.
pub(crate) fn run(options: &Options) -> Tally {
    let mut tally = each_library(if options.update { write } else { compare });
    if tally == Tally::default() {
        tally.fail("no API was listed");
    }
    tally
}

/// Compares the API of each library with its listing; each library counts as one.
///
/// Only a nightly compiler shows an API. Where there is none, or one that `public-api` cannot read, nothing is compared,
/// and that is said.
pub(super) fn check() -> Tally {
    each_library(compare)
}

fn each_library(judge: Judge) -> Tally {
    let mut tally = Tally::default();
    let Ok(metadata) = workspace::metadata().map_err(|reason| tally.fail(reason)) else {
        return tally;
    };
    if let Err(reason) = nightly::prepare(&metadata) {
        println!("Skipped: {reason}");
        return tally;
    }
    for package in nightly::libraries(&metadata) {
        match judge_one(&metadata, package, judge) {
            Ok(Outcome::Judged) => tally.passed += 1,
            Ok(Outcome::OtherFormat(format)) => {
                println!(
                    "Skipped: JSON of version {FORMAT} is read, and this rustdoc writes {format}"
                );
                return tally;
            }
            Err(reason) => tally.fail(reason),
        }
    }
    tally
}

enum Outcome {
    Judged,
    /// The compiler writes another version of the JSON.
    OtherFormat(u64),
}

fn judge_one(metadata: &Metadata, package: &Package, judge: Judge) -> Result<Outcome, String> {
    let json = document(metadata, package)?;
    let format = format_version(&json)?;
    if format != FORMAT {
        return Ok(Outcome::OtherFormat(format));
    }
    let api = Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .map_err(|error| format!("{json}: {error}"))?;
    let lines: String = api.items().map(|item| format!("{item}\n")).collect();
    let folder = metadata.workspace_root.join("docs/api");
    let listing = folder.join(&*package.name).with_extension("txt");
    judge(&listing, &lines).map(|()| Outcome::Judged)
}

/// Documents `package` as JSON, and says in which file.
fn document(metadata: &Metadata, package: &Package) -> Result<Utf8PathBuf, String> {
    let folder = metadata.target_directory.join("nightly");
    let target = nightly::target(package);
    process::run(
        nightly::cargo()
            .args(["rustdoc", "--quiet", "--lib", "--all-features", "--package"])
            .arg(&*package.name)
            .args(target.iter().flat_map(|target| ["--target", target]))
            .args(["--target-dir", folder.as_str()])
            .args(["--", "-Zunstable-options", "--output-format", "json"]),
    )?;
    let library = package.name.replace('-', "_");
    let folder = target.map_or(folder.clone(), |target| folder.join(target));
    Ok(folder.join("doc").join(library).with_extension("json"))
}

fn format_version(json: &Utf8Path) -> Result<u64, String> {
    let text = fs::read_to_string(json).map_err(|error| format!("{json}: {error}"))?;
    let json: Result<serde_json::Value, _> = serde_json::from_str(&text);
    let version = json.ok().and_then(|json| json["format_version"].as_u64());
    version.ok_or_else(|| "rustdoc's JSON has no version".to_owned())
}

fn write(listing: &Utf8Path, api: &str) -> Result<(), String> {
    let folder = listing.parent().map_or(Ok(()), fs::create_dir_all);
    folder
        .and_then(|()| fs::write(listing, api))
        .map_err(|error| format!("{listing}: {error}"))
}

fn compare(listing: &Utf8Path, api: &str) -> Result<(), String> {
    let listed = fs::read_to_string(listing).unwrap_or_default();
    let differences = differences(&listed, api);
    if differences.is_empty() {
        return Ok(());
    }
    println!("{listing}:");
    differences.iter().for_each(|line| println!("  {line}"));
    Err(format!(
        "{listing}: {} lines differ; if that is meant: cargo xtask api --update",
        differences.len()
    ))
}

/// The lines that only one side has: `-` those that are gone, `+` those that are new.
fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (old.lines().collect(), new.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let added = new.difference(&old).map(|line| format!("+ {line}"));
    gone.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_shown() {
        assert_eq!(differences("pub a\npub b\n", "pub a\npub b\n"), [""; 0]);
        assert_eq!(
            differences("pub a\npub b\n", "pub a\npub c\n"),
            ["- pub b", "+ pub c"]
        );
    }
}
