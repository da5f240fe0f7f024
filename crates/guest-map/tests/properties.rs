//! Random configurations: what is planned is what is built, and what a slow count says.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_planned_is_built(text in configuration(), arch in prop::sample::select(vec!["riscv64", "aarch64", "x86_64"])) {
        let folder = Folder::new();
        let file = folder.file("vm.toml", &text);
        let plan = guest_map(&["plan", &file, "--arch", arch, "--format", "json"]);
        let check = guest_map(&["check", &file, "--arch", arch]);
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
