//! Random configurations: what is planned is what is built, and what a slow count says.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test may fail it"
)]

mod common;

use common::{Folder, config, guest_map};
use proptest::prelude::*;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// An address near a boundary at which something changes.
fn address() -> impl Strategy<Value = u64> {
    let base = prop::sample::select(vec![
        0,
        2 * MIB,
        32 * MIB,
        GIB,
        4 * GIB,
        7 * GIB,
        600 * GIB,
        3 << 40,
    ]);
    let offset = prop::sample::select(vec![
        0,
        0x1000,
        0x3800,
        2 * MIB - 0x1000,
        2 * MIB,
        6 * MIB,
        GIB - 2 * MIB,
    ]);
    (base, offset).prop_map(|(base, offset)| base + offset)
}

fn size() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![
        1,
        0x800,
        0x1000,
        0x5000,
        2 * MIB,
        2 * MIB + 0x1000,
        5 * MIB,
        GIB,
        GIB + 2 * MIB,
    ])
}

/// The text of a configuration, which may be refused.
fn configuration() -> impl Strategy<Value = String> {
    let flags = prop::sample::select(vec![1, 3, 5, 7, 0xf, 0x17]);
    let memory = (address(), size(), flags, 0..3_u64);
    let memory = memory
        .prop_map(|(gpa, size, flags, kind)| format!("[{gpa:#x}, {size:#x}, {flags}, {kind}]"));
    let distance = prop::sample::select(vec![0, 0x1000, 2 * MIB, GIB]);
    let device = (address(), distance, size());
    let device = device.prop_map(|(gpa, distance, size)| {
        format!("[\"d\", {gpa:#x}, {:#x}, {size:#x}]", gpa + distance)
    });
    let emulated = (address(), 1..0x2000_u64);
    let emulated =
        emulated.prop_map(|(gpa, size)| format!("[\"e\", {gpa:#x}, {size:#x}, 0, 10, []]"));
    let rows = (
        prop::collection::vec(memory, 0..4),
        prop::collection::vec(device, 0..4),
        prop::collection::vec(emulated, 0..2),
    );
    rows.prop_map(|(memory, devices, emulated)| {
        let devices = devices.join(", ");
        let emulated = emulated.join(", ");
        let devices = format!("passthrough_devices = [{devices}]\nemu_devices = [{emulated}]");
        config(&memory.join(", "), &devices)
    })
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// Leaves of 4 KiB, 2 MiB and 1 GiB, address by address.
fn count_leaves(regions: &[Value]) -> [u64; 3] {
    let mut leaves = [0; 3];
    for region in regions {
        let host = region["hpa"].is_string().then(|| number(&region["hpa"]));
        let (start, size) = (number(&region["gpa"]), number(&region["size"]));
        let mut done = 0;
        while done < size {
            let fits = |leaf: u64| {
                let host = host.unwrap_or(if leaf > 2 * MIB { 0x1000 } else { start });
                done + leaf <= size && (start + done) % leaf == 0 && (host + done) % leaf == 0
            };
            let (index, leaf) = [(2, GIB), (1, 2 * MIB), (0, 0x1000)]
                .into_iter()
                .find(|(_, leaf)| fits(*leaf))
                .unwrap();
            leaves[index] += 1;
            done += leaf;
        }
    }
    leaves
}

/// Host, flags and kind of a page, by what is printed of them; the host page where it is known.
type Page = (Option<u64>, String, String);

/// What a plan has at the page `at`.
fn planned_page(plan: &Value, at: u64) -> Option<Page> {
    let mut regions = plan["regions"].as_array().unwrap().iter();
    let region = regions.find(|region| {
        let start = number(&region["gpa"]);
        (start..start + number(&region["size"])).contains(&at)
    })?;
    let flags = region["flags"].as_array().unwrap();
    let has = |name: &str, letter: char| {
        if flags.contains(&name.into()) {
            letter
        } else {
            '-'
        }
    };
    let mut letters: String = [
        ("READ", 'r'),
        ("WRITE", 'w'),
        ("EXECUTE", 'x'),
        ("USER", 'u'),
    ]
    .map(|(name, letter)| has(name, letter))
    .iter()
    .collect();
    if has("DEVICE", 'd') == 'd' {
        letters += " device";
    }
    let host = region["hpa"]
        .is_string()
        .then(|| number(&region["hpa"]) + at - number(&region["gpa"]));
    Some((host, letters, region["kind"].as_str().unwrap().into()))
}

/// Does at the page `at` what the lines of a diff say.
fn apply(page: Option<Page>, diff: &str, at: u64) -> Option<Page> {
    diff.lines()
        .filter(|line| *line != "the maps are equal")
        .fold(page, |page, line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, last) = words[1].split_once('-').unwrap();
            let parse =
                |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
            if !(parse(start)..=parse(last)).contains(&at) {
                return page;
            }
            match (words[0], &words[2..]) {
                ("unmap", []) => {
                    assert!(page.is_some());
                    None
                }
                ("protect", flags) => page.map(|(host, _, kind)| (host, flags.join(" "), kind)),
                ("map", rest) => {
                    assert!(page.is_none());
                    let (host, rest) = match rest {
                        ["=", "guest", rest @ ..] => (Some(at), rest),
                        ["allocated", rest @ ..] => (None, rest),
                        [host, rest @ ..] => (Some(parse(host) + at - parse(start)), rest),
                        [] => panic!("{line}"),
                    };
                    let (kind, flags) = rest.split_last().unwrap();
                    Some((host, flags.join(" "), (*kind).into()))
                }
                _ => panic!("{line}"),
            }
        })
}

