//! Small trees by hand: the architecture, what people read, and the first of two properties.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::{Node, flatten};
use device_tree_regions::{Architecture, DeviceTree, Finding, Selection};

fn architecture(cpu: Node) -> Option<Architecture> {
    let cpus = Node::new("cpus").bus(1, 0).child(cpu);
    let blob = flatten(&Node::new("").child(Node::new("soc")).child(cpus));
    DeviceTree::new(&blob).unwrap().architecture()
}

#[test]
fn the_cpus_tell_the_architecture() {
    let cpu = || Node::new("cpu@0");
    let compatible = |name| cpu().text("compatible", name);
    let riscv = [
        compatible("sifive,bullet0\0riscv").text("status", "disabled"),
        cpu().text("riscv,isa", "rv64imafdc"),
        cpu().text("riscv,isa-base", "rv64i"),
    ];
    let aarch64 = [
        compatible("arm,cortex-a53"),
        compatible("arm,cortex-a55").text("enable-method", "psci"),
        compatible("arm,armv8"),
        compatible("apple,icestorm").text("enable-method", "spin-table"),
        compatible("qcom,kryo").text("enable-method", "psci"),
    ];
    let x86_64 = [compatible("intel,ce4100"), compatible("amd,zen")];
    let unknown = [
        cpu(),
        compatible("arm,cortex-a7").text("enable-method", "psci"),
        compatible("arm,cortex-a15"),
        compatible("arm,arm1176jzf-s"),
        compatible("riscv").text("riscv,isa", "rv32imac"),
        compatible("mips,mips24KEc"),
        Node::new("cpu-map").text("compatible", "arm,cortex-a53"),
    ];
    let cases = [
        (riscv.to_vec(), Some(Architecture::Riscv64)),
        (aarch64.to_vec(), Some(Architecture::Aarch64)),
        (x86_64.to_vec(), Some(Architecture::X86_64)),
        (unknown.to_vec(), None),
    ];
    for (cpus, expected) in cases {
        for cpu in cpus {
            assert_eq!(architecture(cpu.clone()), expected, "{cpu:?}");
        }
    }
    let elsewhere = Node::new("").child(cpu().text("compatible", "arm,cortex-a53"));
    let blob = flatten(&elsewhere);
    assert_eq!(DeviceTree::new(&blob).unwrap().architecture(), None);
}

fn lines(root: &Node) -> Vec<String> {
    let blob = flatten(root);
    let tree = DeviceTree::new(&blob).unwrap();
    let selection = Selection::new(&["/", "/soc"], &[]);
    let mut lines = Vec::new();
    tree.visit_regions(&selection, |finding| {
        lines.push(match finding {
            Finding::Region(region) => {
                let (property, index) = (region.property, region.index);
                format!("{} {} {property}[{index}]", region.node, region.range)
            }
            Finding::Ignored(ignored) => ignored.to_string(),
        });
    });
    lines
}

#[test]
fn findings_come_in_order_and_once() {
    let uart = Node::new("uart@10")
        .cells("reg", &[0x10, 0x8, 0xffff_ffff, 2, 0xff8, 8, 0x20, 0])
        .cells("reg", &[0x800, 8])
        .text("status", "okay");
    let pcie = Node::new("pcie@100")
        .bus(3, 2)
        .text("device_type", "pci")
        .cells("reg", &[0x100, 0x10])
        .cells("ranges", &[0x100_0000, 0, 0, 0x200, 0, 0x10])
        .child(
            Node::new("bridge@0")
                .bus(1, 1)
                .cells("reg", &[0, 0, 0, 0, 8]),
        );
    let soc = Node::new("soc")
        .bus(1, 1)
        .cells("ranges", &[0, 0x10, 0, 0x1000])
        .child(uart)
        .child(pcie)
        .child(
            Node::new("odd")
                .bytes("reg", &[1, 2, 3])
                .bytes("status", b"okay"),
        );
    let high = Node::new("high").cells(
        "reg",
        &[0x0800_0000, 0, 0, 1, 0xffff_ffff, 0xffff_ffff, 0, 2],
    );
    let root = Node::new("").bus(2, 2).child(soc).child(high);
    let expected = [
        "/soc/uart@10 0x1000000010-0x1000000017 reg[0]",
        "/soc/uart@10 0x1000000ff8-0x1000000fff reg[2]",
        "/soc/pcie@100 0x1000000100-0x100000010f reg[0]",
        "/soc/pcie@100 0x1000000200-0x100000020f ranges[0]",
        "/soc/odd: status: not a string",
        "/soc/odd: reg: 3 bytes are not a whole number of entries of 8 bytes",
        "/high: reg[0]: 0x800000000000000-0x800000000000000 is wider than 59 bits",
        "/high: reg[1]: 0x2 bytes at 0xffffffffffffffff run past 2^64",
    ];
    assert_eq!(lines(&root), expected);
}

#[test]
fn names_need_not_be_text() {
    let mut blob = flatten(&Node::new("").child(Node::new("soc\n@\u{e9}")));
    let place = blob.windows(3).position(|bytes| bytes == b"soc").unwrap();
    blob[place] = 0xff;
    let mut paths = Vec::new();
    let tree = DeviceTree::new(&blob).unwrap();
    tree.visit_nodes(|path| paths.push(path.to_string()));
    assert_eq!(paths, ["/", "/\u{fffd}oc\n@\u{e9}"]);
}
