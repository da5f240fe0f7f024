//! What every subcommand prints with `--format json` is what the schema says.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use std::fs;
use std::path::Path;

use common::{Folder, config, device, example, guest_map, riscv_tree, with_text};
use serde_json::{Value, json};

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A validator of one definition. Nothing that the schema does not name is allowed, although programs have
/// to expect it: a key without a description would be a mistake of this version.
fn validator(definition: &str) -> jsonschema::Validator {
    let mut schema = schema();
    close(&mut schema);
    let object = schema.as_object_mut().unwrap();
    object.remove("anyOf");
    object.insert("$ref".into(), format!("#/$defs/{definition}").into());
    jsonschema::validator_for(&schema).unwrap()
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            if object.contains_key("properties") && object.get("type") == Some(&json!("object")) {
                object.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(array) => array.iter_mut().for_each(close),
        _ => {}
    }
}

#[track_caller]
fn assert_valid(definition: &str, arguments: &[&str]) -> Value {
    let answer = guest_map(&[arguments, &["--format", "json"]].concat());
    let document = answer.json();
    let wrong = validator(definition).validate(&document).err();
    let wrong = wrong.map(|error| format!("{}: {error}", error.instance_path()));
    assert_eq!(wrong, None, "{arguments:?}\n{document:#}");
    document
}

const BOARDS: [(&str, &str); 3] = [
    ("qemu-virt-riscv64.toml", "riscv64"),
    ("qemu-virt-aarch64.toml", "aarch64"),
    ("pc-x86_64.toml", "x86_64"),
];

#[test]
fn every_subcommand_answers_as_the_schema_says() {
    for (board, arch) in BOARDS {
        let file = example(board);
        let plan = assert_valid("plan", &["plan", &file, "--arch", arch]);
        assert_valid("plans", &["plan", &file, &file, "--arch", arch]);
        assert_valid("check", &["check", &file, "--arch", arch]);
        assert_valid("dump", &["dump", &file, "--arch", arch]);
        let regions = plan["regions"].as_array().unwrap();
        assert!(!regions.is_empty());
        for region in regions {
            let gpa = region["gpa"].as_str().unwrap();
            let translated = assert_valid("translate", &["translate", &file, gpa, "--arch", arch]);
            assert_eq!(translated["hpa"], region["hpa"]);
            assert_eq!(&translated["region"], region);
            let explained = assert_valid("explain", &["explain", &file, gpa, "--arch", arch]);
            assert_eq!(&explained["mapping"], region);
            if let Some(hpa) = region["hpa"].as_str() {
                let arguments = ["explain", &file, "--host", hpa, "--arch", arch];
                let reached = assert_valid("explain-host", &arguments);
                assert_eq!(reached["guests"][0]["gpa"], gpa);
            }
        }
    }
}

/// AMD's tables have memory types of their own.
#[test]
fn nested_tables_of_amd() {
    let file = example("pc-x86_64.toml");
    let mode = ["--arch", "x86_64", "--mode", "npt4"];
    for command in ["plan", "check", "dump"] {
        assert_valid(command, &[&[command, &file][..], &mode].concat());
    }
    assert_valid(
        "translate",
        &[&["translate", &file, "0x100000"][..], &mode].concat(),
    );
}

#[test]
fn an_emulated_device_is_explained_without_a_mapping() {
    let (file, arch) = (example(BOARDS[0].0), BOARDS[0].1);
    let explained = assert_valid("explain", &["explain", &file, "0xc000000", "--arch", arch]);
    assert_eq!(explained["mapping"], Value::Null);
    assert_eq!(explained["entries"][0]["name"], "plic");
    assert_eq!(explained["entries"][0]["kind"], "emulated");
}

