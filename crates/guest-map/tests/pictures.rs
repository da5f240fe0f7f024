//! The pictures: both address spaces, nothing written over something else, and no larger for more devices.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use std::fmt::Write;

use common::{config, example, guest_map, run};
use roxmltree::{Document, Node};

/// Names that would be markup, or act on what follows them.
const HOSTILE: &str = r#"<script>alert(1)</script>&"']]>\u0000\u001b[31m\u202e\uFFFE"#;

fn svg(text: &str, arch: &str) -> String {
    run("plan", text, &["--arch", arch, "--format", "svg"]).accepted()
}

/// `count` devices, every third of them with a host address of its own.
fn devices(count: u64) -> String {
    let mut rows = String::new();
    for n in 0..count {
        let gpa = 0x1_0000_0000 + n * 0x3000;
        let hpa = gpa + if n % 3 == 0 { 0x10_0000_0000 } else { 0 };
        writeln!(rows, "[\"device-{n}\", {gpa:#x}, {hpa:#x}, 0x1000],").unwrap();
    }
    format!("passthrough_devices = [{rows}]")
}

/// Where a text stands: left, right, top, bottom.
#[derive(Debug)]
struct Area([f64; 4], String);

/// The texts of a picture. The font is at most 7.3 pixels wide and 12 high.
fn areas(node: Node<'_, '_>, [x, y]: [f64; 2], found: &mut Vec<Area>) {
    let number = |name| {
        node.attribute(name)
            .map_or(0.0, |value| value.parse().unwrap())
    };
    let moved = node.attribute("transform").and_then(|value| {
        let value = value.strip_prefix("translate(0 ")?.strip_suffix(')')?;
        value.parse::<f64>().ok()
    });
    let (x, y) = match node.tag_name().name() {
        "svg" | "text" => (x + number("x"), y + number("y")),
        _ => (x, y + moved.unwrap_or_default()),
    };
    if node.has_tag_name((node.tag_name().namespace().unwrap_or_default(), "text")) {
        let text = node.text().unwrap_or_default();
        let width = text.chars().count() as f64 * 7.3;
        let left = match node.attribute("text-anchor") {
            Some("end") => x - width,
            Some("middle") => x - width / 2.0,
            _ => x,
        };
        found.push(Area([left, left + width, y - 10.0, y + 2.0], text.into()));
    }
    for child in node.children().filter(Node::is_element) {
        areas(child, [x, y], found);
    }
}

fn texts(svg: &str) -> Vec<Area> {
    let document = Document::parse(svg).unwrap();
    let mut found = Vec::new();
    areas(document.root_element(), [0.0, 0.0], &mut found);
    found
}

fn assert_readable(svg: &str) {
    let mut texts = texts(svg);
    assert!(texts.len() > 10, "{svg}");
    texts.sort_by(|one, other| one.0[2].total_cmp(&other.0[2]));
    for (index, Area([left, right, _, bottom], text)) in texts.iter().enumerate() {
        let below = texts[index + 1..].iter();
        for Area([other_left, other_right, top, _], other) in below {
            if top >= bottom {
                break;
            }
            let is_beside = other_right <= left || right <= other_left;
            assert!(is_beside, "{text:?} overlaps {other:?}");
        }
    }
}

#[test]
fn a_picture_has_both_spaces_and_a_band_where_they_differ() {
    let devices = "passthrough_devices = [[\"moved\", 0x1000, 0x9000, 0x1000], \
                   [\"fixed\", 0x5000, 0x5000, 0x1000]]";
    let svg = svg(
        &config("[0x8000_0000, 0x4000_0000, 7, 1]", devices),
        "riscv64",
    );
    let written: Vec<_> = texts(&svg).into_iter().map(|area| area.1).collect();
    for text in [
        "guest-physical",
        "host-physical",
        "0x00001000-0x00001fff",
        "0x00009000-0x00009fff",
        "0x80000000-0xbfffffff",
        "memory_regions[0]",
    ] {
        assert!(
            written.iter().any(|written| written == text),
            "{text} is not in {svg}"
        );
    }
    let equal = written.iter().filter(|text| *text == "= guest").count();
    assert_eq!(equal, 2, "{svg}");
    assert_eq!(svg.matches("<path class=\"band\"").count(), 1, "{svg}");
    assert!(svg.contains("prefers-color-scheme: dark"));
}

#[test]
fn what_is_the_same_in_both_spaces_stands_at_one_height() {
    let devices = "passthrough_devices = [[\"a\", 0x1000, 0x200_0000, 0x1000], \
                   [\"b\", 0x5000, 0x300_0000, 0x1000], [\"same\", 0x4000_0000, 0x4000_0000, 0x1000]]";
    let svg = svg(&config("", devices), "riscv64");
    let same = texts(&svg);
    let same = same.iter().filter(|area| area.1 == "0x40000000-0x40000fff");
    let heights: Vec<_> = same.map(|area| area.0[2]).collect();
    assert_eq!(heights.len(), 2);
    assert!((heights[0] - heights[1]).abs() < 0.1, "{heights:?}");
}

