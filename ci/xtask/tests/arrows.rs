//! The direction of the dependencies: which crate of the workspace may build on which, and what each may take
//! from outside.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What a library may depend on in normal and build dependencies.
struct Row {
    library: &'static str,
    ours: &'static [&'static str],
    external: &'static [&'static str],
    /// From outside as well, but only by a feature.
    optional: &'static [&'static str],
}

const fn row(
    library: &'static str,
    ours: &'static [&'static str],
    external: &'static [&'static str],
) -> Row {
    Row {
        library,
        ours,
        external,
        optional: &[],
    }
}

impl Row {
    const fn or_by_feature(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }
}

const VOCABULARY: &[&str] = &["guest-addr", "mapping-flags"];
const BACKEND: &[&str] = &["nested-page-table", "guest-addr", "mapping-flags"];

const LIBRARIES: &[Row] = &[
    row("guest-addr", &[], &[]).or_by_feature(&["memory_addr"]),
    row("mapping-flags", &[], &["bitflags"]).or_by_feature(&["page_table_entry"]),
    row("nested-page-table", VOCABULARY, &["arrayvec"]),
    row("region-planner", VOCABULARY, &[]),
    row("device-tree-regions", VOCABULARY, &[]),
    row("reference-mmu", &["guest-addr"], &[]),
    row("nested-paging-riscv64", BACKEND, &[]),
    row("nested-paging-aarch64", BACKEND, &[]),
    row("nested-paging-x86-64", BACKEND, &[]),
    row(
        "guest-vm",
        &[
            "nested-page-table",
            "region-planner",
            "guest-addr",
            "mapping-flags",
        ],
        &["arrayvec"],
    )
    .or_by_feature(&["axerrno", "log", "page_table_multiarch", "zerocopy"]),
    row("host-services", BACKEND, &[]),
    row(
        "simulated-host",
        &[
            "guest-vm",
            "nested-page-table",
            "region-planner",
            "device-tree-regions",
            "guest-addr",
            "mapping-flags",
        ],
        &[],
    ),
    row(
        "nested-paging",
        &[
            "guest-addr",
            "mapping-flags",
            "nested-page-table",
            "region-planner",
            "device-tree-regions",
            "reference-mmu",
            "nested-paging-riscv64",
            "nested-paging-aarch64",
            "nested-paging-x86-64",
            "guest-vm",
            "host-services",
            "simulated-host",
        ],
        &["cfg-if"],
    ),
    row(
        "nested-paging-arceos",
        &[
            "guest-addr",
            "mapping-flags",
            "nested-page-table",
            "nested-paging-riscv64",
            "nested-paging-aarch64",
            "nested-paging-x86-64",
        ],
        &[
            "axaddrspace",
            "axvm-types",
            "ax-memory-addr",
            "page-table-generic",
        ],
    ),
];

/// Crates that may depend on anything and that nobody depends on, not even in tests.
const TOOLS: &[&str] = &[
    "guest-map",
    "benchmarks",
    "code-size",
    "fuzz-targets",
    "test-hypervisor-riscv64",
    "test-hypervisor-aarch64",
    "test-hypervisor-x86-64",
    "xtask",
];

/// What the test hypervisors share: it may depend on anything, and they alone on it.
const KIT: &str = "test-hypervisor-kit";

/// One dependency as its manifest declares it.
#[derive(Clone)]
struct Arrow {
    from: String,
    to: String,
    /// The dependency is a crate of this repository.
    ours: bool,
    /// Only tests, examples and benchmarks see it.
    dev: bool,
    optional: bool,
}

/// The crates and the arrows that the table does not allow, each as a sentence.
fn violations(crates: &[String], arrows: &[Arrow]) -> Vec<String> {
    let strangers = crates
        .iter()
        .filter(|name| find(name).is_none() && !is_tool(name) && *name != KIT)
        .map(|name| format!("{name} is not in the table of tests/arrows.rs: add it deliberately"));
    strangers
        .chain(arrows.iter().filter_map(violation))
        .collect()
}

fn violation(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, .. } = arrow;
    if is_tool(to) && arrow.ours {
        return Some(format!("{from} depends on {to}, which is a tool"));
    }
    if to == KIT && arrow.ours && !from.starts_with("test-hypervisor-") {
        return Some(format!(
            "{from} depends on {KIT}, which is for the test hypervisors"
        ));
    }
    let row = find(from)?;
    let to = to.as_str();
    let allowed = match arrow.ours {
        _ if arrow.dev => true,
        true => row.ours.contains(&to),
        false => row.external.contains(&to) || arrow.optional && row.optional.contains(&to),
    };
    (!allowed).then(|| format!("{from} may not depend on {to}"))
}

