//! Random small trees, full of odd properties: the library and the slow rules agree on everything.

mod common;
#[path = "common/oracle.rs"]
mod oracle;

use common::{Node, flatten};
use device_tree_regions::{DeviceTree, Finding, IdleReason, Selection};
use oracle::{Fact, Oracle};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Numbers that hit, straddle and miss each other's windows, and the ends of 32, 59 and 64 bits.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => select(vec![0, 0x10, 0x1000, 0x1008, 0x2000, 0x1_0000, 0x1000_0000, 0xffff_f000]),
        3 => select(vec![0x800, 0x1000, 0x1800, 0x2000, 0x3000]),
        1 => select(vec![1 << 32, (1 << 58) - 0x1000, 1 << 59, u64::MAX - 0xfff, u64::MAX]),
    ]
}

fn cells(default: u32) -> impl Strategy<Value = Option<Vec<u8>>> {
    let one = |count: u32| Some(count.to_be_bytes().to_vec());
    prop_oneof![
        4 => Just(None),
        8 => select(vec![1, 2, default]).prop_map(one),
        4 => Just(one(3)),
        1 => select(vec![0, 4, 70_000]).prop_map(one),
        1 => Just(Some(vec![0, 0, 1])),
    ]
}

fn string(values: &'static [&'static [u8]]) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        6 => Just(None),
        2 => select(values).prop_map(|value| Some(value.to_vec())),
    ]
}

/// Numbers, each behind the first of three cells: configuration space, I/O, memory, more memory.
type Row = [(u32, u64); 3];
/// Rows, to be written with the cells that the tree turns out to have.
type Rows = Option<(Vec<Row>, usize)>;

fn row() -> impl Strategy<Value = Row> {
    let space = || select(vec![0, 0x100_0000, 0x200_0000, 0x200_0000, 0x4300_0000]);
    let cell = || (space(), number());
    [cell(), cell(), cell()]
}

fn rows() -> impl Strategy<Value = Rows> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some((vec![], 0))),
        8 => proptest::collection::vec(row(), 1..4).prop_map(|rows| Some((rows, 0))),
        1 => proptest::collection::vec(row(), 1..3).prop_map(|rows| Some((rows, 2))),
        4 => touching().prop_map(|rows| Some((rows, 0))),
    ]
}

/// Windows that touch on both sides, in any order.
fn touching() -> impl Strategy<Value = Vec<Row>> {
    let order = Just(vec![0_u64, 1, 2]).prop_shuffle();
    (row(), order).prop_map(|([child, target, _], order)| {
        let start = |(space, _): (u32, u64), base: u64, at: u64| (space, base + at * 0x800);
        let row = |at| {
            [
                start(child, 0x1000, at),
                start(target, 0x2000, at),
                (0, 0x800),
            ]
        };
        order.into_iter().map(row).collect()
    })
}

#[derive(Clone, Debug)]
struct Plan {
    name: String,
    address_cells: Option<Vec<u8>>,
    size_cells: Option<Vec<u8>>,
    status: Option<Vec<u8>>,
    device_type: Option<Vec<u8>>,
    reg: Rows,
    assigned: Rows,
    ranges: Rows,
    children: Vec<Plan>,
}

const NAMES: [&str; 7] = [
    "a",
    "ab",
    "a@10",
    "memory",
    "memory@0",
    "cpus",
    "reserved-memory",
];

fn plan(children: impl Strategy<Value = Vec<Plan>>) -> impl Strategy<Value = Plan> {
    let statuses: &[&[u8]] = &[
        b"ok\0",
        b"okay\0",
        b"disabled\0",
        b"okay",
        b"",
        b"okay\0x\0",
    ];
    let types: &[&[u8]] = &[b"pci\0", b"pci\0", b"memory\0", b"cpu\0", b"pci"];
    let strings = (string(statuses), string(types));
    (
        select(&NAMES[..]),
        cells(2),
        cells(1),
        strings,
        (rows(), rows()),
        rows(),
        children,
    )
        .prop_map(
            |(
                name,
                address_cells,
                size_cells,
                (status, device_type),
                (reg, assigned),
                ranges,
                children,
            )| {
                Plan {
                    name: name.into(),
                    address_cells,
                    size_cells,
                    status,
                    device_type,
                    reg,
                    assigned,
                    ranges,
                    children,
                }
            },
        )
}

fn tree() -> impl Strategy<Value = Node> {
    let leaf = plan(Just(vec![]));
    let inner = leaf.prop_recursive(4, 24, 4, |child| {
        plan(proptest::collection::vec(child, 0..4))
    });
    plan(proptest::collection::vec(inner, 1..4)).prop_map(|root| {
        let mut node = build(&root, (2, 1));
        node.name.clear();
        node
    })
}

