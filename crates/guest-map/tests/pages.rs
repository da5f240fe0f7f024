//! The page of `--format html`, as a browser gets it: what is in it, and that names cannot become markup. What a
//! reader can do with it is tested in a browser, by `cargo xtask browser`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::{bus, config, device, example, guest_map, plan_json, riscv_tree, run};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Names that would be markup, or act on what follows them.
const HOSTILE: &str = r#"</script><script>alert(1)</script><!--&"'`\u0000\u001b[31m\u202e"#;

fn page(text: &str, options: &[&str]) -> String {
    run("plan", text, &[options, &["--format", "html"]].concat()).accepted()
}

/// What stands between two texts.
fn between<'p>(page: &'p str, before: &str, after: &str) -> &'p str {
    let (_, rest) = page.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

fn data(page: &str) -> Value {
    let data = between(
        page,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    serde_json::from_str(data).unwrap()
}

/// A number that is text where it would be rounded.
fn number(value: &Value, base: i128) -> i128 {
    match value {
        Value::String(text) => i128::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap(),
        value => base + i128::from(value.as_i64().unwrap()),
    }
}

/// The mappings of a page, as `plan --format json` has them.
fn regions(data: &Value) -> Vec<Value> {
    let kinds = ["identical", "alloc", "reserved", "passthrough", "emulated"];
    let mut names = data["names"].as_array().unwrap().iter();
    let mut start = 0;
    let mut regions = Vec::new();
    for block in data["blocks"].as_array().unwrap().chunks(6) {
        start += number(&block[0], 0);
        let kind = kinds[block[2].as_u64().unwrap() as usize];
        let entries = block[5].as_u64().unwrap() as usize;
        let mut seen = BTreeSet::new();
        let mut sources: Vec<_> = names.by_ref().take(entries).collect();
        sources.retain(|name| seen.insert(name.as_str()));
        if kind != "emulated" {
            let host = block[4]
                .as_i64()
                .map(|host| format!("{:#x}", (start + i128::from(host)) << 12));
            let (gpa, size) = (start << 12, number(&block[1], 0) << 12);
            regions.push(json!({
                "gpa": format!("{gpa:#x}"), "hpa": host, "size": format!("{size:#x}"),
                "kind": kind, "sources": sources,
            }));
        }
    }
    assert!(names.next().is_none());
    regions
}

fn assert_same_as_json(text: &str, options: &[&str]) {
    let mut plan = plan_json(text, options);
    let expected = plan["regions"].as_array_mut().unwrap();
    for region in expected.iter_mut() {
        region.as_object_mut().unwrap().remove("flags");
    }
    assert_eq!(&regions(&data(&page(text, options))), expected);
}

#[test]
fn a_page_has_the_mappings_of_the_plan() {
    for (name, arch) in [
        ("qemu-virt-riscv64.toml", "riscv64"),
        ("qemu-virt-aarch64.toml", "aarch64"),
        ("rk3588.toml", "aarch64"),
        ("pc-x86_64.toml", "x86_64"),
    ] {
        let text = std::fs::read_to_string(example(name)).unwrap();
        assert_same_as_json(&text, &["--arch", arch]);
    }
    let far = "passthrough_devices = [[\"far\", 0x1ff_ffff_ffff_f000, 0xff_ffff_ffff_f000, 0x1000], \
               [\"low\", 0x800, 0xff_ffff_ffff_0800, 1], [\"low\", 0x900, 0xff_ffff_ffff_0900, 1]]";
    let emulated = "emu_devices = [[\"last\", 0xffff_ffff_ffff_ff00, 0x100, 0, 1, []]]";
    let text = config(
        "[0x8000_0800, 0x4000_0000, 7, 0]",
        &format!("{far}\n{emulated}"),
    );
    assert_same_as_json(&text, &["--arch", "riscv64"]);
}

#[test]
fn an_entry_has_its_line_and_its_bytes() {
    let text = "[base]\nid = 1\nname = \"vm\"\n[kernel]\nmemory_regions = [\n  [0x8000_0000, 0x20_0000, 7, 1],\n]\n\
                [devices]\npassthrough_devices = [\n  [\"a\", 0x1010, 0x1010, 0x20],\n\n  [\"b\", 0x1080, 0x1080, 0x100],\n]\n";
    let data = data(&page(text, &["--arch", "riscv64"]));
    let lists = data["lists"].as_array().unwrap();
    let places = data["places"].as_array().unwrap().chunks(5);
    let places: Vec<_> = places
        .map(|place| {
            json!([
                lists[place[0].as_u64().unwrap() as usize],
                place[1],
                place[2],
                place[3],
                place[4]
            ])
        })
        .collect();
    let expected = json!([
        ["passthrough_devices", 0, 10, 0x10, 0x20],
        ["passthrough_devices", 1, 12, 0x80, 0x100],
        ["memory_regions", 0, 6, 0, 0x20_0000],
    ]);
    assert_eq!(json!(places), expected);
    assert_eq!(data["names"], json!(["a", "b", "memory_regions[0]"]));
}

#[test]
fn a_warning_is_at_its_region() {
    let devices = "passthrough_devices = [[\"page\", 0x1000, 0x1000, 0x1000], \
                   [\"part\", 0x5000, 0x5000, 0x100], [\"other\", 0x9000, 0x9000, 0x10]]";
    let text = config("[0x8000_0000, 0x1800, 7, 1]", devices);
    let page = page(&text, &["--arch", "riscv64"]);
    let data = data(&page);
    let warnings = data["warnings"].as_array().unwrap();
    let found: Vec<_> = warnings
        .iter()
        .map(|warning| json!([warning["code"], warning["blocks"]]))
        .collect();
    let expected = json!([
        ["page-exposure", [1]],
        ["page-exposure", [2]],
        ["region-rounded", [3]]
    ]);
    assert_eq!(json!(found), expected);
    assert!(page.contains("<h3>3 warnings</h3>"));
    let allowed = ["--arch", "riscv64", "--allow", "page-exposure"];
    let page = self::page(&text, &allowed);
    assert!(page.contains("<h3>1 warning</h3>") && !page.contains("page-exposure"));
}

/// The browser compares the hashes before it runs the script.
#[test]
fn the_policy_has_the_hashes_of_style_and_script() {
    let page = page(&config("", ""), &["--arch", "riscv64"]);
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let style = hash(between(&page, "<style>", "</style>"));
    let script = hash(between(&page, "<script>", "</script>"));
    let expected = format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src data:; base-uri 'none'; \
         form-action 'none'"
    );
    assert_eq!(
        policy, expected,
        "the constants in src/report/html/mod.rs are of an older text"
    );
}

