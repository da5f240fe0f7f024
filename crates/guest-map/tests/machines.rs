//! Tables that are built: check, translate, dump; and machines side by side.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Answer, Folder, config, example, guest_map, run};

const ARCHES: [&str; 3] = ["riscv64", "aarch64", "x86_64"];

fn check(one: &str, other: &str, options: &[&str]) -> Answer {
    let folder = Folder::new();
    let one = folder.file("one.toml", one);
    let other = folder.file("other.toml", other.replace("id = 7", "id = 8"));
    guest_map(&[&["check", &one, &other, "--arch", "aarch64"], options].concat())
}

#[test]
fn two_machines_that_share_ram() {
    let identical = config("[0x8000_0000, 0x100_0000, 7, 1]", "");
    let reserved = config("[0x80ff_f800, 0x1000, 7, 2]", "");
    let lines = check(&identical, &reserved, &[]).refused();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "one.toml",
        "other.toml",
        "VM 7 \"guest\"",
        "host RAM 0x80fff000-0x80ffffff",
        "memory_regions[0]",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {lines:?}");
    }
    let device = config("", "passthrough_addresses = [[0x8000_0800, 0x10]]");
    let lines = check(&device, &identical, &[]).refused();
    assert!(
        lines[0].contains("host RAM 0x80000000-0x80000fff"),
        "{lines:?}"
    );
    let elsewhere = config(
        "",
        r#"passthrough_devices = [["window", 0x0, 0x8000_1000, 0x1000]]"#,
    );
    check(&identical, &elsewhere, &[]).refused();
    assert!(check(&reserved, &reserved, &[]).refused()[0].contains("both reach host RAM"));
}

#[test]
fn two_machines_that_share_nothing_or_a_device() {
    let alloc = config("[0x8000_0000, 0x100_0000, 7, 0]", "");
    check(&alloc, &alloc, &["--strict"]).accepted();
    let low = config("[0x8000_0000, 0x100_0000, 7, 1]", "");
    let high = config("[0x8100_0000, 0x100_0000, 7, 1]", "");
    check(&low, &high, &["--strict"]).accepted();
    let one = config(
        "",
        r#"passthrough_devices = [["uart", 0x1000, 0x9000, 0x1000]]"#,
    );
    let other = config("", "passthrough_addresses = [[0x8000, 0x3000]]");
    let output = check(&one, &other, &[]).accepted();
    let words: Vec<_> = output.split_whitespace().collect();
    let output = words.join(" ");
    assert!(output.contains("warning: shared-device: VM 7"), "{output}");
    assert!(output.contains("both reach host 0x9000-0x9fff"), "{output}");
    let lines = check(&one, &other, &["--strict"]).refused();
    assert!(lines[0].contains("shared-device"), "{lines:?}");
}

/// The first entry of a merged run was named, and no line.
#[test]
fn a_shared_page_names_the_entries_that_overlap() {
    let rows = "\n[0x1000_0000, 0x1000_0000, 7, 2],\n[0x2000_0000, 0x1000_0000, 7, 2],\n\
                [0x3000_0000, 0x1000_0000, 7, 2],\n";
    let inside = config("[0x3800_0000, 0x10_0000, 7, 2]", "");
    let lines = check(&config(rows, ""), &inside, &[]).refused();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "one.toml:8: VM 7",
        "memory_regions[2] (reserved, guest 0x30000000-0x3fffffff",
        "other.toml:5) both reach host RAM 0x38000000-0x380fffff",
    ] {
        assert!(lines[0].contains(part), "{part} is not in {lines:?}");
    }
}

