//! The two formats that are read, and what tells them apart.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{Answer, Folder, bus, config, device, plan_json, riscv_tree, run};
use serde_json::{Value, json};

const UART: &str = "/soc/uart@10000000";

/// A configuration as axvmconfig 0.8 has them, with more keys of `[base]` and this `[devices]`.
fn axvmconfig(base: &str, devices: &str) -> String {
    format!(
        "[base]\nid = 1\nname = \"vm\"\n{base}\n[kernel]\nentry_point = 0x8020_0000\n\
         enable_bios = false\nboot_protocol = \"direct\"\n\
         memory_regions = [[0x8000_0000, 0x100_0000, 7, 1]]\n[devices]\n{devices}\n"
    )
}

fn tree() -> Vec<u8> {
    let uart = device("uart@10000000", &[(0x1000_0000, 0x1000)]);
    let rtc = device("rtc@10010000", &[(0x1001_0000, 0x1000)]);
    riscv_tree(vec![bus("soc", vec![uart, rtc])])
}

fn on_tree(text: &str, options: &[&str]) -> Answer {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", tree());
    run("plan", text, &[&["--dtb", &tree], options].concat())
}

fn sources(text: &str) -> Vec<Value> {
    let plan = on_tree(text, &["--format", "json", "--strict"]).json();
    let regions = plan["regions"].as_array().unwrap().iter();
    regions.map(|region| region["sources"][0].clone()).collect()
}

#[test]
fn the_guest_type_and_paths_decide_what_is_passed_through() {
    let passthrough = "guest_type = \"passthrough\"";
    let all = [
        "/soc/uart@10000000",
        "/soc/rtc@10010000",
        "memory_regions[0]",
    ];
    assert_eq!(
        sources(&axvmconfig(passthrough, "passthrough = []\ndisabled = []")),
        all
    );
    assert_eq!(sources(&axvmconfig(passthrough, "")), all);
    let without = "disabled = [{ path = \"/soc/rtc@10010000\" }]";
    assert_eq!(sources(&axvmconfig(passthrough, without)), [all[0], all[2]]);
    let as_tables = "[[devices.disabled]]\npath = \"/soc/rtc@10010000\"";
    assert_eq!(
        sources(&axvmconfig(passthrough, as_tables)),
        [all[0], all[2]]
    );
    let virtualized = "guest_type = \"virtualized\"";
    assert_eq!(sources(&axvmconfig(virtualized, "")), [all[2]]);
    let one = format!("passthrough = [{{ \"path\" = \"{UART}\" }},]");
    assert_eq!(sources(&axvmconfig(virtualized, &one)), [all[0], all[2]]);
    assert_eq!(sources(&axvmconfig("", &one)), [all[0], all[2]]);
}

fn refuses(text: &str, parts: &[&str]) {
    let lines = on_tree(text, &[]).refused();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part} is not in {lines:#?}");
    }
}

#[test]
fn references_that_are_none() {
    let passthrough = "guest_type = \"passthrough\"";
    refuses(
        &axvmconfig("guest_type = \"all\"", ""),
        &["vm.toml:4", "guest_type is unknown"],
    );
    for (reference, part) in [
        (
            "{ path = \"/\" }",
            "passthrough[0] is the whole tree: write [base] guest_type",
        ),
        ("\"/soc\"", "passthrough[0] is \"/soc\": write { path"),
        ("{ node = \"/soc\" }", "write { path"),
        ("{ path = \"/soc\", irq = 1 }", "write { path"),
        ("{ path.of = \"/soc\" }", "write { path"),
        ("{ path = \"/socks\" }", "near it are /soc"),
    ] {
        refuses(
            &axvmconfig("", &format!("passthrough = [{reference}]")),
            &[part],
        );
    }
    refuses(
        &axvmconfig(passthrough, "disabled = [{ path = \"/\" }]"),
        &["disabled[0] is the whole tree"],
    );
    let both = "passthrough = [{ path = \"/soc\" }]\ndisabled = [{ path = \"/soc\" }]";
    refuses(
        &axvmconfig("", both),
        &["passthrough[0]: \"/soc\" is in [devices] disabled too"],
    );
    refuses(
        &axvmconfig("", "[[devices.passthrough]]\nnode = 1"),
        &["passthrough[0]"],
    );
}