#[test]
fn a_page_asks_for_nothing_from_outside() {
    let page = page(&config("", ""), &["--arch", "riscv64"]);
    for reference in [
        " src=",
        "url(",
        "@import",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
    ] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert_eq!(
        page.matches(" href=").count(),
        page.matches(" href=\"data:,\"").count()
    );
    // The name of SVG's elements is no address that anybody asks.
    let addresses = page.matches("http").count() - page.matches("http-equiv").count();
    assert_eq!(
        addresses,
        page.matches("\"http://www.w3.org/2000/svg\"").count()
    );
}

#[test]
fn names_of_a_configuration_are_no_markup_in_a_page() {
    let name = HOSTILE;
    let devices = format!(
        "passthrough_devices = [[\"\"\"{name}\"\"\", 0x1000, 0x9000, 0x100]]\n\
         emu_devices = [[\"\"\"{name}\"\"\", 0x5000, 0x100, 0, 1, []]]"
    );
    let head =
        format!("[base]\nid = 1\nname = \"\"\"{name}\"\"\"\n[kernel]\nmemory_regions = []\n");
    let page = page(
        &format!("{head}[devices]\n{devices}\n"),
        &["--arch", "riscv64"],
    );
    assert_no_markup(&page);
    let plain = "</script><script>alert(1)</script><!--&\"'`\u{fffd}\u{fffd}[31m\u{fffd}";
    assert_eq!(data(&page)["names"], json!([plain, plain]));
    let escaped =
        "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;!--&amp;&quot;&#39;`\u{fffd}";
    assert!(between(&page, "<title>", "</title>").contains(escaped));
    assert!(between(&page, "<h1>", "</h1>").contains(escaped));
}

#[test]
fn names_of_a_device_tree_are_no_markup_in_a_page() {
    let name = "</script><img onerror=alert(1)>&\u{202e}@10000000";
    let tree = riscv_tree(vec![bus(
        "soc",
        vec![device(name, &[(0x1000_0000, 0x100)])],
    )]);
    let folder = common::Folder::new();
    let (tree, vm) = (
        folder.file("host.dtb", tree),
        folder.file("vm.toml", config("", "passthrough_devices = [[\"/\"]]")),
    );
    let page = guest_map(&["plan", &vm, "--dtb", &tree, "--format", "html"]).accepted();
    assert_no_markup(&page);
    let names = data(&page)["names"].to_string();
    assert!(
        names.contains("/soc/</script><img onerror=alert(1)>&\u{fffd}@10000000"),
        "{names}"
    );
}

/// Of the tags that a name could bring none is there, and the scripts are the page's two.
fn assert_no_markup(page: &str) {
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img") && !page.contains("<!--"));
    let acting = |character: char| character.is_control() && character != '\n';
    assert!(!page.contains(acting) && !page.contains('\u{202e}'));
}

/// Each device costs some bytes of data; the picture in the page is summed up.
#[test]
fn the_size_of_a_page_has_a_bound() {
    let mut rows = String::new();
    for n in 0..20_000_u64 {
        let (gpa, hpa) = (n * 0x3000, (n * 7919 % 20_000) * 0x3000);
        writeln!(rows, "[\"device-{n}\", {gpa:#x}, {hpa:#x}, 0x100],").unwrap();
    }
    let text = config("", &format!("passthrough_devices = [{rows}]"));
    let page = page(&text, &["--arch", "aarch64"]);
    assert!(
        page.len() < 1_500_000 + 20_000 * 120,
        "{} bytes",
        page.len()
    );
    let listed = page.matches("<strong>page-exposure</strong>").count();
    assert_eq!(listed, 100);
}
