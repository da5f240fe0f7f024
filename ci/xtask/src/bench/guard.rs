//! Instruction counts against a committed baseline.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::bench::program::{Profile, Program};
use crate::process;
use crate::tool;
use crate::workspace::target_directory;

/// W6, and cells of the envelope: every operation, leaf and size of a call, and what was slow once.
const WORKLOADS: [&str; 14] = [
    "W6",
    "map/4K/xall/whole/RW/in-1G/fresh",
    "map/4K/x16/random/RWX/in-1G/half",
    "map/4K/x1/random/alternating/in-64G/tables",
    "map/2M/x4/off-by-one/RWX/in-64G/fresh",
    "map/1G/x1/whole/RW/in-64G/fresh",
    "unmap/4K/x16/random/RW/in-1G/full",
    "unmap/4K/xall/off-by-one/RW/in-1G/full",
    "unmap-report/4K/x4/off-by-one/RW/in-1G/full",
    "protect-less/4K/x16/random/alternating/in-1G/full",
    "protect-less/2M/xall/whole/RWX/in-64G/full",
    "protect-more/4K/x512/whole/RW/in-64G/half",
    "translate/4K/x1/random/alternating/in-64G/full",
    "visit/2M/x16/random/alternating/in-64G/full",
];
const CONTENDERS: [&str; 3] = [
    "nested-page-table/ept",
    "nested-page-table/stage2",
    "nested-page-table/g-stage",
];
/// The function that the program runs each workload in: what happens in it is counted, and written down as a part
/// when it returns.
const COUNTED: [&str; 2] = [
    "--toggle-collect=benchmarks::instructions::counted*",
    // Not the same pattern: of two options with equal patterns callgrind heeds one.
    "--dump-after=*::instructions::counted*",
];
/// By how much a count may grow.
const TOLERANCE: f64 = 0.03;

/// Instructions by workload and contender, and the compiler that they are true for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    /// What `rustc -vV` prints, line by line.
    rustc: Vec<String>,
    instructions: BTreeMap<String, u64>,
}

/// Counts, and fails where a count has grown by more than three in a hundred. Does nothing with another
/// compiler than the baseline's or without valgrind, and says so.
///
/// # Errors
///
/// When something has grown, or cannot be counted.
pub(crate) fn run() -> Result<(), String> {
    let path = baseline_path();
    let baseline = read(&path)?;
    let rustc = rustc()?;
    if rustc != baseline.rustc {
        println!(
            "Skipped: the baseline is for another compiler. It has:\n  {}\nand this is:\n  {}",
            baseline.rustc.join("\n  "),
            rustc.join("\n  ")
        );
        return Ok(());
    }
    if let Err(reason) = tool::CALLGRIND.path() {
        println!("Skipped: instructions are counted by valgrind. {reason}");
        return Ok(());
    }
    let counts = Counts::now(rustc)?;
    for line in lines(&baseline, &counts) {
        println!("{line}");
    }
    let grown = grown(&baseline, &counts);
    match grown.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{}; if that is meant: cargo xtask bench --update-baseline",
            grown.join("; ")
        )),
    }
}

/// Counts, and makes the counts the baseline.
///
/// # Errors
///
/// When something cannot be counted, or the baseline cannot be written.
pub(crate) fn update() -> Result<(), String> {
    let path = baseline_path();
    let counts = Counts::now(rustc()?)?;
    let text = serde_json::to_string_pretty(&counts).map_err(|error| error.to_string())?;
    fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    println!("The baseline is written.");
    Ok(())
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/benchmarks/instructions.json")
}

fn read(path: &Path) -> Result<Counts, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn rustc() -> Result<Vec<String>, String> {
    let version = process::output(Command::new("rustc").arg("-vV"))?;
    Ok(version.lines().map(str::to_owned).collect())
}

impl Counts {
    /// The counts of the workspace as it is.
    fn now(rustc: Vec<String>) -> Result<Self, String> {
        let program = Program::build(Profile::Plain)?;
        let mut instructions = BTreeMap::new();
        for contender in CONTENDERS {
            let counts = count(&program, contender)?;
            for (workload, count) in WORKLOADS.iter().zip(counts) {
                instructions.insert(format!("{workload} {contender}"), count);
            }
        }
        Ok(Self {
            rustc,
            instructions,
        })
    }
}