#[test]
fn ids_that_clash_or_are_no_vmid() {
    let with_id = |id: &str| config("", "").replace("id = 7", &format!("id = {id}"));
    let lines = check(&with_id("9"), &with_id("0x9"), &[]).refused();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("other.toml:2: [base] id 9 is that of VM"),
        "{lines:?}"
    );
    assert!(lines[0].contains("one.toml:2)"), "{lines:?}");
    for (arch, last) in [("riscv64", 16_383), ("aarch64", 255), ("x86_64", 65_535)] {
        run("check", &with_id(&last.to_string()), &["--arch", arch]).accepted();
        let beyond = (last + 1).to_string();
        let lines = run("check", &with_id(&beyond), &["--arch", arch]).refused();
        assert!(lines[0].contains("vm.toml:2: [base] id"), "{lines:?}");
        assert!(
            lines[0].contains(&format!("so that {last} is the last")),
            "{lines:?}"
        );
        run("plan", &with_id("70000"), &["--arch", arch]).accepted();
    }
}

#[test]
fn what_is_loaded_needs_ram() {
    let folder = Folder::new();
    let kernel = folder.file("kernel.bin", vec![0; 0x3000]);
    folder.file("beside.dtb", vec![0; 0x1000]);
    let with = |keys: &str| {
        let memory = "[0x8000_0000, 0x1000, 7, 0], [0x8000_1000, 0x4000, 7, 1]";
        let text = config(memory, "").replace("[devices]", &format!("{keys}\n[devices]"));
        let file = folder.file("vm.toml", text);
        guest_map(&["check", &file, "--arch", "riscv64"])
    };
    let path = format!("kernel_path = \"{kernel}\"");
    with(&format!(
        "entry_point = 0x8000_0000\nkernel_load_addr = 0x8000_0000\n{path}"
    ))
    .accepted();
    let lines = with("entry_point = 0x4020_0000\nramdisk_load_addr = 0x8000_5000").refused();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("vm.toml:6: [kernel] entry_point 0x40200000"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("no memory_regions row has RAM at guest 0x40200000"),
        "{lines:?}"
    );
    assert!(lines[1].contains("ramdisk_load_addr"), "{lines:?}");
    let past = with(&format!("kernel_load_addr = 0x8000_3000\n{path}")).refused();
    assert!(
        past[0]
            .contains("0x80003000-0x80005fff: no memory_regions row has RAM at guest 0x80005000")
    );
    let over = format!("kernel_load_addr = 0x8000_0000\n{path}\ndtb_load_addr = 0x8000_2000");
    let lines = with(&format!("{over}\ndtb_path = \"beside.dtb\"")).refused();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("dtb_load_addr 0x80002000-0x80002fff overlaps kernel_load_addr"),
        "{lines:?}"
    );
}

/// Terabytes are mapped, and none of them is there.
#[test]
fn memory_of_guests_is_never_allocated() {
    let memory = "[0x0, 0x100_0000_0000, 7, 0], [0x200_0000_0000, 0x100_0000_0000, 7, 1],
        [0x3ff_ffff_f000, 0x1000, 7, 2]";
    for (arch, mode) in [
        ("riscv64", "sv48x4"),
        ("aarch64", "ipa48"),
        ("x86_64", "ept4"),
        ("x86_64", "npt4"),
    ] {
        let options = ["--arch", arch, "--mode", mode];
        let output = run("check", &config(memory, ""), &options).accepted();
        assert!(output.contains("524288 of 2M, 1024 of 1G"), "{output}");
    }
    // 2^40 bytes at different offsets in their 2 MiB blocks take 2^28 leaves.
    let device = "passthrough_devices = [[\"huge\", 0x0, 0x1000, 0x100_0000_0000]]";
    let lines = run("check", &config("", device), &["--arch", "x86_64"]).refused();
    assert!(
        lines[0].contains("no more than 0x40000 are built"),
        "{lines:?}"
    );
}