fn find(library: &str) -> Option<&'static Row> {
    LIBRARIES.iter().find(|row| row.library == library)
}

fn is_tool(name: &str) -> bool {
    TOOLS.contains(&name)
}

/// The crates of the workspace and all their dependencies, for every target and feature.
fn workspace() -> Result<(Vec<String>, Vec<Arrow>), cargo_metadata::Error> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let packages = metadata.workspace_packages();
    let crates: Vec<String> = packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let arrows = packages
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .map(move |dependency| (package, dependency))
        })
        .map(|(package, dependency)| Arrow {
            from: package.name.to_string(),
            to: dependency.name.clone(),
            ours: dependency.path.is_some(),
            dev: dependency.kind == DependencyKind::Development,
            optional: dependency.optional,
        })
        .collect();
    Ok((crates, arrows))
}

#[test]
fn every_dependency_is_in_the_table() {
    let (crates, arrows) = workspace().unwrap();
    assert!(
        crates.len() > 10 && arrows.len() > 10,
        "cargo metadata names too few crates"
    );
    let violations = violations(&crates, &arrows);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn the_table_has_no_cycle_and_names_each_library_once() {
    let mut below = BTreeSet::new();
    for row in LIBRARIES {
        let known = row.ours.iter().all(|name| below.contains(name));
        assert!(
            known,
            "{} must stand below all it may depend on",
            row.library
        );
        assert!(
            below.insert(row.library),
            "{} stands in the table twice",
            row.library
        );
        assert!(
            !is_tool(row.library),
            "{} is a library and a tool",
            row.library
        );
    }
}

/// `from` depends on `to`, a crate of ours, by a normal dependency.
fn arrow(from: &str, to: &str) -> Arrow {
    Arrow {
        from: from.into(),
        to: to.into(),
        ours: true,
        dev: false,
        optional: false,
    }
}

fn is_forbidden(arrow: Arrow) -> bool {
    !violations(&[], &[arrow]).is_empty()
}

#[test]
fn a_forbidden_arrow_is_reported() {
    assert_eq!(
        violations(
            &["guest-addr".into()],
            &[arrow("guest-addr", "mapping-flags")]
        ),
        ["guest-addr may not depend on mapping-flags"]
    );
    assert!(is_forbidden(arrow("guest-vm", "nested-paging-riscv64")));
    assert!(is_forbidden(arrow(
        "nested-page-table",
        "nested-paging-x86-64"
    )));
    assert!(is_forbidden(arrow("reference-mmu", "nested-page-table")));
    assert!(!is_forbidden(arrow(
        "nested-paging",
        "nested-paging-riscv64"
    )));
}

#[test]
fn an_external_crate_that_is_not_listed_is_reported() {
    let external = |from, to| Arrow {
        ours: false,
        ..arrow(from, to)
    };
    assert!(is_forbidden(external("nested-page-table", "bitflags")));
    assert!(!is_forbidden(external("mapping-flags", "bitflags")));
    assert!(!is_forbidden(external("guest-map", "clap")));
    // A stranger does not pass for the library whose name it has.
    assert!(is_forbidden(external("guest-vm", "guest-addr")));
}

#[test]
fn a_dependency_by_feature_must_be_optional() {
    let always = Arrow {
        ours: false,
        ..arrow("guest-vm", "axerrno")
    };
    assert!(!is_forbidden(Arrow {
        optional: true,
        ..always.clone()
    }));
    assert!(is_forbidden(always));
}

#[test]
fn tests_may_use_any_library_but_no_tool() {
    let in_tests = |from, to| Arrow {
        dev: true,
        ..arrow(from, to)
    };
    assert!(!is_forbidden(in_tests("guest-vm", "simulated-host")));
    assert!(is_forbidden(in_tests("guest-vm", "guest-map")));
    assert!(is_forbidden(arrow("guest-map", "xtask")));
}

#[test]
fn the_kit_is_for_the_test_hypervisors() {
    assert!(!is_forbidden(arrow("test-hypervisor-riscv64", KIT)));
    assert!(is_forbidden(arrow("xtask", KIT)));
    assert!(is_forbidden(Arrow {
        dev: true,
        ..arrow("guest-vm", KIT)
    }));
}

#[test]
fn a_crate_outside_the_table_is_reported() {
    let reported = violations(&["guest-addr".into(), "guest-clock".into()], &[]);
    assert_eq!(reported.len(), 1);
    assert!(reported[0].starts_with("guest-clock is not in the table"));
}
