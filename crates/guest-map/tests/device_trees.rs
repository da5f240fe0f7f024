//! What paths of a device tree stand for, and what the guest reaches besides.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{
    Answer, Folder, bus, config, device, guest_map, plan_json, riscv_tree, run, with_property,
    with_text,
};
use dtoolkit::model::DeviceTreeNode;
use serde_json::Value;

/// A bus with windows of 32-bit numbers: child, parent (two cells), size.
fn windowed(name: &str, windows: &[[u32; 3]], children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
    let cells = windows
        .iter()
        .flat_map(|&[child, parent, size]| [child, 0, parent, size]);
    let ranges: Vec<u8> = cells.flat_map(u32::to_be_bytes).collect();
    let mut node = with_property(DeviceTreeNode::new_unchecked(name), "ranges", &ranges);
    for cells in ["#address-cells", "#size-cells"] {
        node = with_property(node, cells, &1_u32.to_be_bytes());
    }
    for child in children {
        node.add_child(child);
    }
    node
}

fn narrow(name: &str, address: u32, size: u32) -> DeviceTreeNode {
    let reg = [address.to_be_bytes(), size.to_be_bytes()].concat();
    with_property(DeviceTreeNode::new_unchecked(name), "reg", &reg)
}

fn disabled(node: DeviceTreeNode) -> DeviceTreeNode {
    with_text(node, "status", "disabled")
}

fn plan(tree: Vec<DeviceTreeNode>, memory: &str, devices: &str) -> Value {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", riscv_tree(tree));
    plan_json(&config(memory, devices), &["--dtb", &tree])
}

/// Code and message of each warning.
fn warnings(plan: &Value) -> Vec<(&str, &str)> {
    let warnings = plan["warnings"].as_array().unwrap().iter();
    let pairs = warnings.map(|warning| {
        let text = |key: &str| warning[key].as_str().unwrap();
        (text("code"), text("message"))
    });
    pairs.collect()
}

fn regions(plan: &Value) -> Vec<(&str, &str)> {
    let regions = plan["regions"].as_array().unwrap().iter();
    let pairs = regions.map(|region| {
        let text = |key: &str| region[key].as_str().unwrap();
        (text("gpa"), text("size"))
    });
    pairs.collect()
}

/// A `reg` past its window, or in two windows, was dropped without a word.
#[test]
fn entries_past_their_window_are_clipped_or_joined() {
    let tree = || {
        let windows = [[0, 0x2000_0000, 0x2000], [0x2000, 0x2000_2000, 0x1000]];
        let joined = narrow("joined@1000", 0x1000, 0x2000);
        let clipped = narrow("clipped@2000", 0x2000, 0x4000);
        let outside = narrow("outside@8000", 0x8000, 0x1000);
        vec![windowed("bus", &windows, vec![joined, clipped, outside])]
    };
    let plan_of = |path: &str| plan(tree(), "", &format!("passthrough_devices = [[\"{path}\"]]"));
    let plan = plan_of("/bus");
    assert_eq!(regions(&plan), [("0x20001000", "0x2000")]);
    let found = warnings(&plan);
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        codes,
        ["device-tree-entry-clipped", "device-tree-entry-ignored"]
    );
    assert!(
        found[0].1.contains("/bus/clipped@2000") && found[0].1.contains("0x20002000-0x20002fff")
    );
    assert!(
        found[1]
            .1
            .contains("0x8000 is in no window of the ranges of /bus")
    );
    assert_eq!(warnings(&plan_of("/")), found);
}

/// An entry on a bus without windows is no fault of a whole tree.
#[test]
fn a_whole_tree_does_not_warn_where_a_bus_has_no_windows() {
    let tree = || {
        let chip = device("flash@0", &[(0, 0x1000)]);
        let mut controller = bus("spi@10000000", vec![chip]);
        controller.remove_property("ranges");
        let reg = [0x1000_0000_u64.to_be_bytes(), 0x1000_u64.to_be_bytes()].concat();
        vec![with_property(controller, "reg", &reg)]
    };
    let whole = plan(tree(), "", "passthrough_devices = [[\"/\"]]");
    assert_eq!(warnings(&whole), []);
    let named = plan(tree(), "", "passthrough_devices = [[\"/spi@10000000\"]]");
    let expected =
        "/spi@10000000/flash@0: reg[0]: 0x0 has no translation by the ranges of /spi@10000000";
    assert_eq!(warnings(&named), [("device-tree-entry-ignored", expected)]);
}

