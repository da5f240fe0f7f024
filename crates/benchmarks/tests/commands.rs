//! The commands, from the outside. No test looks at a time.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const OURS: [&str; 3] = [
    "nested-page-table/ept",
    "nested-page-table/stage2",
    "nested-page-table/g-stage",
];

fn benchmarks(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_benchmarks"));
    program.args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = benchmarks(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Times `workloads` once with all contenders: what they leave is verified before.
fn time(workloads: &str) -> Vec<Value> {
    let path = file(workloads);
    let path = path.to_str().unwrap();
    let options = ["--rounds", "1", "--profile", "test", "--output", path];
    let silent = succeed(&[&["time", "--workloads", workloads], options.as_slice()].concat());
    assert_eq!(silent, "");
    serde_json::from_str(&succeed(&["report", "--json", path])).unwrap()
}

fn contenders(rows: &[Value], workload: &str) -> BTreeSet<String> {
    let rows = rows.iter().filter(|row| row["workload"] == workload);
    rows.map(|row| row["contender"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_table_does_what_it_is_timed_for() {
    let rows = time("W1,W2a,W2b,W3,W4,W7");
    for workload in ["W1", "W2a", "W2b", "W3", "W4", "W7"] {
        let found = contenders(&rows, workload);
        assert_eq!(found.len(), 10, "{workload}: {found:?}");
        assert!(found.contains("floor") && found.contains("page_table_multiarch"));
        assert!(found.contains("range walker"));
        assert!(OURS.iter().all(|name| found.contains(*name)));
    }
}

#[test]
fn those_that_cannot_split_are_not_timed_but_named() {
    let rows = time("W8");
    let found = contenders(&rows, "W8");
    assert!(OURS.iter().all(|name| found.contains(*name)));
    assert!(!found.contains("x86_64"));
    let path = file("W8");
    let text = succeed(&["report", path.to_str().unwrap()]);
    assert!(
        text.contains("- x86_64 cannot do W8: no huge leaf is split.\n"),
        "{text}"
    );
}

#[test]
fn json_has_the_documented_keys_and_a_whole_machine_has_no_ratio() {
    let rows = time("W9,W11");
    for row in &rows {
        // In whatever order the reader of JSON keeps them: that depends on the features of the whole workspace.
        let keys: BTreeSet<&str> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = ["contender", "ns", "profile", "ratio", "workload"];
        assert_eq!(keys, BTreeSet::from(expected));
        assert_eq!(row["profile"], "test");
        assert!(row["ns"].as_f64().unwrap() > 0.0);
        assert_eq!(row["ratio"].is_null(), row["workload"] == "W9");
    }
    assert_eq!(contenders(&rows, "W9").len(), 1);
    assert_eq!(contenders(&rows, "W11").len(), 2);
}

#[test]
fn a_report_draws_a_plot() {
    let rows = time("W2a");
    assert!(!rows.is_empty());
    let (results, plot) = (file("W2a"), file("plot.svg"));
    let (results, plot) = (results.to_str().unwrap(), plot.to_str().unwrap());
    succeed(&["report", results, "--plot", plot]);
    let picture = std::fs::read_to_string(plot).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("nested-page-table/ept (test): "));
}

/// A table that maps more than it has to, or invalidates what is fresh, is found here.
#[test]
fn counts_are_what_the_documentation_promises() {
    let text = succeed(&["count"]);
    assert!(
        text.contains("| W1 | 262144 | none | none | 1 HFENCE.GVMA VMID |"),
        "{text}"
    );
    assert!(
        text.contains("| W2a | 4096 | none | none | 64 HFENCE.GVMA VMID |"),
        "{text}"
    );
    assert!(
        text.contains("| W2b | 131072 | none | none | 4 HFENCE.GVMA VMID |"),
        "{text}"
    );
    assert!(
        text.contains("| W3 | 262144 | 1 INVEPT single-context | "),
        "{text}"
    );
    let ours = text
        .lines()
        .filter(|line| line.contains("| nested-page-table/") && line.contains(" of "));
    let mut counted = 0;
    for line in ours {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        // After W3, in the fifth column, one table is left: the range did not cover it.
        for cell in [&cells[2..6], &cells[7..8]].concat() {
            let (is, least) = cell.split_once(" of ").unwrap();
            assert_eq!(is, least, "{line}");
            counted += 1;
        }
    }
    assert_eq!(counted, 15);
}

#[test]
fn a_workload_that_does_not_exist_is_refused() {
    let output = benchmarks(&["time", "--workloads", "W1,W2"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("W2 is none of W1, W2a"), "{errors}");
}

#[test]
fn instructions_are_for_the_tables_of_this_project() {
    let workloads = ["W6", "protect-less/2M/x16/random/RWX/in-64G/full"];
    let run = |workloads: &str, contender| {
        let workloads = ["instructions", "--workloads", workloads];
        benchmarks(&[workloads.as_slice(), &["--contender", contender]].concat())
    };
    assert!(run(&workloads.join(","), OURS[0]).status.success());
    assert!(!run(workloads[1], "x86_64").status.success());
    assert!(!run("W2a", OURS[0]).status.success());
}

/// Every cell is verified before it is timed: a table that does something else fails here.
#[test]
fn cells_of_every_kind_are_what_they_should_be() {
    let (results, picture) = (file("envelope.json"), file("envelope.svg"));
    let files = [results.to_str().unwrap(), picture.to_str().unwrap()];
    let output = ["--output", files[0], "--heat-map", files[1]];
    let cells = [
        "map+2M+alternating+off-by-one+half",
        "map+4K+x16+random+RWX+in-64G",
        "map+1G+x4+RW",
        "unmap+4K+x64+half",
        "unmap-report+2M+xall",
        "protect-less+2M+x16+RWX",
        "protect-more+4K+xall+alternating",
        "translate+half",
        "visit+4K+x512+off-by-one",
    ];
    let cells = ["envelope", "--rounds", "1", "--only", &cells.join(",")];
    let text = succeed(&[cells.as_slice(), &output].concat());
    assert!(text.contains("## behind a published peer: "), "{text}");
    let cells: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(&results).unwrap()).unwrap();
    assert!(cells.len() > 50);
    for cell in &cells {
        let times = cell["times"].as_array().unwrap();
        let ours = times.iter().filter(|time| time["kind"] == "ours");
        assert_eq!(ours.count(), 3, "{cell}");
        assert!(times.iter().any(|time| time["kind"] == "floor"), "{cell}");
        assert!(times.iter().any(|time| time["kind"] == "live"), "{cell}");
    }
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.matches("<rect").count() > cells.len());
}

#[test]
fn the_envelope_covers_every_operation_and_a_cell_that_does_not_exist_is_refused() {
    let names = succeed(&["envelope", "--list"]);
    assert!(names.lines().count() > 1000);
    for operation in [
        "map",
        "unmap",
        "unmap-report",
        "protect-less",
        "protect-more",
        "translate",
        "visit",
    ] {
        assert!(names.contains(&format!("{operation}/4K/")), "{operation}");
    }
    assert!(
        !benchmarks(&["envelope", "--only", "no-such-part"])
            .status
            .success()
    );
}
