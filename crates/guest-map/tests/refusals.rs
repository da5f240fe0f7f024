//! What bad input gets: status 1, an empty standard output, and a message that names file, line,
//! entry and ranges.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{Folder, bus, config, device, guest_map, riscv_tree, run};

const RAM: &str = "[0x8000_0000, 0x10_0000, 0x7, 0]";

/// Plans a configuration for RISC-V and expects one message, which has all of `parts`.
fn refuses(text: &str, parts: &[&str]) {
    let lines = run("plan", text, &["--arch", "riscv64"]).refused();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in ["vm.toml:"].iter().chain(parts) {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
}

fn refuses_memory(row: &str, parts: &[&str]) {
    refuses(&config(row, ""), parts);
}

fn refuses_devices(devices: &str, parts: &[&str]) {
    refuses(&config(RAM, devices), parts);
}

#[test]
fn flags_without_a_meaning() {
    let place = "vm.toml:5: memory_regions[0] (alloc, guest 0x80000000-0x80000fff";
    let row = |flags: &str| format!("[0x8000_0000, 0x1000, {flags}, 0]");
    refuses_memory(&row("0x147"), &[place, "unknown bits 0x140"]);
    refuses_memory(
        &row("0x1_0000_0000_0007"),
        &[place, "unknown bits 0x1000000000000"],
    );
    refuses_memory(&row("0x50"), &["unknown bits 0x40"]);
    refuses_memory(&row("0x6"), &[place, "WRITE without READ"]);
    refuses_memory(&row("0x8"), &[place, "no access"]);
    refuses_memory(&row("0x27"), &[place, "UNCACHED", "Svpbmt"]);
    refuses_memory(
        "[0x8000_0000, 0x1000, 7, 3]",
        &["memory_regions[0]", "map_type 0x3"],
    );
}

#[test]
fn ranges_that_cannot_be() {
    refuses_memory(
        "[0x9000_0000, 0, 7, 0]",
        &["memory_regions[0]", "0x90000000 + 0x0", "no bytes"],
    );
    let past = "[0xffff_ffff_ffff_f000, 0x1001, 7, 0]";
    refuses_memory(
        past,
        &[
            "memory_regions[0]",
            "0xfffffffffffff000 + 0x1001",
            "past 2^64",
        ],
    );
    let host = r#"passthrough_devices = [["nic", 0x1000, 0xffff_ffff_ffff_f000, 0x2000, 1]]"#;
    refuses_devices(
        host,
        &[
            r#"passthrough_devices[0] "nic""#,
            "host 0xfffffffffffff000 + 0x2000",
            "past 2^64",
        ],
    );
    let offsets = r#"passthrough_devices = [["nic", 0x1100, 0x2200, 0x100]]"#;
    refuses_devices(
        offsets,
        &[
            r#""nic""#,
            "0x1100-0x11ff",
            "0x2200-0x22ff",
            "byte 0x100",
            "byte 0x200",
        ],
    );
}

#[test]
fn addresses_wider_than_the_mode() {
    // The last page of 2^64 bytes is a region like any other, which no mode is wide enough for.
    let last = "[0xffff_ffff_ffff_f000, 0x1000, 7, 0]";
    refuses_memory(
        last,
        &["0xfffffffffffff000-0xffffffffffffffff", "59 bits of sv57x4"],
    );
    let text = config("[0x200_0000_0000, 0x1000, 7, 0]", "");
    let narrow = run("plan", &text, &["--arch", "riscv64", "--mode", "sv39x4"]).refused();
    assert!(
        narrow[0].contains("41 bits of sv39x4: use --mode sv48x4"),
        "{narrow:?}"
    );
    assert!(
        run("plan", &text, &["--arch", "riscv64"])
            .accepted()
            .contains("sv48x4")
    );
    let host = r#"passthrough_devices = [["nic", 0x1000, 0x100_0000_0000_0000, 0x1000]]"#;
    refuses_devices(
        host,
        &[
            r#""nic""#,
            "host 0x100000000000000-0x100000000000fff",
            "56 bits",
        ],
    );
    for (arch, hpa) in [("aarch64", 1_u64 << 48), ("x86_64", 1 << 52)] {
        let devices = format!(r#"passthrough_devices = [["nic", 0x1000, {hpa:#x}, 0x1000]]"#);
        let lines = run("plan", &config(RAM, &devices), &["--arch", arch]).refused();
        assert!(lines[0].contains("host addresses exceed"), "{lines:?}");
    }
}

#[test]
fn regions_that_overlap_wrongly() {
    refuses_memory(
        "[0x8000_0000, 0x2000, 7, 0], [0x8000_1000, 0x2000, 7, 0]",
        &[
            "memory_regions[1] (alloc, guest 0x80001000-0x80002fff",
            "memory_regions[0] (alloc, guest 0x80000000-0x80001fff",
            "only once",
        ],
    );
    refuses_memory(
        "[0x8000_0000, 0x1800, 7, 0], [0x8000_1800, 0x800, 7, 1]",
        &["memory_regions[0]", "memory_regions[1]", "kinds differ"],
    );
    refuses_memory(
        "[0x8000_0000, 0x1800, 7, 1], [0x8000_1800, 0x800, 0xf, 1]",
        &["memory_regions[0]", "memory_regions[1]", "flags differ"],
    );
    refuses_devices(
        r#"passthrough_devices = [["a", 0x1000, 0x1000, 0x2000], ["b", 0x2000, 0x3000, 0x1000]]"#,
        &[
            r#"[0] "a" (passthrough, guest 0x1000-0x2fff"#,
            r#"[1] "b" (passthrough, guest 0x2000-0x2fff, host 0x3000-0x3fff"#,
            "different host pages",
        ],
    );
    refuses_devices(
        "passthrough_addresses = [[0x1800, 0x10]]\nemu_devices = [[\"uart\", 0x1000, 0x8, 0, 1, []]]",
        &[
            "passthrough_addresses[0]",
            r#"emu_devices[0] "uart""#,
            "cannot both trap",
        ],
    );
}

#[test]
fn host_memory_that_is_ram_and_a_device() {
    let devices = r#"passthrough_devices = [["window", 0x5000_0000, 0x4000_0000, 0x10_0000]]"#;
    refuses(
        &config("[0x4000_0000, 0x100_0000, 7, 2]", devices),
        &[
            "vm.toml:7",
            r#"passthrough_devices[0] "window""#,
            "memory_regions[0] (reserved, guest 0x40000000-0x40ffffff",
            "both lead to host 0x40000000-0x400fffff",
        ],
    );
}

#[test]
fn rows_that_are_no_rows() {
    refuses_memory(
        "[0x8000_0000, -4096, 7, 0]",
        &["memory_regions[0]", "size -4096 is negative"],
    );
    refuses_memory(
        "[0x1_0000_0000_0000_0000, 1, 7, 0]",
        &["gpa", "exceeds 64 bits"],
    );
    refuses_memory("[0.5, 1, 7, 0]", &["gpa 0.5 is not a number"]);
    refuses_memory(
        "[1, 2, 3]",
        &[
            "memory_regions[0] has 3 values",
            "[gpa, size, flags, map_type]",
        ],
    );
    refuses_memory("1", &["memory_regions[0] is a number and not a row"]);
    refuses_devices(
        "passthrough_devices = [[\"a\", 1, 2]]",
        &["passthrough_devices[0] has 3 values"],
    );
    refuses_devices(
        "passthrough_devices = [[1, 1, 1, 1]]",
        &["passthrough_devices[0]", "the name is a number"],
    );
    refuses_devices(
        "passthrough_addresses = [[1, 2, 3]]",
        &["passthrough_addresses[0] has 3 values"],
    );
    refuses_devices(
        "emu_devices = [[\"a\", 1, 2, 3, 4]]",
        &["emu_devices[0] has 5 values"],
    );
    refuses_devices(
        "emu_devices = [[\"a\", 1, 2, 3, 4, 5]]",
        &["emu_devices[0] \"a\"", "write an array"],
    );
    refuses_devices(
        "emu_devices = [[\"a\", 1, 2, 3, -4, []]]",
        &["emu_devices[0] \"a\"", "type -4 is negative"],
    );
    refuses_devices(
        "excluded_devices = [\"/soc\"]",
        &["excluded_devices[0] is a string"],
    );
    refuses_devices(
        "excluded_devices = [[]]",
        &["excluded_devices[0] has 0 values"],
    );
    refuses_devices(
        "passthrough_devices = 1",
        &["[devices] passthrough_devices is not an array"],
    );
}

#[test]
fn keys_that_may_ask_for_a_mapping() {
    refuses_devices(
        "address_space_policy = \"passthrough\"",
        &["vm.toml:7: [devices] address_space_policy"],
    );
    refuses_devices("[network]\nmac = 1", &["vm.toml:7: [network]"]);
    refuses_devices("[kernel.more]\nregions = []", &["vm.toml:7: [kernel.more]"]);
    refuses_devices("[[ports]]\nbase = 1", &["vm.toml:7: [ports]"]);
}

#[test]
fn keys_that_are_missing_or_of_another_type() {
    refuses(
        "[base]\nid = 1\n[kernel]\nmemory_regions = []",
        &["[base] name is missing"],
    );
    refuses(
        "[base]\nname = \"a\"\n[kernel]\nmemory_regions = []",
        &["[base] id is missing"],
    );
    refuses(
        "[base]\nid = 1\nname = \"a\"",
        &["[kernel] memory_regions is missing"],
    );
    refuses_devices(
        "interrupt_mode = 1",
        &["[devices] interrupt_mode is not a string"],
    );
}

#[test]
fn what_is_not_toml() {
    refuses(
        "[base]\nid = 1\nid = 2",
        &["vm.toml:3: not TOML", "duplicate key"],
    );
    refuses("[base]\nid = 1\nname = \"a", &["vm.toml:3: not TOML"]);
    refuses(
        "[kernel]\nmemory_regions = [[0xg]]",
        &["vm.toml:2: not TOML"],
    );
    let folder = Folder::new();
    let file = folder.file("vm.toml", b"[base]\nname = \"\xff\"");
    let lines = guest_map(&["plan", &file, "--arch", "riscv64"]).refused();
    assert!(
        lines[0].contains("not TOML: byte 0xf is not UTF-8"),
        "{lines:?}"
    );
    let depth = 100_000;
    let nested = format!(
        "[kernel]\nmemory_regions = {}{}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    run("plan", &nested, &["--arch", "riscv64"]).refused();
}

/// What is under keys that mean nothing was let through unread.
#[test]
fn what_is_not_toml_where_nobody_reads_it() {
    let values = [
        "0x",
        "[0x]",
        "[1979-99-99]",
        "[25:61:00]",
        "[[{a = 1, a = 2}]]",
    ];
    for value in values {
        let below_base = config(RAM, "").replace("[kernel]", &format!("what = {value}\n[kernel]"));
        let at_top = format!("what = {value}\n{}", config(RAM, ""));
        for (line, text) in [(4, below_base), (1, at_top)] {
            let lines = run("plan", &text, &["--arch", "riscv64"]).refused();
            let part = format!("vm.toml:{line}: not TOML");
            assert!(
                lines.iter().any(|line| line.contains(&part)),
                "{value}: {lines:?}"
            );
        }
    }
    let ignored = config(RAM, "").replace(
        "[kernel]",
        "what = [0xffff_ffff_ffff_ffff, \"a\"]\n[kernel]",
    );
    run("plan", &ignored, &["--arch", "riscv64"]).accepted();
}

#[test]
fn files_that_are_not_there() {
    let lines = guest_map(&["plan", "/nowhere/vm.toml", "--dtb", "/nowhere/host.dtb"]).refused();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("/nowhere/host.dtb: cannot be read"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("/nowhere/vm.toml: cannot be read"),
        "{lines:?}"
    );
}

#[test]
fn paths_that_are_not_in_the_tree() {
    let folder = Folder::new();
    let uart = device("serial@10000000", &[(0x1000_0000, 0x100)]);
    let rtc = device("rtc@101000", &[(0x10_1000, 0x1000)]);
    let tree = folder.file("host.dtb", riscv_tree(vec![bus("soc", vec![uart, rtc])]));
    let paths = "passthrough_devices = [[\"/soc/serial\"]]\nexcluded_devices = [[\"/rtc@101000\"]]";
    let lines = run("plan", &config(RAM, paths), &["--dtb", &tree]).refused();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for part in [
        "vm.toml:7: passthrough_devices[0]",
        "\"/soc/serial\"",
        "host.dtb",
        "near it are /soc/serial@10000000",
    ] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
    assert!(
        lines[1].contains("vm.toml:8: excluded_devices[0]"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("near it are /soc/rtc@101000"),
        "{lines:?}"
    );
    let without = run("plan", &config(RAM, paths), &["--arch", "riscv64"]).refused();
    assert_eq!(without.len(), 2, "{without:?}");
    assert!(
        without.iter().all(|line| line.contains("--dtb")),
        "{without:?}"
    );
}

#[test]
fn trees_that_are_cut_off_or_lie() {
    let folder = Folder::new();
    let text = config(RAM, "passthrough_devices = [[\"/\"]]");
    let blob = riscv_tree(vec![device("rtc@101000", &[(0x10_1000, 0x1000)])]);
    for length in 0..blob.len() {
        let tree = folder.file("host.dtb", &blob[..length]);
        let lines = run("plan", &text, &["--dtb", &tree, "--arch", "riscv64"]).refused();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("host.dtb: "), "{lines:?}");
    }
    for header_word in 1..4 {
        let mut lying = blob.clone();
        lying[4 * header_word..][..4].copy_from_slice(&0x7fff_fff0_u32.to_be_bytes());
        let tree = folder.file("host.dtb", lying);
        run("plan", &text, &["--dtb", &tree]).refused();
    }
}

#[test]
fn all_errors_are_reported_in_the_order_of_the_file() {
    let memory = "\n[0x8000_0000, -1, 7, 0],\n[0x9000_0000, 0x2000, 0x100, 0],\n[0x9000_1000, 0x1000, 7, 1],\n";
    let devices = "what = 1\npassthrough_devices = [\n[\"nic\", 0x1, 0x2, 0x100],\n[\"/soc\"]]";
    let lines = run("plan", &config(memory, devices), &["--arch", "aarch64"]).refused();
    let parts = [
        "vm.toml:6: memory_regions[0]: size -1",
        "vm.toml:7: memory_regions[1]",
        "vm.toml:8: memory_regions[2]",
        "vm.toml:11: [devices] what",
        "vm.toml:13: passthrough_devices[0] \"nic\"",
        "vm.toml:14: passthrough_devices[1]",
    ];
    assert_eq!(lines.len(), parts.len(), "{lines:#?}");
    for (line, part) in lines.iter().zip(parts) {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// A wrong map_type kept the rest of its row from being looked at.
#[test]
fn a_row_with_a_wrong_map_type_is_checked_all_the_same() {
    let row = "[0x4000_0000, 0, 0x40, 9], [0xffff_ffff_ffff_f000, 0x2000, 7, 9]";
    let lines = run("plan", &config(row, ""), &["--arch", "riscv64"]).refused();
    for part in [
        "memory_regions[0] (guest 0x40000000 + 0x0) has map_type 0x9",
        "unknown bits 0x40",
        "has no bytes",
        "memory_regions[1] (guest 0xfffffffffffff000 + 0x2000) has map_type 0x9",
        "past 2^64",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(part)),
            "{part}: {lines:#?}"
        );
    }
    assert_eq!(lines.len(), 5, "{lines:#?}");
}

/// A device-tree region that is too wide was not mentioned beside an overlap.
#[test]
fn a_wide_device_is_reported_beside_an_overlap() {
    let folder = Folder::new();
    let wide = device("pcie@20000000000", &[(0x200_0000_0000, 0x1000)]);
    let tree = folder.file("host.dtb", riscv_tree(vec![bus("soc", vec![wide])]));
    let devices = "passthrough_devices = [[\"/soc\"]]";
    let options = ["--dtb", &tree, "--mode", "sv39x4"];
    let lines = run("plan", &config(&format!("{RAM}, {RAM}"), devices), &options).refused();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("/soc/pcie@20000000000")),
        "{lines:#?}"
    );
}

#[test]
fn strict_refuses_warnings() {
    let text = config("[0x8000_0000, 0x1800, 7, 0]", "");
    let lines = run("plan", &text, &["--arch", "riscv64", "--strict"]).refused();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("region-rounded: memory_regions[0]"),
        "{lines:?}"
    );
    run("plan", &config(RAM, ""), &["--arch", "riscv64", "--strict"]).accepted();
}