/// The counts of all workloads, in their order.
fn count(program: &Program, contender: &str) -> Result<Vec<u64>, String> {
    let output = target_directory()?.join("benchmarks.callgrind");
    let mut option = OsString::from("--callgrind-out-file=");
    option.push(&output);
    let mut valgrind = tool::CALLGRIND.command()?;
    valgrind
        .args(["--quiet", "--tool=callgrind"])
        .args(COUNTED)
        .arg(option)
        .arg(program.path())
        .arg("instructions")
        .args(["--workloads", &WORKLOADS.join(",")])
        .args(["--contender", contender]);
    process::output(&mut valgrind)?;
    let part = |(number, workload)| {
        let path = output.with_extension(format!("callgrind.{number}"));
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        match total(&text) {
            Some(count) if count > 0 => Ok(count),
            _ => Err(format!("{workload} {contender}: nothing was counted")),
        }
    };
    (1..).zip(WORKLOADS).map(part).collect()
}

/// The sum in a file that callgrind wrote.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

/// Each count beside the baseline's.
fn lines(baseline: &Counts, counts: &Counts) -> Vec<String> {
    let line = |(name, count): (&String, &u64)| match baseline.instructions.get(name) {
        Some(before) => {
            let change = (*count as f64 / *before as f64 - 1.0) * 100.0;
            format!("{name:<76} {count:>10} instructions, {change:+.1} %")
        }
        None => format!("{name:<76} {count:>10} instructions, not in the baseline"),
    };
    counts.instructions.iter().map(line).collect()
}

/// What has grown too much, or is not in both.
fn grown(baseline: &Counts, counts: &Counts) -> Vec<String> {
    let mut grown = Vec::new();
    for (name, &count) in &counts.instructions {
        match baseline.instructions.get(name) {
            Some(&before) if count as f64 <= before as f64 * (1.0 + TOLERANCE) => {}
            Some(before) => grown.push(format!("{name}: {before} instructions became {count}")),
            None => grown.push(format!("{name} is not in the baseline")),
        }
    }
    let gone = |name: &&String| !counts.instructions.contains_key(*name);
    let gone = baseline.instructions.keys().filter(gone);
    grown.extend(gone.map(|name| format!("{name} is in the baseline only")));
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: &[(&str, u64)]) -> Counts {
        let instructions = instructions.iter();
        Counts {
            rustc: vec!["rustc 1.0.0".to_owned()],
            instructions: instructions
                .map(|&(name, count)| (name.to_owned(), count))
                .collect(),
        }
    }

    #[test]
    fn more_than_three_in_a_hundred_is_growth() {
        let baseline = counts(&[("W1 a", 1000), ("W3 a", 1000)]);
        let within = counts(&[("W1 a", 1030), ("W3 a", 10)]);
        assert!(grown(&baseline, &within).is_empty());
        let beyond = counts(&[("W1 a", 1031), ("W3 a", 1000)]);
        assert_eq!(
            grown(&baseline, &beyond),
            ["W1 a: 1000 instructions became 1031"]
        );
    }

    #[test]
    fn what_is_not_compared_is_reported() {
        let baseline = counts(&[("W1 a", 1000), ("W3 a", 1000)]);
        let other = counts(&[("W1 a", 1000), ("W6 a", 1000)]);
        assert_eq!(
            grown(&baseline, &other),
            [
                "W6 a is not in the baseline",
                "W3 a is in the baseline only"
            ]
        );
    }

    #[test]
    fn the_sum_is_found() {
        assert_eq!(
            total("events: Ir\nfn=(1)\n\ntotals: 1055027\n"),
            Some(1_055_027)
        );
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn the_committed_baseline_has_every_count() {
        let baseline = read(&baseline_path()).unwrap();
        assert_eq!(
            baseline.instructions.len(),
            WORKLOADS.len() * CONTENDERS.len()
        );
    }
}