/// Each architecture, and AMD's tables beside Intel's.
const TARGETS: [(&str, &str); 5] = [
    ("riscv64", "auto"),
    ("aarch64", "auto"),
    ("x86_64", "auto"),
    ("x86_64", "npt4"),
    ("x86_64", "npt5"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_diff_leads_from_one_map_to_the_other(one in configuration(), other in configuration()) {
        let folder = Folder::new();
        let files = [folder.file("one.toml", one), folder.file("other.toml", other)];
        let plans = files.each_ref().map(|file| {
            guest_map(&["plan", file, "--arch", "x86_64", "--format", "json"])
        });
        let diff = guest_map(&["diff", &files[0], &files[1], "--arch", "x86_64"]);
        if plans.iter().any(|plan| plan.status == 1) {
            prop_assert_eq!(diff.status, 1);
            return Ok(());
        }
        let diff = diff.accepted();
        let plans = plans.map(|plan| plan.json());
        let regions = plans.iter().flat_map(|plan| plan["regions"].as_array().unwrap());
        for region in regions {
            let (start, size) = (number(&region["gpa"]), number(&region["size"]));
            for at in [start.saturating_sub(0x1000), start, start + size / 0x2000 * 0x1000, start + size - 0x1000, start + size] {
                let page = apply(planned_page(&plans[0], at), &diff, at);
                prop_assert_eq!(page, planned_page(&plans[1], at), "{:#x}: {}", at, diff);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_planned_is_built(text in configuration(), target in prop::sample::select(TARGETS.to_vec())) {
        let folder = Folder::new();
        let file = folder.file("vm.toml", &text);
        let (arch, mode) = target;
        let plan = guest_map(&["plan", &file, "--arch", arch, "--mode", mode, "--format", "json"]);
        let check = guest_map(&["check", &file, "--arch", arch, "--mode", mode]);
        prop_assert_eq!(&plan.stderr, &check.stderr);
        prop_assert_eq!(plan.status, check.status);
        if plan.status == 1 {
            prop_assert!(plan.stdout.is_empty() && check.stdout.is_empty());
            return Ok(());
        }
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        let regions = plan["regions"].as_array().unwrap();
        let mut end = 0;
        for region in regions {
            prop_assert!(number(&region["gpa"]) >= end);
            end = number(&region["gpa"]) + number(&region["size"]);
        }
        let leaves = &plan["tables"]["leaves"];
        let planned = ["4K", "2M", "1G"].map(|size| leaves[size].as_u64().unwrap());
        prop_assert_eq!(planned, count_leaves(regions));
    }
}