#[test]
fn wrong_usage() {
    let folder = Folder::new();
    let file = folder.file("vm.toml", config(RAM, ""));
    let tree = folder.file("host.dtb", riscv_tree(vec![]));
    let usages: [&[&str]; 12] = [
        &[],
        &["plan"],
        &["check", "--arch", "riscv64"],
        &["plan", &file],
        &["plan", &file, "--arch", "mips"],
        &["plan", &file, "--arch", "aarch64", "--mode", "sv39x4"],
        &["plan", &file, "--dtb", &tree, "--mode", "ept4"],
        &["plan", &file, "--dtb", &tree, "--mode", "npt4"],
        &["plan", &file, "--arch", "x86_64", "--mode", "npt6"],
        &["plan", &file, "--dtb", &tree, "--arch", "aarch64"],
        &["plan", &file, "--arch", "aarch64", "--mode", "ipa31"],
        &["translate", &file, "here", "--arch", "riscv64"],
    ];
    for arguments in usages {
        let answer = guest_map(arguments);
        assert_eq!(
            (answer.status, answer.stdout.as_str()),
            (2, ""),
            "{arguments:?}"
        );
        assert!(!answer.stderr.is_empty(), "{arguments:?}");
    }
}

/// Nor was it compared with the others, so that the overlap showed after the map_type was right.
#[test]
fn a_row_with_a_wrong_map_type_is_compared_with_the_others() {
    let rows = "[0x8000_0000, 0x2000, 7, 0], [0x8000_1000, 0x1000, 7, 9], [0x9000_0000, 0x1000, 7, 8], \
                [0, 0, 7, 0], [0xa000_0000, 0x800, 7, 1], [0xa000_0800, 0x800, 7, 7], \
                [0x8000_1000, 0x10, 7, 6]";
    let devices = r#"passthrough_devices = [["uart", 0x9000_0800, 0x9000_0800, 0x10]]"#;
    let lines = run("plan", &config(rows, devices), &["--arch", "riscv64"]).refused();
    let with_both = |one: &str, other: &str| {
        let is_meant = |line: &&String| {
            line.contains(&format!("{one} ")) && line.contains(other) && line.contains("overlap")
        };
        lines.iter().find(is_meant).is_some()
    };
    assert!(
        with_both("memory_regions[1]", "memory_regions[0]"),
        "{lines:?}"
    );
    assert!(with_both("memory_regions[2]", "\"uart\""), "{lines:?}");
    assert!(
        with_both("memory_regions[6]", "memory_regions[1]"),
        "{lines:?}"
    );
    // Whether the two may share a page depends on the kind.
    assert!(
        !with_both("memory_regions[5]", "memory_regions[4]"),
        "{lines:?}"
    );
    let kinds = lines
        .iter()
        .filter(|line| line.contains("memory_regions[1] (reserved"));
    assert_eq!(kinds.count(), 0, "{lines:?}");
}

/// Lines of errors ran to 178 columns.
#[test]
fn errors_fit_80_columns() {
    let folder = Folder::new();
    let rows = "[0x8000_0000, 0x1000, 7, 1], [0x8000_0000, 0x1000, 7, 2], [0, 0, 7, 9]";
    let file = folder.file("vm.toml", config(rows, ""));
    for arguments in [
        &["plan", &file, "--arch", "riscv64"][..],
        &["plan", &file, "--arch", "riscv64", "--allow", "nonsense"],
        &["plan", &file, "--arch", "sparc"],
        &["plan", &file, "--arch", "riscv64", "--mode", "nonsense"],
        &[
            "plan",
            &file,
            "--arch",
            "riscv64",
            "--capabilities",
            "nonsense",
        ],
        &["plan", &file],
        &["decode", "nonsense=1"],
        &["plan"],
    ] {
        let answer = guest_map(arguments);
        assert_ne!(answer.status, 0);
        let long = answer.stderr.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None);
        assert!(answer.stderr.starts_with("error: "), "{}", answer.stderr);
    }
}