#[test]
fn differences_are_operations() {
    let folder = Folder::new();
    let before = config(
        "[0x8000_0000, 0x20_0000, 7, 1], [0x9000_0000, 0x20_0000, 7, 0]",
        "",
    );
    let after = config(
        "[0x8000_0000, 0x20_0000, 5, 1], [0xa000_0000, 0x20_0000, 7, 0]",
        "",
    );
    let before = folder.file("before.toml", before);
    let after = folder.file("after.toml", after);
    let difference = assert_valid("diff", &["diff", &before, &after, "--arch", "riscv64"]);
    let operations = difference["operations"].as_array().unwrap();
    let names: Vec<_> = operations.iter().map(|one| &one["operation"]).collect();
    assert_eq!(names, ["unmap", "protect", "map"]);
    assert_eq!(operations[1]["flags"], json!(["READ", "EXECUTE"]));
    assert_eq!(operations[2]["hpa"], Value::Null);
    let equal = assert_valid("diff", &["diff", &before, &before, "--arch", "riscv64"]);
    assert_eq!(equal["operations"], json!([]));
}

#[test]
fn a_board_and_the_configuration_for_it() {
    let folder = Folder::new();
    let memory = with_text(
        device("memory@80000000", &[(0x8000_0000, 0x1000_0000)]),
        "device_type",
        "memory",
    );
    let uart = device("serial@10000000", &[(0x1000_0000, 0x100)]);
    let dtb = folder.file("board.dtb", riscv_tree(vec![memory, uart]));
    let board = assert_valid("init", &["init", "--dtb", &dtb]);
    assert_eq!(board["devices"][0]["path"], "/serial@10000000");
    assert_eq!(board["memory"][0]["use"], "ram");
    let text = board["configuration"].as_str().unwrap();
    let file = folder.file("vm.toml", text);
    assert_valid("check", &["check", &file, "--dtb", &dtb]);
    let printed = guest_map(&["init", "--dtb", &dtb]).accepted();
    assert_eq!(printed, text);
}

#[test]
fn registers_and_exits() {
    for arguments in [
        &["hgatp=0x8000000000080200"][..],
        &[
            "scause=23",
            "htval=0x2400000",
            "stval=0x9000003",
            "htinst=0",
        ],
        &["vtcr=0x80023558", "vttbr=0x4000000"],
        &["esr=0x92000086", "hpfar=0x90000"],
        &["esr=0x5a000000"],
        &["eptp=0x1000005e"],
        &["qualification=0x18a", "gpa=0x9000000"],
        &[
            "ncr3=0x1000",
            "exitinfo1=0x100000006",
            "exitinfo2=0xfed00000",
        ],
        &["entry=0xcf", "--mode", "sv39x4", "--level", "1"],
    ] {
        assert_valid("decode", &[&["decode"], arguments].concat());
    }
    // The registers tell the architecture of the machine.
    let file = example(BOARDS[0].0);
    let arguments = ["decode", "scause=23", "htval=0x4000000", "--config", &file];
    let explained = assert_valid("decode", &arguments);
    assert_eq!(explained["explanation"]["gpa"], "0x10000000");
    assert_eq!(explained["explanation"]["entries"][0]["name"], "uart");
    let arguments = ["decode", "scause=23", "htval=0x1", "--config", &file];
    let nothing = assert_valid("decode", &arguments);
    assert!(nothing["explanation"]["nothing"].is_string());
}

/// A schema that accepts everything would pass all of this.
#[test]
fn what_is_wrong_is_not_valid() {
    let file = example(BOARDS[0].0);
    let arguments = ["plan", &file, "--arch", "riscv64"];
    let plan = assert_valid("plan", &arguments);
    let validator = validator("plan");
    for (pointer, wrong) in [
        ("/regions/0/gpa", json!(4096)),
        ("/regions/0/gpa", json!("0x00")),
        ("/regions/0/kind", json!("emulated")),
        ("/regions/0/flags/0", json!("DIRTY")),
        ("/regions/0/sources", json!([])),
        ("/mode", json!("sv40x4")),
        ("/tables/frames", json!("8")),
    ] {
        let mut changed = plan.clone();
        *changed.pointer_mut(pointer).unwrap() = wrong;
        assert!(!validator.is_valid(&changed), "{pointer}");
    }
    let mut changed = plan;
    changed.as_object_mut().unwrap().remove("arch");
    assert!(!validator.is_valid(&changed));
}
