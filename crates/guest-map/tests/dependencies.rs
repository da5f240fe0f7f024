//! What passed-through devices need besides their own regions.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{Folder, config, device, guest_map, riscv_tree, with_property};
use dtoolkit::model::DeviceTreeNode;
use serde_json::{Value, json};

fn cells(node: DeviceTreeNode, name: &str, values: &[u32]) -> DeviceTreeNode {
    let bytes: Vec<u8> = values.iter().flat_map(|cell| cell.to_be_bytes()).collect();
    with_property(node, name, &bytes)
}

fn reserved_memory(children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("reserved-memory");
    for (name, value) in [("#address-cells", 2), ("#size-cells", 2)] {
        node = cells(node, name, &[value]);
    }
    node = with_property(node, "ranges", &[]);
    children.into_iter().for_each(|child| node.add_child(child));
    node
}

/// A GPU with two pieces of reserved memory, a clock and an interrupt controller.
fn board() -> Vec<u8> {
    let pools = vec![
        cells(
            device("gpu@90000000", &[(0x9000_0000, 0x2000)]),
            "phandle",
            &[1],
        ),
        cells(DeviceTreeNode::new_unchecked("pool"), "phandle", &[2]),
    ];
    let clock = cells(DeviceTreeNode::new_unchecked("oscillator"), "phandle", &[3]);
    let clock = cells(clock, "#clock-cells", &[0]);
    let plic = cells(
        device("plic@c000000", &[(0xc00_0000, 0x1000)]),
        "phandle",
        &[4],
    );
    let gpu = device("gpu@20000000", &[(0x2000_0000, 0x1000)]);
    let gpu = cells(gpu, "memory-region", &[1, 2, 99]);
    let gpu = cells(gpu, "clocks", &[3, 3]);
    let gpu = cells(cells(gpu, "interrupts", &[5]), "interrupt-parent", &[4]);
    riscv_tree(vec![reserved_memory(pools), clock, plic, gpu])
}

const GPU: &str = r#"passthrough_devices = [["/gpu@20000000"]]"#;

fn plan(memory: &str, devices: &str, format: &str) -> String {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", board());
    let text = folder.file("vm.toml", config(memory, devices));
    let options = [
        "--explain-dependencies",
        "--warnings",
        "all",
        "--format",
        format,
    ];
    let arguments = [&["plan", &text, "--dtb", &tree], &options[..]].concat();
    guest_map(&arguments).accepted()
}

fn json_of(memory: &str, devices: &str) -> Value {
    serde_json::from_str(&plan(memory, devices, "json")).unwrap()
}

/// The messages about reserved memory.
fn warnings(plan: &Value) -> Vec<&str> {
    let warnings = plan["warnings"].as_array().unwrap().iter();
    let missing = warnings.filter(|warning| warning["code"] == "dependency-not-passed");
    missing
        .map(|warning| warning["message"].as_str().unwrap())
        .collect()
}

#[test]
fn reserved_memory_that_the_machine_does_not_reach_is_a_warning() {
    let plan = json_of("", GPU);
    let messages = warnings(&plan);
    assert_eq!(messages.len(), 3, "{messages:?}");
    for (message, parts) in messages.iter().zip([
        ["/reserved-memory/gpu@90000000", "0x90000000-0x90001fff"],
        ["/reserved-memory/pool", "no address"],
        ["phandle 0x63", "no node"],
    ]) {
        assert!(message.starts_with("/gpu@20000000 needs "), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn reserved_memory_that_the_machine_has_is_no_warning() {
    for memory in [
        "[0x9000_0000, 0x2000, 0x7, 2]",
        "[0x9000_0000, 0x1000, 0x7, 2], [0x9000_1000, 0x1000, 0x3, 2]",
    ] {
        let plan = json_of(memory, GPU);
        assert_eq!(warnings(&plan).len(), 2);
        assert_eq!(plan["dependencies"][0]["supplied"], "yes");
    }
    // A part of it is not enough.
    let plan = json_of("[0x9000_0000, 0x1000, 0x7, 2]", GPU);
    assert_eq!(warnings(&plan).len(), 3);
    assert_eq!(warnings(&json_of("", "")), [""; 0]);
}

#[test]
fn every_dependency_is_listed_with_its_supply() {
    let dependency = |property: &str, target: &str, supplied: &str| json!({"device": "/gpu@20000000", "property": property, "target": target, "supplied": supplied});
    let expected = |plic| {
        json!([
            dependency("memory-region", "/reserved-memory/gpu@90000000", "no"),
            dependency("memory-region", "/reserved-memory/pool", "nothing-to-pass"),
            dependency("memory-region", "phandle 0x63", "unknown"),
            dependency("clocks", "/oscillator", "nothing-to-pass"),
            dependency("interrupt-parent", "/plic@c000000", plic),
        ])
    };
    assert_eq!(json_of("", GPU)["dependencies"], expected("no"));
    let both = r#"passthrough_devices = [["/gpu@20000000"], ["/plic@c000000"]]"#;
    assert_eq!(json_of("", both)["dependencies"], expected("yes"));
}

#[test]
fn people_read_them_within_80_columns() {
    let text = plan("", GPU, "table");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let (_, list) = text
        .split_once("what passed-through devices need besides\n")
        .unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    assert_eq!(
        list,
        "  /gpu@20000000
    memory-region    /reserved-memory/gpu@90000000: not passed through
    memory-region    /reserved-memory/pool: has no address
    memory-region    phandle 0x63: is not in the device tree
    clocks           /oscillator: has no address
    interrupt-parent /plic@c000000: not passed through"
    );
}

#[test]
fn a_plan_without_the_option_has_no_list() {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", board());
    let text = folder.file("vm.toml", config("", GPU));
    let plan = guest_map(&["plan", &text, "--dtb", &tree, "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.accepted()).unwrap();
    assert!(plan.get("dependencies").is_none());
}
