//! AMD's nested tables, which are a mode of x86_64 beside Intel's.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{config, plan_json, run};
use serde_json::json;

const NPT4: [&str; 4] = ["--arch", "x86_64", "--mode", "npt4"];
const NPT5: [&str; 4] = ["--arch", "x86_64", "--mode", "npt5"];

#[test]
fn a_plan_counts_the_tables_of_4_and_of_5_levels() {
    let text = config("[0x8000_0000, 0x20_1000, 7, 1]", "");
    for (options, levels) in [(NPT4, 4), (NPT5, 5)] {
        let plan = plan_json(&text, &options);
        let leaves = json!({"4K": 1, "2M": 1, "1G": 0});
        let expected =
            json!({"levels": levels, "root_bytes": 0x1000, "frames": levels, "leaves": leaves});
        assert_eq!(plan["tables"], expected);
        assert_eq!(plan["mode"], options[3]);
        run("check", &text, &options).accepted();
    }
}

/// The advice is a mode of the same processors.
#[test]
fn addresses_beyond_48_bits_need_npt5() {
    let text = config("[0x1_0000_0000_0000, 0x1000, 7, 0]", "");
    let lines = run("plan", &text, &NPT4).refused();
    assert!(
        lines[0].contains("48 bits of npt4: use --mode npt5"),
        "{lines:?}"
    );
    run("check", &text, &NPT5).accepted();
}

/// What is present can be read.
#[test]
fn memory_cannot_be_executed_and_not_read() {
    let text = config("[0x8000_0000, 0x1000, 4, 1]", "");
    let lines = run("plan", &text, &NPT4).refused();
    assert!(lines[0].contains("EXECUTE without READ"), "{lines:?}");
    run("plan", &text, &["--arch", "x86_64", "--mode", "ept4"]).accepted();
    let claimed = [&NPT4[..], &["--capabilities", "execute-only"]].concat();
    let answer = run("plan", &text, &claimed);
    assert_eq!((answer.status, answer.stdout.as_str()), (2, ""));
}

/// An id is an ASID: 0 is the host's.
#[test]
fn an_id_is_an_asid() {
    let with_id = |id: u32| config("", "").replace("id = 7", &format!("id = {id}"));
    for id in [1, 32_767] {
        run("check", &with_id(id), &NPT4).accepted();
    }
    let lines = run("check", &with_id(0), &NPT4).refused();
    assert!(lines[0].contains("ASID 0 is the host's"), "{lines:?}");
    let lines = run("check", &with_id(32_768), &NPT4).refused();
    assert!(lines[0].contains("so that 32767 is the last"), "{lines:?}");
    run("plan", &with_id(0), &NPT4).accepted();
}

#[test]
fn the_width_of_host_addresses_is_the_machines() {
    let text = config("[0xf_ffff_f000, 0x1000, 7, 1]", "");
    let with = |bits: &str| {
        run(
            "check",
            &text,
            &[&NPT4[..], &["--capabilities", bits]].concat(),
        )
    };
    with("pa-bits=36").accepted();
    let lines = with("pa-bits=35").refused();
    assert!(lines[0].contains("addresses exceed"), "{lines:?}");
}

/// The walker names the type that the host's PAT gives: as after reset, UC for devices and UC- for what is uncached.
#[test]
fn memory_types_are_those_of_the_pat() {
    let device = "passthrough_devices = [[\"uart\", 0x1000, 0x2000, 0x1000]]";
    let text = config(
        "[0x8000_0000, 0x1000, 0x7, 1], [0x8010_0000, 0x1000, 0x23, 1]",
        device,
    );
    for (address, memory_type) in [
        ("0x8000_0010", "type WB, PAT index 0"),
        ("0x8010_0010", "type UC-, PAT index 2"),
        ("0x1010", "type UC, PAT index 3"),
    ] {
        let folder = common::Folder::new();
        let file = folder.file("vm.toml", &text);
        let output = common::guest_map(&[&["translate", &file, address][..], &NPT4].concat());
        let output = output.accepted();
        assert!(output.contains(memory_type), "{address}: {output}");
    }
}
