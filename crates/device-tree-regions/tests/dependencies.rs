//! What devices need besides their regions.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod common;

use std::collections::HashMap;

use common::{Node, flatten};
use device_tree_regions::{DependencyKind, DeviceTree, Selection};

/// Device, property, position, and the path of what is needed or its number.
type Found = (String, &'static str, usize, String);

fn dependencies(root: &Node, passed: &[&str], excluded: &[&str]) -> Vec<Found> {
    let blob = flatten(root);
    let tree = DeviceTree::new(&blob).unwrap();
    let selection = Selection::new(passed, excluded);
    let mut named: HashMap<u32, (String, [u32; 5])> = HashMap::new();
    tree.visit_named(&selection, |node| {
        named
            .entry(node.phandle)
            .or_insert((node.node.to_string(), node.cells));
    });
    let cells = |phandle, kind| {
        let position = DependencyKind::ALL.iter().position(|&one| one == kind)?;
        Some(named.get(&phandle)?.1[position])
    };
    let mut found = Vec::new();
    tree.visit_dependencies(&selection, cells, |needed| {
        let target = named.get(&needed.phandle);
        let target = target.map_or(format!("{:#x}", needed.phandle), |(path, _)| path.clone());
        let kind = needed.kind.property();
        found.push((needed.node.to_string(), kind, needed.index, target));
    });
    found
}

fn found(device: &str, kind: &'static str, index: usize, target: &str) -> Found {
    (device.into(), kind, index, target.into())
}

fn board() -> Node {
    let reserved = Node::new("reserved-memory")
        .bus(1, 1)
        .child(
            Node::new("gpu@9000")
                .cells("reg", &[0x9000, 0x1000])
                .cells("phandle", &[1]),
        )
        .child(Node::new("pool").cells("phandle", &[2]));
    let soc = Node::new("soc")
        .bus(1, 1)
        .cells("interrupt-parent", &[5])
        .child(
            Node::new("iommu@100")
                .cells("phandle", &[3])
                .cells("#iommu-cells", &[2]),
        )
        .child(
            Node::new("clock@200")
                .cells("phandle", &[4])
                .cells("#clock-cells", &[1])
                .cells("#reset-cells", &[0]),
        )
        .child(Node::new("gic@300").cells("linux,phandle", &[5]))
        .child(
            Node::new("gpu@400")
                .cells("reg", &[0x400, 0x100])
                .cells("memory-region", &[1, 2])
                .cells("iommus", &[3, 10, 11, 3, 12, 13])
                .cells("clocks", &[4, 7, 0, 4, 8])
                .cells("resets", &[4, 4])
                .cells("interrupts", &[0]),
        )
        .child(Node::new("uart@500").cells("clocks", &[99, 1, 2]));
    Node::new("").bus(1, 1).child(reserved).child(soc)
}

#[test]
fn every_kind_is_read_with_the_cells_of_what_it_names() {
    let (gpu, clock) = ("/soc/gpu@400", "/soc/clock@200");
    assert_eq!(
        dependencies(&board(), &[gpu], &[]),
        [
            found(gpu, "memory-region", 0, "/reserved-memory/gpu@9000"),
            found(gpu, "memory-region", 1, "/reserved-memory/pool"),
            found(gpu, "iommus", 0, "/soc/iommu@100"),
            found(gpu, "iommus", 1, "/soc/iommu@100"),
            found(gpu, "clocks", 0, clock),
            // The entry between names nothing.
            found(gpu, "clocks", 2, clock),
            found(gpu, "resets", 0, clock),
            found(gpu, "resets", 1, clock),
            found(gpu, "interrupt-parent", 0, "/soc/gic@300"),
        ]
    );
}

#[test]
fn a_number_that_no_node_has_ends_its_list() {
    assert_eq!(
        dependencies(&board(), &["/soc/uart@500"], &[]),
        [found("/soc/uart@500", "clocks", 0, "0x63")]
    );
}

#[test]
fn devices_that_are_not_passed_through_need_nothing() {
    assert_eq!(
        dependencies(&board(), &["/soc"], &["/soc/gpu@400"]).len(),
        1
    );
    let mut disabled = board();
    disabled.children[1] = disabled.children[1].clone().text("status", "disabled");
    assert_eq!(dependencies(&disabled, &["/"], &[]), []);
    // Reserved memory is no device, even where it names something.
    let mut memory = board();
    let pool = &mut memory.children[0].children[1];
    *pool = pool.clone().cells("clocks", &[4, 0]);
    let all = dependencies(&memory, &["/"], &[]);
    assert!(
        all.iter()
            .all(|(device, ..)| !device.starts_with("/reserved"))
    );
}

#[test]
fn named_nodes_say_whether_they_are_passed_through() {
    let blob = flatten(&board());
    let tree = DeviceTree::new(&blob).unwrap();
    let selection = Selection::new(&["/soc/gpu@400", "/soc/iommu@100"], &[]);
    let mut named = Vec::new();
    tree.visit_named(&selection, |node| {
        named.push((node.phandle, node.is_passed, node.has_address));
    });
    assert_eq!(
        named,
        [
            (1, false, true),
            (2, false, false),
            (3, true, false),
            (4, false, false),
            (5, false, false),
        ]
    );
}

#[test]
fn a_list_that_is_cut_short_is_read_to_its_end() {
    let node = Node::new("dev").cells("reg", &[0, 1]);
    let device = node.bytes("clocks", &[0, 0, 0, 4, 0]);
    let root = board().child(device);
    // One cell should follow, and one byte does.
    let clock = found("/dev", "clocks", 0, "/soc/clock@200");
    assert_eq!(dependencies(&root, &["/dev"], &[]), [clock]);
}