#[test]
fn virtual_devices_are_listed_without_an_address() {
    let tables = "[[devices.virtual]]\nid = \"blk0\"\nmodel = \"virtio-blk\"\npath = \"disk.img\"";
    let inline = "virtual = [{ id = \"blk0\", model = \"virtio-blk\", queues = [1, 2] }]";
    for devices in [tables, inline] {
        let text = axvmconfig("", devices);
        let plan = plan_json(&text, &["--arch", "riscv64"]);
        let warning = &plan["warnings"][0];
        assert_eq!(
            (&warning["code"], &warning["sources"]),
            (&json!("virtual-device-unplaced"), &json!(["blk0"]))
        );
        let table = run("plan", &text, &["--arch", "riscv64"]).accepted();
        assert!(table.contains("blk0 (virtio-blk)"), "{table}");
    }
    refuses(
        &axvmconfig("", "virtual = [{ id = \"a\" }]"),
        &["virtual[0] has no string id or model"],
    );
    let twice = "virtual = [{ id = \"a\", model = \"m\" }, { id = \"a\", model = \"n\" }]";
    refuses(
        &axvmconfig("", twice),
        &["virtual[1]: there is another virtual device \"a\""],
    );
    let placed = "virtual = [{ id = \"a\", model = \"m\", base_gpa = 0x1000 }]";
    refuses(&axvmconfig("", placed), &["virtual[0] \"a\": base_gpa"]);
}

/// Users were told to remove their list of exclusions.
#[test]
fn keys_of_both_formats_are_told_apart() {
    let mixed = axvmconfig(
        "guest_type = \"passthrough\"",
        "excluded_devices = [[\"/soc\"]]",
    );
    refuses(
        &mixed,
        &[
            "vm.toml:4",
            "[devices] excluded_devices belong to the classic format",
            "[base] guest_type to that of axvmconfig 0.8",
        ],
    );
    let machine =
        "[machine]\nmode = \"passthrough\"\n[base]\nid = 1\n[[memory.regions]]\nguest_base = 1";
    refuses(
        machine,
        &[
            "vm.toml:1",
            "[machine] and [[memory.regions]]",
            "axvmconfig 0.8",
        ],
    );
    let unknown = config("", "address_space_policy = \"passthrough\"");
    let lines = on_tree(&unknown, &[]).refused();
    assert!(!lines[0].contains("remove it"), "{lines:?}");
}

/// PCs have no device tree, and the hypervisor finds their devices without one.
#[test]
fn a_whole_machine_without_a_device_tree() {
    let text = axvmconfig("guest_type = \"passthrough\"", "");
    let plan = plan_json(&text, &["--arch", "x86_64"]);
    assert_eq!(plan["warnings"][0]["code"], json!("nothing-passed-through"));
    let lines = run("plan", &text, &["--arch", "aarch64"]).refused();
    assert!(
        lines[0].contains("guest_type: \"/\"") && lines[0].contains("--dtb"),
        "{lines:?}"
    );
}

/// I/O ports were taken for guest memory, so that low RAM was refused.
#[test]
fn devices_with_io_ports_touch_no_memory() {
    let devices =
        "emu_devices = [[\"com1\", 0x3f8, 8, 4, 2, []], [\"pit\", 0x40, 0x22, 0, 0x24, []],
        [\"ioapic\", 0xfec0_0000, 0x1000, 0, 0x23, []]]\npassthrough_ports = [[0x6000, 0x80]]";
    let text = config("[0, 0x800_0000, 7, 0]", devices);
    let table = run("plan", &text, &["--arch", "x86_64"]).accepted();
    for part in [
        "0x03f8-0x03ff  com1, emulated",
        "0x0040-0x0061  pit, emulated",
        "0x6000-0x607f  passed through",
        "0xfec00000-0xfec00fff       4 KiB  ioapic",
    ] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    assert_eq!(
        run("plan", &text, &["--arch", "aarch64"]).refused().len(),
        2
    );
    for wrong in [
        "emu_devices = [[\"com1\", 0xfff8, 9, 4, 2, []]]",
        "emu_devices = [[\"com1\", 0x3f8, 0, 4, 2, []]]",
        "passthrough_ports = [[0x1_0000, 1]]",
        "passthrough_ports = [[0xffff_ffff_ffff_ffff, 2]]",
    ] {
        let lines = run("plan", &config("", wrong), &["--arch", "x86_64"]).refused();
        assert!(lines[0].contains("none above 0xffff"), "{lines:?}");
    }
    let last = "passthrough_ports = [[0xffff, 1]]";
    run("plan", &config("", last), &["--arch", "x86_64"]).accepted();
}