#[test]
fn an_address_is_translated() {
    let devices = "passthrough_devices = [[\"uart\", 0x1000_0000, 0x2000_0000, 0x100]]
        emu_devices = [[\"rtc\", 0x1000_1000, 8, 0, 1, []]]";
    let text = config(
        "[0x8000_0000, 0x40_0000, 4, 2], [0x9000_0000, 0x1000, 7, 0]",
        devices,
    );
    for arch in ARCHES {
        let translate = |gpa| {
            let folder = Folder::new();
            let file = folder.file("vm.toml", &text);
            guest_map(&["translate", &file, gpa, "--arch", arch])
        };
        let device = translate("0x1000_0abc").accepted();
        for part in [
            "host     0x20000abc",
            "uart",
            "READ|WRITE|USER|DEVICE",
            "leaf     4 KiB",
            ", leaf\n",
        ] {
            assert!(device.contains(part), "{part} is not in {device}");
        }
        let execute_only = translate("0x8020_0001").accepted();
        assert!(
            execute_only.contains("host     0x80200001"),
            "{execute_only}"
        );
        assert!(execute_only.contains("leaf     2 MiB"), "{execute_only}");
        assert!(
            translate("2415919104")
                .accepted()
                .contains("the hypervisor chooses")
        );
        let trapped = translate("0x10001ff0").refused();
        assert!(
            trapped[0].contains("0x10001ff0 is not mapped") && trapped[0].contains("rtc"),
            "{trapped:?}"
        );
        let nothing = translate("0xffff_ffff_ffff_ffff").refused();
        assert!(
            nothing[0].contains("before it is 0x90000000-0x90000fff"),
            "{nothing:?}"
        );
    }
}

#[test]
fn an_address_is_explained() {
    let devices = "passthrough_devices = [[\"uart\", 0x1000_0000, 0x2000_0000, 0x100],
        [\"spi\", 0x1000_0800, 0x2000_0800, 0x100], [\"far\", 0x3000_0000, 0x2000_0000, 0x100]]
        emu_devices = [[\"rtc\", 0x1000_1000, 8, 0, 1, []]]";
    let folder = Folder::new();
    let file = folder.file("vm.toml", config("[0x8000_0000, 0x1000, 7, 0]", devices));
    let explain = |arguments: &[&str]| {
        guest_map(&[&["explain", &file, "--arch", "riscv64"], arguments].concat())
    };
    let words = |answer: Answer| {
        let text = answer.accepted();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let shared = words(explain(&["0x1000_0abc"]));
    for part in [
        "guest 0x10000abc leads to host 0x20000abc",
        "vm.toml:7: passthrough_devices[0] \"uart\"",
        "vm.toml:8: passthrough_devices[1] \"spi\"",
        "No entry asks for this byte",
        ", leaf",
    ] {
        assert!(shared.contains(part), "{part} is not in {shared}");
    }
    assert!(!words(explain(&["0x1000_0810"])).contains("No entry asks"));
    assert!(words(explain(&["0x8000_0000"])).contains("that the hypervisor chooses"));
    let trap = words(explain(&["0x1000_1ff0"]));
    assert!(
        trap.contains("every access traps") && trap.contains("vm.toml:9: emu_devices[0]"),
        "{trap}"
    );
    let by_host = words(explain(&["--host", "0x2000_0010"]));
    for part in [
        "reached by guest 0x10000010",
        "reached by guest 0x30000010",
        "\"far\"",
    ] {
        assert!(by_host.contains(part), "{part} is not in {by_host}");
    }
    explain(&["--host", "0x1000_0000"]).refused();
    explain(&["0x7000_0000"]).refused();
    assert_eq!(explain(&[]).status, 2);
    assert_eq!(explain(&["1", "--host", "1"]).status, 2);
}

#[test]
fn two_maps_differ_by_operations() {
    let diff = |before: &str, after: &str| {
        let folder = Folder::new();
        let (one, other) = (folder.file("a.toml", before), folder.file("b.toml", after));
        guest_map(&["diff", &one, &other, "--arch", "riscv64"]).accepted()
    };
    let before = config(
        "[0x8000_0000, 0x10_0000, 7, 1], [0x9000_0000, 0x1000, 7, 1], [0xa000_0000, 0x1000, 7, 0]",
        "passthrough_devices = [[\"d\", 0x1000, 0x1000, 0x3000]]",
    );
    let after = config(
        "[0x8000_0000, 0x20_0000, 7, 1], [0x9000_0000, 0x1000, 5, 1], [0xa000_0000, 0x1000, 7, 1]",
        "passthrough_devices = [[\"d\", 0x2000, 0x5000, 0x1000]]",
    );
    let expected = "\
unmap    0x0000001000-0x0000003fff
unmap    0x00a0000000-0x00a0000fff
map      0x0000002000-0x0000002fff  0x0000005000  rw-u device    passthrough
map      0x0080100000-0x00801fffff  = guest       rwx-           identical
protect  0x0090000000-0x0090000fff  r-x-
map      0x00a0000000-0x00a0000fff  = guest       rwx-           identical
";
    assert_eq!(diff(&before, &after), expected);
    assert_eq!(diff(&before, &before), "the maps are equal\n");
}

#[test]
fn tables_are_dumped_in_runs() {
    let text = config(
        "[0x3fe0_0000, 0x8040_1000, 7, 1]",
        "passthrough_addresses = [[0x1000, 0x2000]]",
    );
    for (arch, mode, levels) in [
        ("riscv64", "auto", [0, 1, 2, 1, 0]),
        ("aarch64", "auto", [3, 2, 1, 2, 3]),
        ("x86_64", "auto", [1, 2, 3, 2, 1]),
        ("x86_64", "npt5", [1, 2, 3, 2, 1]),
    ] {
        let dump = run("dump", &text, &["--arch", arch, "--mode", mode]).accepted();
        let runs: Vec<_> = dump.lines().filter(|line| line.starts_with("0x")).collect();
        let expected = [
            ("0x0000001000-0x0000002fff", "rw-", "2 of 4 KiB"),
            ("0x003fe00000-0x003fffffff", "rwx", "1 of 2 MiB"),
            ("0x0040000000-0x00bfffffff", "rwx", "2 of 1 GiB"),
            ("0x00c0000000-0x00c01fffff", "rwx", "1 of 2 MiB"),
            ("0x00c0200000-0x00c0200fff", "rwx", "1 of 4 KiB"),
        ];
        assert_eq!(runs.len(), expected.len(), "{dump}");
        for ((run, (range, permissions, leaves)), level) in runs.iter().zip(expected).zip(levels) {
            let level = format!("{leaves}, level {level}");
            for part in [range, permissions, &level] {
                assert!(run.contains(part), "{part} is not in {run}");
            }
        }
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let row = |n| format!("[\"d\", {0:#x}, {0:#x}, 1],", n * 0x2000);
    let rows: String = (1..20_000).map(row).collect();
    let folder = Folder::new();
    let file = folder.file(
        "vm.toml",
        config("", &format!("passthrough_devices = [{rows}]")),
    );
    let plan: [&[&str]; 4] = [
        &["plan"],
        &["plan", "--format", "json"],
        &["plan", "--format", "svg"],
        &["dump"],
    ];
    for command in plan {
        let mut child = Command::new(env!("CARGO_BIN_EXE_guest-map"))
            .args(command)
            .args([&file, "--arch", "riscv64"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!line.is_empty());
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(0), &b""[..]),
            "{command:?}"
        );
    }
}

#[test]
fn several_examples_at_once() {
    let (board, virt) = (example("rk3588.toml"), example("qemu-virt-aarch64.toml"));
    let lines = guest_map(&["check", &board, &virt, "--arch", "aarch64"]).refused();
    assert!(
        lines[0].contains("host RAM 0x80000000-0xdfffffff"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("rk3588.toml") && lines[0].contains("qemu-virt-aarch64.toml"),
        "{lines:?}"
    );
}