#[test]
fn every_path_that_passes_nothing_has_its_reason() {
    let off = disabled(bus(
        "off",
        vec![device("dma@10010000", &[(0x1001_0000, 0x1000)])],
    ));
    let parts = bus(
        "parts",
        vec![disabled(device("adc@10020000", &[(0x1002_0000, 0x1000)]))],
    );
    let mute = bus("mute", vec![]);
    let uart = device("uart@9000000", &[(0x900_0000, 0x1000)]);
    let rtc = device("rtc@9010000", &[(0x901_0000, 0x1000)]);
    let fuse = bus(
        "fuse",
        vec![device("fuse@9020000", &[(0x902_0000, 0x1000)])],
    );
    let far = windowed(
        "bus",
        &[[0, 0x2000_0000, 0x1000]],
        vec![narrow("far@4000", 0x4000, 0x10)],
    );
    let memory = with_text(
        device("memory@80000000", &[(0x8000_0000, 0x1000)]),
        "device_type",
        "memory",
    );
    let tree = vec![off, parts, mute, uart, rtc, fuse, far, memory];
    let devices = r#"
        passthrough_devices = [["/off/dma@10010000"], ["/parts"], ["/mute"], ["/uart@9000000"],
            ["/rtc@9010000"], ["/fuse/fuse@9020000"], ["/bus"], ["/memory@80000000"]]
        excluded_devices = [["/fuse"]]
        emu_devices = [["vuart", 0x0900_0000, 0x100, 0, 0xa, []]]"#;
    let plan = plan(tree, "[0x0901_0000, 0x1000, 7, 0]", devices);
    let found: Vec<_> = warnings(&plan)
        .into_iter()
        .filter(|(code, _)| *code == "nothing-passed-through")
        .map(|(_, message)| message.split_once(" passes nothing through: ").unwrap())
        .map(|(path, reason)| {
            (
                path.split_once(": ").unwrap().1.to_owned(),
                reason.to_owned(),
            )
        })
        .collect();
    let expected = [
        (
            "/off/dma@10010000",
            "/off is disabled (its status is not \"okay\")",
        ),
        (
            "/parts",
            "/parts/adc@10020000 is disabled (its status is not \"okay\")",
        ),
        ("/mute", "neither it nor anything below it has an address"),
        (
            "/uart@9000000",
            "vuart (emulated, guest 0x9000000-0x90000ff) takes the pages of /uart@9000000 \
             (0x9000000-0x9000fff)",
        ),
        (
            "/rtc@9010000",
            "memory_regions[0] (alloc, guest 0x9010000-0x9010fff) takes the pages of /rtc@9010000 \
             (0x9010000-0x9010fff)",
        ),
        ("/fuse/fuse@9020000", "/fuse is excluded"),
        (
            "/bus",
            "the address of /bus/far@4000 does not translate to an address of the CPU",
        ),
        ("/memory@80000000", "it is memory or a CPU, and no device"),
    ];
    let expected = expected.map(|(path, reason)| (path.to_owned(), reason.to_owned()));
    assert_eq!(found, expected);
}

/// Only pages that were passed through were looked at, and only devices outside PCI.
#[test]
fn excluded_devices_are_looked_for_in_every_page() {
    let tree = || {
        let devices = [
            0x900_0000_u64,
            0x901_0000,
            0x902_0000,
            0x903_0000,
            0x904_0000,
        ];
        let node = |address: u64| device(&format!("d@{address:x}"), &[(address, 0x1000)]);
        devices.map(node).to_vec()
    };
    let excluded = r#"
        excluded_devices = [["/d@9000000"], ["/d@9010000"], ["/d@9020000"], ["/d@9030000"], ["/d@9040000"]]
        passthrough_devices = [["window", 0x5000_0800, 0x0902_0800, 0x100]]"#;
    // Nobody knows where allocated memory will be.
    let memory =
        "[0x0900_0000, 0x1000, 7, 1], [0x0901_0000, 0x1000, 7, 2], [0x0903_0000, 0x1000, 7, 0]";

    let plan = plan(tree(), memory, excluded);
    let found: Vec<_> = warnings(&plan)
        .into_iter()
        .filter(|(code, _)| *code == "excluded-device-reachable")
        .map(|(_, message)| message.to_owned())
        .collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    for (message, [path, by]) in found.iter().zip([
        ["/d@9000000", "memory_regions[0]"],
        ["/d@9010000", "memory_regions[1]"],
        ["/d@9020000", "window"],
    ]) {
        assert!(message.contains(path) && message.contains(by), "{message}");
    }
}

