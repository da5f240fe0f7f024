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
            Finding::Clipped(clipped) => clipped.to_string(),
            Finding::Ignored(ignored) => ignored.to_string(),
            Finding::Idle(_) => return,
        });
    });
    lines
}

#[test]
fn findings_come_in_order_and_once() {
    let uart = Node::new("uart@10")
        .cells(
            "reg",
            &[0x10, 0x8, 0xffff_ffff, 2, 0xff8, 0x10, 0x20, 0, 0x1000, 8],
        )
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
        "/soc/uart@10: reg[1]: 0xffffffff is in no window of the ranges of /soc",
        "/soc/uart@10 0x1000000ff8-0x1000000fff reg[2]",
        "/soc/uart@10: reg[2]: of 0x10 bytes, the windows above hold the first 0x8, 0x1000000ff8-0x1000000fff",
        "/soc/uart@10: reg[4]: 0x1000 is in no window of the ranges of /soc",
        "/soc/pcie@100 0x1000000100-0x100000010f reg[0]",
        "/soc/pcie@100 0x1000000200-0x100000020f ranges[0]",
        "/soc/odd: status: not a string",
        "/soc/odd: reg: 3 bytes are not a whole number of entries of 8 bytes",
        "/high: reg[0]: 0x800000000000000-0x800000000000000 is wider than 59 bits",
        "/high: reg[1]: 0x2 bytes at 0xffffffffffffffff run past 2^64",
    ];
    assert_eq!(lines(&root), expected);
}

/// As on a Raspberry Pi 5: a chip behind PCI whose devices have addresses of their own.
fn chip_behind_pci() -> Node {
    let ethernet = Node::new("ethernet@100000").cells("reg", &[0xc0, 0x4010_0000, 0, 0x4000]);
    let past = Node::new("past@400000").cells("reg", &[0xc0, 0x4040_0000, 0, 0x2_0000]);
    let chip = Node::new("chip@0")
        .bus(2, 2)
        .cells("reg", &[0x1_0000, 0, 0, 0, 0x1000])
        .cells(
            "assigned-addresses",
            &[
                0x200_0010, 0, 0x50_0000, 0, 0x1000, 0x100_0014, 0, 0x10, 0, 0x10,
            ],
        )
        .cells(
            "ranges",
            &[0xc0, 0x4000_0000, 0x200_0000, 0, 0, 0, 0x41_0000],
        )
        .child(ethernet)
        .child(past);
    let pcie = Node::new("pcie@120000")
        .bus(3, 2)
        .text("device_type", "pci")
        .cells("reg", &[0x10, 0x12_0000, 0, 0x9310])
        .cells("ranges", &[0x200_0000, 0, 0, 0x1f, 0, 0, 0xffff_fffc])
        .child(chip);
    Node::new("").bus(2, 2).child(pcie)
}

#[test]
fn devices_below_pci_have_addresses() {
    let expected = [
        "/pcie@120000 0x1000120000-0x100012930f reg[0]",
        "/pcie@120000 0x1f00000000-0x1ffffffffb ranges[0]",
        "/pcie@120000/chip@0 0x1f00500000-0x1f00500fff assigned-addresses[0]",
        "/pcie@120000/chip@0/ethernet@100000 0x1f00100000-0x1f00103fff reg[0]",
        "/pcie@120000/chip@0/past@400000 0x1f00400000-0x1f0040ffff reg[0]",
        "/pcie@120000/chip@0/past@400000: reg[0]: of 0x20000 bytes, the windows above hold the \
         first 0x10000, 0x1f00400000-0x1f0040ffff",
    ];
    assert_eq!(lines(&chip_behind_pci()), expected);
}

/// As with fsl-mc: three cells that are no PCI address. The first cell is a space by itself.
#[test]
fn windows_with_three_cells_are_regions() {
    let portal = Node::new("portal@1").cells("reg", &[1, 0, 0x10, 0x10]);
    let elsewhere = Node::new("elsewhere@2").cells("reg", &[2, 0, 0x10, 0x10]);
    let bus = Node::new("fsl-mc@8000000")
        .bus(3, 1)
        .cells("reg", &[0x800_0000, 0x1000])
        .cells(
            "ranges",
            &[0, 0, 0, 0x900_0000, 0x1000, 1, 0, 0, 0xa00_0000, 0x1000],
        )
        .child(portal)
        .child(elsewhere);
    let expected = [
        "/fsl-mc@8000000 0x8000000-0x8000fff reg[0]",
        "/fsl-mc@8000000 0x9000000-0x9000fff ranges[0]",
        "/fsl-mc@8000000 0xa000000-0xa000fff ranges[1]",
        "/fsl-mc@8000000/portal@1 0xa000010-0xa00001f reg[0]",
        "/fsl-mc@8000000/elsewhere@2: reg[0]: 0x10 is in no window of the ranges of /fsl-mc@8000000",
    ];
    assert_eq!(lines(&Node::new("").bus(1, 1).child(bus)), expected);
}

#[test]
fn windows_that_touch_are_joined() {
    let windows = [
        [0x3000, 0x2000_3000, 0x1000],
        [0x2000, 0x2000_2000, 0x1000],
        // Touches on the bus and leads elsewhere.
        [0x4000, 0x3000_4000, 0x1000],
    ];
    let bus = Node::new("bus")
        .bus(1, 1)
        .cells("ranges", &windows.concat())
        .child(Node::new("span@2800").cells("reg", &[0x2800, 0x1000]))
        .child(Node::new("past@2800").cells("reg", &[0x2800, 0x2000]));
    let expected = [
        "/bus/span@2800 0x20002800-0x200037ff reg[0]",
        "/bus/past@2800 0x20002800-0x20003fff reg[0]",
        "/bus/past@2800: reg[0]: of 0x2000 bytes, the windows above hold the first 0x1800, \
         0x20002800-0x20003fff",
    ];
    assert_eq!(lines(&Node::new("").bus(1, 1).child(bus)), expected);
}

#[test]
fn the_memory_of_the_host() {
    let typed = Node::new("ram@1")
        .text("device_type", "memory")
        .cells("reg", &[0x8000_0000, 0x1000, 0x9000_0000, 0]);
    let off = Node::new("memory@2")
        .cells("reg", &[0xa000_0000, 0x1000])
        .text("status", "disabled");
    let named = Node::new("memory").cells("reg", &[0xb000_0000, 0x1000]);
    let secure = Node::new("secure@80000000").cells("reg", &[0x8000_0000, 0x800]);
    let reserved = Node::new("reserved-memory")
        .bus(1, 1)
        .cells("ranges", &[])
        .child(secure)
        .child(Node::new("pool").cells("size", &[0x1000]));
    let device = Node::new("uart@1000").cells("reg", &[0x1000, 0x100]);
    let root = Node::new("").bus(1, 1);
    let root = [typed, off, named, reserved, device]
        .into_iter()
        .fold(root, Node::child);
    let blob = flatten(&root);
    let mut found = Vec::new();
    DeviceTree::new(&blob).unwrap().visit_memory(|memory| {
        let (node, range) = (memory.node.to_string(), memory.range.to_string());
        found.push(format!("{node} {range} {:?}", memory.memory_use));
    });
    let expected = [
        "/ram@1 0x80000000-0x80000fff Ram",
        "/memory 0xb0000000-0xb0000fff Ram",
        "/reserved-memory/secure@80000000 0x80000000-0x800007ff Reserved",
    ];
    assert_eq!(found, expected);
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
