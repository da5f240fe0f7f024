//! Standard input, completions, help and the manual page, as one calls them.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{Folder, config, device, guest_map, guest_map_reading, riscv_tree};

#[test]
fn a_configuration_on_standard_input() {
    let text = config("[0x8000_0000, 0x1000, 7, 1]", "");
    let arch = ["--arch", "riscv64"];
    let plan = guest_map_reading(&[&["plan", "-"][..], &arch].concat(), text.as_bytes());
    assert!(plan.accepted().contains("0x80000000-0x80000fff"));
    let wrong = text.replace("0x1000, 7", "0, 7");
    let plan = guest_map_reading(&[&["plan", "-"][..], &arch].concat(), wrong.as_bytes());
    let lines = plan.refused();
    assert!(
        lines[0].starts_with("error: <stdin>:5: memory_regions[0]"),
        "{lines:?}"
    );
}

#[test]
fn a_device_tree_on_standard_input() {
    let tree = riscv_tree(vec![device("serial@10000000", &[(0x1000_0000, 0x100)])]);
    let board = guest_map_reading(&["init", "--dtb", "-"], &tree).accepted();
    assert!(board.contains("/serial@10000000"), "{board}");
    let folder = Folder::new();
    let text = config("", r#"passthrough_devices = [["/serial@10000000"]]"#);
    let file = folder.file("vm.toml", text);
    let plan = guest_map_reading(&["plan", &file, "--dtb", "-"], &tree).accepted();
    assert!(plan.contains("/serial@10000000"), "{plan}");
}

#[test]
fn standard_input_is_read_once() {
    let twice = guest_map_reading(&["plan", "-", "--dtb", "-"], b"");
    assert_eq!((twice.status, twice.stdout.as_str()), (2, ""));
    assert!(twice.stderr.contains("give - once"), "{}", twice.stderr);
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = guest_map(&["completions", shell]).accepted();
        for name in ["explain", "--capabilities", "decode"] {
            let name = name.trim_start_matches("--");
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}

#[test]
fn help_on_topics_and_subcommands() {
    for (subject, part) in [
        ("warnings", "page-exposure"),
        ("dialects", "guest_type"),
        ("exit-status", "Wrong usage"),
        ("schema", "https://json-schema.org/draft/2020-12/schema"),
        ("plan", "Usage: guest-map plan"),
    ] {
        let text = guest_map(&["help", subject]).accepted();
        assert!(text.contains(part), "{subject}: {text}");
    }
    assert!(
        guest_map(&["help"])
            .accepted()
            .contains("Topics of guest-map help")
    );
    let unknown = guest_map(&["help", "warmings"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("warnings"), "{}", unknown.stderr);
}

#[test]
fn manual_pages() {
    let page = guest_map(&["man"]).accepted();
    assert!(page.contains(".TH guest-map 1"), "{page}");
    let page = guest_map(&["man", "plan"]).accepted();
    assert!(page.contains("guest\\-map\\-plan"), "{page}");
}

/// What a new user meets: a board, a device that was not passed through, and a fault there.
#[test]
fn a_fault_at_a_device_that_is_not_passed_through_names_it() {
    let folder = Folder::new();
    let devices = vec![
        device("serial@10000000", &[(0x1000_0000, 0x100)]),
        device("serial@10010000", &[(0x1001_0000, 0x100)]),
    ];
    let dtb = folder.file("board.dtb", riscv_tree(devices));
    let text = guest_map(&["init", "--dtb", &dtb]).accepted();
    assert!(
        text.contains("does not say where the host has RAM"),
        "{text}"
    );
    let file = folder.file("vm.toml", text);
    let explain = ["explain", &file, "0x10010004", "--dtb", &dtb];
    let lines = guest_map(&explain).refused();
    assert!(
        lines[0].contains("on the host /serial@10010000 is there"),
        "{lines:?}"
    );
    let registers = ["decode", "scause=21", "htval=0x4004001", "--config", &file];
    let text = guest_map(&[&registers[..], &["--dtb", &dtb]].concat()).accepted();
    assert!(
        text.starts_with("The guest reads guest 0x10010004"),
        "{text}"
    );
    assert!(text.contains("/serial@10010000"), "{text}");
}

#[test]
fn an_address_without_0x_is_asked_about() {
    let answer = guest_map(&["explain", "vm.toml", "feb60010", "--arch", "aarch64"]);
    assert_eq!(answer.status, 2);
    assert!(
        answer.stderr.contains("was 0xfeb60010"),
        "{}",
        answer.stderr
    );
}

/// Help that `clap` had wrapped was wrapped again.
#[test]
fn help_without_a_subcommand_is_that_of_the_tool() {
    let (bare, help) = (guest_map(&[]), guest_map(&["--help"]).accepted());
    assert_eq!((bare.status, bare.stderr), (2, help));
}