/// 256 MiB of RAM at 0x80000000, 1 MiB of it reserved, and a device inside and outside.
fn host_with_memory() -> Vec<DeviceTreeNode> {
    let memory = device("memory@80000000", &[(0x8000_0000, 0x1000_0000)]);
    let secure = device("secure@80000000", &[(0x8000_0000, 0x10_0000)]);
    let mailbox = device("mailbox@88000000", &[(0x8800_0000, 0x1000)]);
    let uart = device("uart@9000000", &[(0x900_0000, 0x1000)]);
    vec![memory, bus("reserved-memory", vec![secure]), mailbox, uart]
}

fn on_host(memory: &str, devices: &str, options: &[&str]) -> Answer {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", riscv_tree(host_with_memory()));
    let options = [&["--dtb", &tree], options].concat();
    run("plan", &config(memory, devices), &options)
}

#[test]
fn ram_that_the_host_does_not_have() {
    let refused = |memory: &str, parts: &[&str]| {
        let lines = on_host(memory, "", &["--hypervisor", "0x8fe0_0000:0x20_0000"]).refused();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["vm.toml:5: memory_regions[0]"].iter().chain(parts) {
            assert!(lines[0].contains(part), "{part} is not in {lines:?}");
        }
    };
    let nowhere = "not-host-ram: the host has no RAM at 0x90000000-0x900fffff; its device tree has \
                   RAM at 0x80000000-0x8fffffff";
    refused(
        "[0x8fd0_0000, 0x40_0000, 7, 1]",
        &["over-hypervisor: host 0x8fe00000-0x8fffffff"],
    );
    refused("[0x9000_0000, 0x10_0000, 7, 1]", &[nowhere]);
    refused("[0x9000_0000, 0x10_0000, 7, 2]", &[nowhere]);
    refused(
        "[0x900_0000, 0x1000, 7, 1]",
        &["not-host-ram", "(/uart@9000000 is there)"],
    );
    on_host("[0x9000_0000, 0x10_0000, 7, 0]", "", &[]).accepted();
    on_host("[0x8fe0_0000, 0x20_0000, 7, 1]", "", &["--strict"]).accepted();
}

#[test]
fn ram_over_reserved_memory_or_a_device() {
    let memory = "[0x800f_f000, 0x2000, 7, 1], [0x8700_0000, 0x200_0000, 7, 2]";
    let answer = on_host(memory, "", &["--format", "json"]).json();
    let found = warnings(&answer);
    let codes: Vec<_> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(
        codes,
        ["over-reserved-memory", "ram-over-device"],
        "{found:?}"
    );
    assert!(found[0].1.contains("memory_regions[0]") && found[0].1.contains("/secure@80000000"));
    assert!(found[1].1.contains("memory_regions[1]") && found[1].1.contains("/mailbox@88000000"));
}

#[test]
fn passthrough_of_the_hosts_own_memory() {
    let pass = |row: &str| on_host("", &format!("passthrough_addresses = [{row}]"), &[]);
    pass("[0x8000_0000, 0x10_0000]").accepted();
    let lines = pass("[0x800f_0000, 0x2_0000]").refused();
    assert!(
        lines[0].contains("passthrough-over-ram: host 0x80100000-0x8010ffff"),
        "{lines:?}"
    );
    let paths = "passthrough_devices = [[\"/mailbox@88000000\"], [\"/uart@9000000\"]]";
    on_host("", paths, &[]).accepted();
    let lines = on_host("", paths, &["--hypervisor", "0x900_0000:1"]).refused();
    assert!(
        lines[0].contains("over-hypervisor: host 0x9000000-0x9000000"),
        "{lines:?}"
    );
    for wrong in ["1", "1:0", "1:0x1_0000_0000_0000_0000", "a:1"] {
        assert_eq!(
            on_host("", "", &["--hypervisor", wrong]).status,
            2,
            "{wrong}"
        );
    }
}

/// With a device tree and nothing else: it plans without a warning, also with a device.
#[test]
fn a_configuration_to_begin_with() {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", riscv_tree(host_with_memory()));
    let text = guest_map(&["init", "--dtb", &tree]).accepted();
    for part in [
        "RAM at 0x80000000-0x8fffffff, 256 MiB",
        "reserves 0x80000000-0x800fffff, 1 MiB",
        "#   { path = \"/uart@9000000\" },",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let options = ["--dtb", &tree, "--strict"];
    run("check", &text, &options).accepted();
    let fits = |line: &str| line.starts_with("#   /") || line.len() <= 80;
    assert!(text.lines().all(fits), "{text}");
    let with_device = text.replace("#   { path = \"/uart", "    { path = \"/uart");
    let plan = run("plan", &with_device, &options).accepted();
    assert!(plan.contains("/uart@9000000"), "{plan}");
    guest_map(&["init", "--dtb", "/nowhere/host.dtb"]).refused();
}
