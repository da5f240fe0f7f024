//! What is planned, as programs read it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{
    Folder, bus, config, device, example, guest_map, plan_json, riscv_tree, run, with_property,
    with_text,
};
use serde_json::{Value, json};

/// Everything at once: rounding, merging, exposure, an IVC range, identical, reserved and allocated
/// memory, other host addresses, RAM with DEVICE, unknown keys.
#[test]
fn a_configuration_with_everything() {
    let memory = "[0x8000_0000, 0x20_1000, 0xf, 0], [0x9000_0000, 0x4000_0000, 0x7, 1],
        [0x9_2000, 0x1800, 0x3, 2], [0xa000_0000, 0, 0x17, 1]";
    let devices = r#"
        interrupt_mode = "passthrough"
        emu_devices = [["channels", 0x7000_0800, 0x100, 0, 0xa, [1]], ["uart", 0x7000_0900, 8, 1, 2, []]]
        passthrough_devices = [
            ["timer", 0x10_1800, 0x30_1800, 0x400],
            ["timer", 0x10_0000, 0x30_0000, 0x1010, 5],
            ["ram-like", 0x1_0000_0000, 0xffff_ffff_fff000, 0x1000, 0],
        ]
        passthrough_addresses = [[0x10_2000, 0x1000]]"#;
    let text = config(memory, devices).replace("[kernel]", "color = 1\n[kernel]\nspeed = 2");
    let plan = plan_json(&text, &["--arch", "riscv64"]);
    let expected = json!({
        "vm": {"id": 7, "name": "guest"},
        "arch": "riscv64",
        "mode": "sv39x4",
        "regions": [
            {"gpa": "0x92000", "hpa": "0x92000", "size": "0x2000", "kind": "reserved",
             "flags": ["READ", "WRITE"], "sources": ["memory_regions[2]"]},
            {"gpa": "0x100000", "hpa": "0x300000", "size": "0x2000", "kind": "passthrough",
             "flags": ["READ", "WRITE", "USER", "DEVICE"], "sources": ["timer"]},
            {"gpa": "0x102000", "hpa": "0x102000", "size": "0x1000", "kind": "passthrough",
             "flags": ["READ", "WRITE", "USER", "DEVICE"], "sources": ["passthrough_addresses[0]"]},
            {"gpa": "0x80000000", "hpa": null, "size": "0x201000", "kind": "alloc",
             "flags": ["READ", "WRITE", "EXECUTE", "USER"], "sources": ["memory_regions[0]"]},
            {"gpa": "0x90000000", "hpa": "0x90000000", "size": "0x40000000", "kind": "identical",
             "flags": ["READ", "WRITE", "EXECUTE"], "sources": ["memory_regions[1]"]},
            {"gpa": "0x100000000", "hpa": "0xfffffffffff000", "size": "0x1000", "kind": "passthrough",
             "flags": ["READ", "WRITE", "USER", "DEVICE"], "sources": ["ram-like"]},
        ],
        // The root, below it tables for 0, 2, 3 and 4 GiB, and three of pages: 0, 2 GiB + 2 MiB, 4 GiB.
        "tables": {"levels": 3, "root_bytes": 16384, "frames": 11,
                   "leaves": {"4K": 7, "2M": 513, "1G": 0}},
    });
    for key in ["vm", "arch", "mode", "regions", "tables"] {
        assert_eq!(plan[key], expected[key], "{key}");
    }
    let warnings: Vec<_> = plan["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| {
            assert!(!warning["message"].as_str().unwrap().is_empty());
            (
                warning["code"].as_str().unwrap(),
                warning["sources"].clone(),
                warning["bytes"].as_u64(),
            )
        })
        .collect();
    let expected = [
        (
            "page-exposure",
            json!(["timer"]),
            Some(0x2000 - 0x1010 - 0x400),
        ),
        ("region-rounded", json!(["memory_regions[2]"]), None),
        (
            "device-flag-in-memory-region",
            json!(["memory_regions[3]"]),
            None,
        ),
        ("unknown-key", json!(["base.color"]), None),
        ("unknown-key", json!(["kernel.speed"]), None),
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn the_text_of_json_keeps_the_order_of_keys() {
    let text = config("[0x8000_0000, 0x1000, 0x7, 1]", "");
    let json = run("plan", &text, &["--arch", "aarch64", "--format", "json"]).accepted();
    let squeezed: String = json.split_whitespace().collect();
    assert_eq!(
        squeezed,
        r#"{"vm":{"id":7,"name":"guest"},"arch":"aarch64","mode":"ipa40","regions":[{"gpa":"0x80000000","hpa":"0x80000000","size":"0x1000","kind":"identical","flags":["READ","WRITE","EXECUTE"],"sources":["memory_regions[0]"]}],"warnings":[],"tables":{"levels":3,"root_bytes":8192,"frames":4,"leaves":{"4K":1,"2M":0,"1G":0}}}"#
    );
}

/// The input bits of a mode, its name, and its levels and bytes of root.
type Boundary = (u32, &'static str, (u64, u64));

#[test]
fn auto_takes_the_first_mode_that_holds_the_last_byte() {
    let mode = |arch, last_page: u64| {
        let text = config(&format!("[{last_page:#x}, 0x1000, 0x7, 0]"), "");
        let plan = plan_json(&text, &["--arch", arch]);
        let tables = &plan["tables"];
        let numbers = (
            tables["levels"].as_u64().unwrap(),
            tables["root_bytes"].as_u64().unwrap(),
        );
        (plan["mode"].as_str().unwrap().to_owned(), numbers)
    };
    let boundaries: [(&str, &[Boundary]); 3] = [
        (
            "riscv64",
            &[
                (41, "sv39x4", (3, 0x4000)),
                (50, "sv48x4", (4, 0x4000)),
                (59, "sv57x4", (5, 0x4000)),
            ],
        ),
        (
            "aarch64",
            &[
                (40, "ipa40", (3, 0x2000)),
                (42, "ipa42", (3, 0x8000)),
                (44, "ipa44", (4, 0x1000)),
                (48, "ipa48", (4, 0x1000)),
            ],
        ),
        (
            "x86_64",
            &[(48, "ept4", (4, 0x1000)), (57, "ept5", (5, 0x1000))],
        ),
    ];
    for (arch, modes) in boundaries {
        let mut start = 0;
        for (bits, name, numbers) in modes {
            assert_eq!(mode(arch, start), (name.to_string(), *numbers));
            start = 1 << bits;
            assert_eq!(mode(arch, start - 0x1000), (name.to_string(), *numbers));
        }
    }
}

#[test]
fn modes_without_gigabyte_leaves_count_what_they_have() {
    let text = config("[0, 0x8000_0000, 0x7, 1]", "");
    let plan = plan_json(&text, &["--arch", "aarch64", "--mode", "ipa33"]);
    let expected = json!({"levels": 2, "root_bytes": 0x8000, "frames": 8,
                          "leaves": {"4K": 0, "2M": 1024, "1G": 0}});
    assert_eq!(plan["tables"], expected);
    run("check", &text, &["--arch", "aarch64", "--mode", "ipa33"]).accepted();
}

#[test]
fn numbers_are_the_full_64_bits() {
    let text = config("", "").replace("id = 7", "id = 0xffff_ffff_ffff_ffff");
    assert_eq!(
        plan_json(&text, &["--arch", "riscv64"])["vm"]["id"],
        json!(u64::MAX)
    );
    let text = config("", "").replace("id = 7", "id = 18_446_744_073_709_551_615");
    assert_eq!(
        plan_json(&text, &["--arch", "riscv64"])["vm"]["id"],
        json!(u64::MAX)
    );
    let spellings = "[0b1000_0000_0000_0000, 0o10_000, +7, -0]";
    let plan = plan_json(&config(spellings, ""), &["--arch", "riscv64"]);
    assert_eq!(
        (&plan["regions"][0]["gpa"], &plan["regions"][0]["size"]),
        (&json!("0x8000"), &json!("0x1000"))
    );
}

#[test]
fn a_host_page_that_is_passed_through_twice() {
    let devices = r#"passthrough_devices = [["one", 0x1000, 0x9000, 0x2000], ["other", 0x8000, 0xa000, 0x1000]]"#;
    let plan = plan_json(&config("", devices), &["--arch", "riscv64"]);
    let warning = &plan["warnings"][0];
    assert_eq!(
        (&warning["code"], &warning["sources"]),
        (&json!("host-alias"), &json!(["one", "other"]))
    );
    let message = warning["message"].as_str().unwrap();
    for part in ["host 0xa000-0xafff", "0x2000-0x2fff", "0x8000-0x8fff"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

#[test]
fn other_ways_to_write_the_same() {
    let dotted = r#"
        kernel.memory_regions = [ # RAM
            [ 0x8000_0000,
              0x1000, # a page
              7, 0, ],
        ]
        base = { id = 7, name = 'guest' }
        devices = { passthrough_devices = [['na"me', 0x1000, 0x1000, 0x1000]], passthrough_addresses = [] }"#;
    let plan = plan_json(dotted, &["--arch", "riscv64"]);
    assert_eq!(plan["vm"], json!({"id": 7, "name": "guest"}));
    assert_eq!(plan["regions"][0]["sources"], json!(["na\"me"]));
    let escaped = config(
        "",
        "passthrough_devices = [[\"\\u0061\\tb\", 0x1000, 0x1000, 0x1000]]",
    );
    let plan = plan_json(&escaped, &["--arch", "riscv64"]);
    assert_eq!(plan["regions"][0]["sources"], json!(["a\tb"]));
    let table = run("plan", &escaped, &["--arch", "riscv64"]).accepted();
    assert!(table.contains("a\u{fffd}b"), "{table}");
}

/// A tree with a bus, two devices in one page, a disabled one, and one that an emulated device hides.
fn tree() -> Vec<u8> {
    let uart = device("serial@10000000", &[(0x1000_0000, 0x100)]);
    let spi = device(
        "spi@10000800",
        &[(0x1000_0800, 0x100), (0x2000_0000, 0x1000_0000)],
    );
    let secret = device("otp@10000f00", &[(0x1000_0f00, 0x10), (0x1000_0f80, 0x10)]);
    let off = with_text(
        device("dma@10010000", &[(0x1001_0000, 0x1000)]),
        "status",
        "disabled",
    );
    let odd = with_property(device("odd@10020000", &[]), "reg", &[1, 2, 3]);
    let plic = device("plic@c000000", &[(0xc00_0000, 0x40_0000)]);
    let memory = with_text(
        device("memory@80000000", &[(0x8000_0000, 0x1000_0000)]),
        "device_type",
        "memory",
    );
    let soc = bus("soc", vec![uart, spi, secret, off, odd, plic]);
    riscv_tree(vec![soc, memory])
}

fn codes(plan: &Value) -> Vec<(&str, &str)> {
    let warnings = plan["warnings"].as_array().unwrap().iter();
    let texts = warnings.map(|warning| {
        (
            warning["code"].as_str().unwrap(),
            warning["sources"][0].as_str().unwrap(),
        )
    });
    texts.collect()
}

#[test]
fn paths_of_a_device_tree() {
    let folder = Folder::new();
    let tree = folder.file("host.dtb", tree());
    let devices = r#"
        passthrough_devices = [["/soc/dma@10010000"], ["/"], ["nic", 0x2000_0000, 0x2000_0000, 0x1000]]
        excluded_devices = [["/soc/otp@10000f00"]]
        emu_devices = [["vplic", 0xc00_0800, 0x10_0000, 0, 0x30, []]]"#;
    let plan = plan_json(
        &config("[0x8000_0000, 0x100_0000, 7, 0]", devices),
        &["--dtb", &tree],
    );
    assert_eq!(
        (&plan["arch"], &plan["mode"]),
        (&json!("riscv64"), &json!("sv39x4"))
    );
    let regions: Vec<_> = plan["regions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|region| {
            (
                region["gpa"].as_str().unwrap(),
                region["size"].as_str().unwrap(),
                region["sources"].clone(),
            )
        })
        .collect();
    let expected = [
        ("0xc101000", "0x2ff000", json!(["/soc/plic@c000000"])),
        (
            "0x10000000",
            "0x1000",
            json!(["/soc/serial@10000000", "/soc/spi@10000800"]),
        ),
        // The path comes before the row with addresses in the file.
        (
            "0x20000000",
            "0x10000000",
            json!(["/soc/spi@10000800", "nic"]),
        ),
        ("0x80000000", "0x1000000", json!(["memory_regions[0]"])),
    ];
    assert_eq!(regions, expected);
    let expected = [
        ("page-exposure", "/soc/serial@10000000"),
        ("device-tree-entry-ignored", "/soc/odd@10020000"),
        ("nothing-passed-through", "/soc/dma@10010000"),
        ("excluded-device-reachable", "/soc/otp@10000f00"),
    ];
    assert_eq!(codes(&plan), expected);
}

#[test]
fn addresses_that_no_mode_holds_are_left_out() {
    let folder = Folder::new();
    let wide = device("wide@0", &[(1 << 58, 0x1000), (1 << 55, 0x1000)]);
    let tree = folder.file("host.dtb", riscv_tree(vec![bus("soc", vec![wide])]));
    let text = config("", "passthrough_devices = [[\"/\"]]");
    let plan = plan_json(&text, &["--dtb", &tree]);
    assert_eq!(plan["regions"].as_array().unwrap().len(), 1);
    assert_eq!(codes(&plan), [("device-tree-entry-ignored", "/soc/wide@0")]);
    let wider = device("wide@0", &[(1 << 58, 0x1000)]);
    let tree = folder.file("host.dtb", riscv_tree(vec![bus("soc", vec![wider])]));
    let plan = plan_json(&text, &["--dtb", &tree]);
    assert_eq!(plan["regions"], json!([]));
    let expected = [
        ("device-tree-entry-ignored", "/soc/wide@0"),
        ("nothing-passed-through", "/"),
    ];
    assert_eq!(codes(&plan), expected);
}

#[test]
fn a_tree_that_does_not_tell_the_architecture_is_wrong_usage() {
    let folder = Folder::new();
    let mut tree = dtoolkit::model::DeviceTree::new();
    tree.root = bus("", vec![]);
    let tree = folder.file("host.dtb", tree.to_dtb());
    let answer = run("plan", &config("", ""), &["--dtb", &tree]);
    assert_eq!((answer.status, answer.stdout.as_str()), (2, ""));
    assert!(answer.stderr.contains("--arch"), "{}", answer.stderr);
    run(
        "plan",
        &config("", ""),
        &["--dtb", &tree, "--arch", "x86_64"],
    )
    .accepted();
}

const EXAMPLES: [(&str, &str, &str); 6] = [
    ("qemu-virt-riscv64.toml", "riscv64", "auto"),
    ("qemu-virt-aarch64.toml", "aarch64", "auto"),
    ("pc-x86_64.toml", "x86_64", "auto"),
    ("pc-x86_64.toml", "x86_64", "npt4"),
    ("pc-x86_64.toml", "x86_64", "npt5"),
    ("rk3588.toml", "aarch64", "auto"),
];

#[test]
fn the_examples_plan_check_and_fit_80_columns() {
    for (name, arch, mode) in EXAMPLES {
        let run = |command| guest_map(&[command, &example(name), "--arch", arch, "--mode", mode]);
        let table = run("plan").accepted();
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{table}"
        );
        let check = run("check").accepted();
        assert!(check.contains("as planned"), "{check}");
        assert!(!run("dump").accepted().is_empty());
    }
}

/// Help reached 143 columns, `dump` 132 and `check` 178.
#[test]
fn everything_for_people_fits_80_columns() {
    let folder = Folder::new();
    let long =
        "/a/very/long/path/that/goes/on/and/on/and/on/until/it/is/longer/than/a/line@10000000";
    let devices = format!(
        "passthrough_devices = [[\"{long}\", 0x10000000, 0x1000_0000_0000, 0x18]]
        emu_devices = [[\"{long}\", 0x1_0000, 0x1000, 0, 10, []]]"
    );
    let memory =
        "[0x1_0000_0000_0000, 0x1000_0800, 7, 0], [0xff_0000_0000_0000, 0x1001_0000, 7, 1]";
    let narrow = config("[0x8000_0000, 0x1001_0800, 7, 1]", &devices);
    let wide = config(memory, &devices).replace("guest", &"long name ".repeat(9));
    let (narrow, wide) = (
        folder.file("narrow.toml", narrow),
        folder.file("wide.toml", wide),
    );
    let mut outputs = vec![];
    for command in ["plan", "check", "dump"] {
        outputs.push(guest_map(&[command, "--help"]).accepted());
        for (file, mode) in [(&narrow, "sv39x4"), (&wide, "sv57x4")] {
            let options = ["--arch", "riscv64", "--mode", mode];
            outputs.push(guest_map(&[&[command, file], &options[..]].concat()).accepted());
        }
    }
    for output in outputs {
        // The name of a file is the user's.
        let lines = output
            .lines()
            .filter(|line| !line.starts_with(&narrow[..4]));
        for line in lines {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn warnings_of_one_kind_are_summed_up() {
    let row = |n: u64| format!("[\"d{n}\", {0:#x}, {0:#x}, 8],", 0x1000_0000 + n * 0x2000);
    let rows: String = (0..5).map(row).collect();
    let text = config(
        "[0x800, 0x1000, 7, 0]",
        &format!("passthrough_devices = [{rows}]"),
    );
    let count = |options: &[&str]| {
        let options = [&["--arch", "riscv64"], options].concat();
        let table = run("plan", &text, &options).accepted();
        let lines: Vec<_> = table
            .lines()
            .filter(|line| line.starts_with("warning: "))
            .collect();
        lines.join("\n")
    };
    let some = count(&[]);
    assert_eq!(some.lines().count(), 3, "{some}");
    assert!(
        some.contains("4 more of this kind") && some.contains("region-rounded"),
        "{some}"
    );
    assert_eq!(count(&["--warnings", "all"]).lines().count(), 6);
    assert_eq!(count(&["--allow", "page-exposure"]).lines().count(), 1);
    assert_eq!(
        count(&["--allow", "page-exposure,region-rounded", "--strict"]),
        ""
    );
    let strict = ["--arch", "riscv64", "--allow", "page-exposure", "--strict"];
    assert_eq!(run("plan", &text, &strict).refused().len(), 1);
    assert_eq!(
        run("plan", &text, &["--arch", "riscv64", "--allow", "none"]).status,
        2
    );
    let json = plan_json(&text, &["--arch", "riscv64", "--allow", "page-exposure"]);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 6);
}

#[test]
fn capabilities_decide_modes_and_errors() {
    let plan = |text: &str, arch: &str, list: &str| {
        run("check", text, &["--arch", arch, "--capabilities", list])
    };
    let uncached = config("[0x8000_0000, 0x1000, 0x27, 1]", "");
    assert_eq!(
        run("check", &uncached, &["--arch", "riscv64"])
            .refused()
            .len(),
        1
    );
    plan(&uncached, "riscv64", "svpbmt").accepted();
    let execute_only = config("[0x8000_0000, 0x1000, 4, 1]", "");
    plan(&execute_only, "x86_64", "execute-only").accepted();
    let lines = plan(&execute_only, "x86_64", "no-execute-only").refused();
    assert!(lines[0].contains("memory_regions[0]"), "{lines:?}");
    let last_of_36_bits = config("[0xf_ffff_f000, 0x1000, 7, 1]", "");
    for (arch, mode) in [
        ("aarch64", "ipa36"),
        ("riscv64", "sv39x4"),
        ("x86_64", "ept4"),
    ] {
        let output = plan(&last_of_36_bits, arch, "pa-bits=36").accepted();
        assert!(output.contains(mode), "{output}");
        let lines = plan(&last_of_36_bits, arch, "pa-bits=35").refused();
        assert!(
            lines.iter().all(|line| line.contains("addresses exceed")),
            "{lines:?}"
        );
    }
    let wide = [
        "--arch",
        "aarch64",
        "--mode",
        "ipa40",
        "--capabilities",
        "pa-bits=36",
    ];
    let lines = run("plan", &last_of_36_bits, &wide).refused();
    assert!(lines[0].contains("ipa40 cannot be used"), "{lines:?}");
    let many = config("", "").replace("id = 7", "id = 300");
    assert_eq!(
        run("check", &many, &["--arch", "aarch64"]).refused().len(),
        1
    );
    plan(&many, "aarch64", "vmid16,pa-bits=40").accepted();
    for (arch, list) in [
        ("riscv64", "vmid16"),
        ("x86_64", "svpbmt"),
        ("aarch64", "pa-bits=31"),
        ("aarch64", "fast"),
    ] {
        assert_eq!(plan(&many, arch, list).status, 2, "{list}");
    }
}

/// Addresses that were meant as hexadecimal are mostly no multiple of a page as decimal numbers.
#[test]
fn decimal_addresses_are_pointed_out() {
    let text = config("[80000000, 0x1000, 7, 1]", "");
    let plan = plan_json(&text, &["--arch", "riscv64"]);
    let message = plan["warnings"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("80000000 is decimal: was 0x80000000 meant?"),
        "{message}"
    );
    for plain in ["[0x8000_0800, 0x1000, 7, 1]", "[8192, 1, 7, 1]"] {
        let plan = plan_json(&config(plain, ""), &["--arch", "riscv64"]);
        let message = plan["warnings"][0]["message"].as_str().unwrap();
        assert!(!message.contains("decimal"), "{message}");
    }
    let devices = "passthrough_devices = [[\"uart\", 10000000, 10000000, 0x100]]";
    let table = run("plan", &config("", devices), &["--arch", "riscv64"]).accepted();
    assert!(table.contains("10000000 is decimal"), "{table}");
}

#[test]
fn the_manual_shows_what_is_printed() {
    let (name, arch, _) = EXAMPLES[0];
    let table = guest_map(&["plan", &example(name), "--arch", arch]).accepted();
    assert!(include_str!("../README.md").contains(&table), "{table}");
}

#[test]
fn several_configurations_in_one_call() {
    let folder = Folder::new();
    let one = folder.file("one.toml", config("[0x8000_0000, 0x1000, 7, 1]", ""));
    let other = config("[0x9000_0000, 0x1000, 7, 1]", "");
    let other = folder.file("other.toml", other.replace("id = 7", "id = 8"));
    let arguments = ["plan", &one, &other, "--arch", "riscv64"];
    let text = guest_map(&arguments).accepted();
    let first = text.find("VM 7 \"guest\"").unwrap();
    let second = text.find("\n\nVM 8 \"guest\"").unwrap();
    assert!(first < second, "{text}");
    let json = guest_map(&[&arguments[..], &["--format", "json"]].concat()).json();
    assert_eq!(json[0]["vm"]["id"], 7);
    assert_eq!(json[1]["regions"][0]["gpa"], "0x90000000");
    let picture = guest_map(&[&arguments[..], &["--format", "svg"]].concat());
    assert_eq!((picture.status, picture.stdout.as_str()), (2, ""));
}