fn build(plan: &Plan, parent: (usize, usize)) -> Node {
    let count = |value: &Option<Vec<u8>>, default: usize| match value.as_deref() {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]).min(4) as usize,
        _ => default,
    };
    let own = (count(&plan.address_cells, 2), count(&plan.size_cells, 1));
    let values = [
        ("#address-cells", plan.address_cells.clone()),
        ("#size-cells", plan.size_cells.clone()),
        ("status", plan.status.clone()),
        ("device_type", plan.device_type.clone()),
        ("reg", encode(&plan.reg, [parent.0, parent.1, 0])),
        (
            "assigned-addresses",
            encode(&plan.assigned, [parent.0, parent.1, 0]),
        ),
        ("ranges", encode(&plan.ranges, [own.0, parent.0, own.1])),
    ];
    let mut node = Node::new(&plan.name);
    for (name, value) in values {
        node.properties
            .extend(value.map(|value| (name.into(), value)));
    }
    node.children = plan
        .children
        .iter()
        .map(|child| build(child, own))
        .collect();
    node
}

/// The low cells of each number; `extra` bytes make the value malformed.
fn encode(rows: &Rows, counts: [usize; 3]) -> Option<Vec<u8>> {
    let (rows, extra) = rows.as_ref()?;
    let mut bytes = Vec::new();
    for row in rows {
        for ((space, number), count) in row.iter().zip(counts) {
            let space = if count == 3 { *space } else { 0 };
            let wide = (u128::from(space) << 64 | u128::from(*number)).to_be_bytes();
            bytes.extend(&wide[16 - count * 4..]);
        }
    }
    bytes.extend(vec![0; *extra]);
    Some(bytes)
}

fn passed_facts(tree: &DeviceTree<'_>, selection: &Selection<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    tree.visit_regions(selection, |finding| {
        facts.push(match finding {
            Finding::Region(region) => {
                assert!(region.is_enabled);
                fact(&region)
            }
            Finding::Clipped(clipped) => Fact::Clipped(
                clipped.region.node.to_string(),
                clipped.region.property.name(),
                clipped.region.index,
                clipped.asked,
            ),
            Finding::Idle(idle) => Fact::Idle(
                idle.node.to_string(),
                match idle.reason {
                    IdleReason::NotADevice => "no device".into(),
                    IdleReason::Excluded { by } => format!("excluded {by}"),
                    IdleReason::Disabled { by } => format!("disabled {by}"),
                    IdleReason::NoAddress => "no address".into(),
                    IdleReason::NotTranslated => "not translated".into(),
                    other => format!("{other:?}"),
                },
            ),
            Finding::Ignored(ignored) => Fact::Ignored(
                ignored.node.to_string(),
                ignored.property.name(),
                ignored.index,
            ),
        });
    });
    facts.sort();
    facts
}

fn fact(region: &device_tree_regions::Region<'_>) -> Fact {
    Fact::Region(
        region.node.to_string(),
        region.range.start().as_u64(),
        region.range.size(),
        region.property.name(),
        region.index,
    )
}

fn excluded_facts(tree: &DeviceTree<'_>, selection: &Selection<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    tree.visit_excluded_regions(selection, |region| facts.push(fact(&region)));
    facts.sort();
    facts
}

/// A tree with some of its paths passed and some excluded.
fn case() -> impl Strategy<Value = (Node, Vec<String>, Vec<String>, u32)> {
    tree().prop_flat_map(|root| {
        let paths = oracle::paths(&root);
        let most = paths.len().min(3);
        let passed = prop_oneof![
            Just(vec!["/".to_string()]),
            subsequence(paths.clone(), 0..=most)
        ];
        let excluded = prop_oneof![Just(vec![]), subsequence(paths, 0..=most)];
        (Just(root), passed, excluded, select(vec![40, 59]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_library_follows_the_rules((root, passed, excluded, address_bits) in case()) {
        let blob = flatten(&root);
        let tree = DeviceTree::new(&blob).unwrap();
        let passed_paths: Vec<&str> = passed.iter().map(String::as_str).collect();
        let excluded_paths: Vec<&str> = excluded.iter().map(String::as_str).collect();
        let selection = Selection::new(&passed_paths, &excluded_paths).with_address_bits(address_bits);
        let slow = Oracle { root: &root, passed: &passed, excluded: &excluded, address_bits };
        prop_assert_eq!(passed_facts(&tree, &selection), slow.passed_facts());
        prop_assert_eq!(excluded_facts(&tree, &selection), slow.excluded_facts());
    }

    #[test]
    fn paths_are_those_of_the_tree(root in tree(), other in "(/[a@]{0,3}){0,3}") {
        let blob = flatten(&root);
        let tree = DeviceTree::new(&blob).unwrap();
        let expected = oracle::paths(&root);
        let mut paths = Vec::new();
        tree.visit_nodes(|path| {
            paths.push(path.to_string());
            for wanted in &expected {
                let below = path == **wanted || path.to_string().starts_with(&format!("{wanted}/"));
                assert_eq!(path.is_at_or_below(wanted), below || wanted == "/");
            }
        });
        prop_assert!(expected.iter().all(|path| tree.contains(path)));
        prop_assert_eq!(tree.contains(&other), expected.contains(&other));
        prop_assert_eq!(paths, expected);
    }
}