#[test]
fn names_are_no_markup_in_a_picture() {
    let devices =
        format!("passthrough_devices = [[\"\"\"{HOSTILE}\"\"\", 0x1000, 0x9000, 0x1000]]");
    let name =
        format!("[base]\nid = 1\nname = \"\"\"{HOSTILE}\"\"\"\n[kernel]\nmemory_regions = []\n");
    let svg = svg(&format!("{name}[devices]\n{devices}\n"), "riscv64");
    let document = Document::parse(&svg).unwrap();
    let tags = document.descendants().map(|node| node.tag_name().name());
    assert!(!tags.into_iter().any(|tag| tag == "script"));
    let plain = "<script>alert(1)</script>&\"']]>\u{fffd}\u{fffd}[31m\u{fffd}\u{fffd}";
    let titles = document.descendants().filter_map(|node| node.text());
    let titles = titles.filter(|text| text.contains(plain));
    // The row in each space.
    assert!(titles.count() >= 2, "{svg}");
}

#[test]
fn no_text_of_a_picture_stands_on_another() {
    assert_readable(&svg(
        &config("[0x8000_0000, 0x4000_0000, 7, 0]", &devices(300)),
        "aarch64",
    ));
    let long = "/soc/a-bus-with-a-very-long-name@10000000/and-a-device-with-one@1000";
    let wide = format!(
        "passthrough_devices = [[\"{long}\", 0x1f_ffff_ffff_f000, 0xff_ffff_ffff_f000, 0x1000]]\n\
         emu_devices = [[\"{long}\", 0xffff_ffff_ffff_0000, 0x1000, 0, 1, []], \
         [\"second\", 0xffff_ffff_ffff_0800, 0x1000, 0, 1, []]]"
    );
    assert_readable(&svg(
        &config("[0x8000_0000, 0x4000_0000, 7, 0]", &wide),
        "riscv64",
    ));
    assert_readable(&svg(&config("", &devices(5_000)), "aarch64"));
}

#[test]
fn a_board_with_300_devices_is_listed_in_full_and_more_are_summed_up() {
    let few = svg(&config("", &devices(300)), "aarch64");
    let named = texts(&few)
        .iter()
        .filter(|area| area.1.starts_with("device-"))
        .count();
    // Every device on the left, and those with another host address on the right.
    assert_eq!(named, 400);
    assert!(!few.contains("class=\"passthrough many\""));
    let many = svg(&config("", &devices(20_000)), "aarch64");
    assert!(many.contains("class=\"passthrough many\""));
    assert!(many.len() < 1_000_000, "{} bytes", many.len());
}

/// Neighbours in the guest that lead anywhere on the host would need a band each.
#[test]
fn the_size_of_a_picture_has_a_bound() {
    let rows: String = (0..30_000_u64)
        .map(|n| {
            let (gpa, hpa) = (n * 0x2000, (n * 7919 % 30_000) * 0x2000);
            format!("[\"d\", {gpa:#x}, {hpa:#x}, 0x1000],\n")
        })
        .collect();
    let svg = svg(
        &config("", &format!("passthrough_devices = [{rows}]")),
        "aarch64",
    );
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
}

/// The limit is one of address space, which is more than the memory that is used.
#[cfg(target_os = "linux")]
#[test]
fn a_hundred_thousand_devices_take_less_than_200_mb() {
    let folder = common::Folder::new();
    let memory = "[0x8000_0000, 0x4000_0000, 7, 1]";
    let file = folder.file("vm.toml", config(memory, &devices(100_000)));
    for format in ["table", "json", "svg", "html"] {
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 200000 && exec \"$@\"", "sh"])
            .args([env!("CARGO_BIN_EXE_guest-map"), "plan", &file])
            .args(["--arch", "aarch64", "--format", format])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{format}: {errors}");
        assert!(output.stdout.len() > 100_000, "{format}");
    }
}

/// `guest-map plan examples/qemu-virt-riscv64.toml --arch riscv64 --format svg` makes it anew.
#[test]
fn the_picture_of_an_example_is_the_one_that_is_printed() {
    let file = example("qemu-virt-riscv64.toml");
    let arguments = ["plan", &file, "--arch", "riscv64", "--format", "svg"];
    let expected = include_str!("../examples/qemu-virt-riscv64.svg");
    assert_eq!(guest_map(&arguments).accepted(), expected);
    assert!(include_str!("../README.md").contains("`examples/qemu-virt-riscv64.svg`"));
}
