//! Blobs that lie, are cut short or cost as much as they can: an error or an answer, never a panic.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of a test may fail it"
)]

mod common;

use common::{Node, STRUCTURE_AT, Writer, flatten};
use device_tree_regions::{
    Block, DeviceTree, DeviceTreeError, MAX_COMPARISONS, MAX_DEPTH, MAX_PATH_BYTES, Selection,
    StructureFault,
};
use dtoolkit::Node as _;
use proptest::prelude::*;

/// Asks everything that can be asked, and counts the answers.
fn ask_everything(blob: &[u8]) -> Result<usize, DeviceTreeError> {
    let tree = DeviceTree::new(blob)?;
    let mut answers = 0;
    let passed = ["/", "/soc", "/soc/pcie@10000000/serial@0"];
    let selection = Selection::new(&passed, &["/soc/serial@2000"]);
    tree.visit_regions(&selection, |finding| {
        answers += 1;
        assert!(!format!("{finding:?}").is_empty());
    });
    tree.visit_excluded_regions(&selection, |_| answers += 1);
    tree.visit_nodes(|path| answers += path.to_string().len());
    answers += usize::from(tree.contains("/soc/nothing"));
    answers += usize::from(tree.architecture().is_some());
    Ok(answers)
}

fn board() -> Node {
    let serial = Node::new("serial@2000").cells("reg", &[0x2000, 0x100]);
    let device = Node::new("device@0").cells("reg", &[0, 0, 0, 0, 0]);
    let pcie = Node::new("pcie@10000000")
        .bus(3, 2)
        .text("device_type", "pci")
        .cells("reg", &[0x1000, 0x1000])
        .cells("ranges", &[0x200_0000, 0, 0, 0x3000, 0, 0x1000])
        .child(device);
    let soc = Node::new("soc")
        .bus(1, 1)
        .cells("ranges", &[0, 0, 0x1000_0000, 0x10_0000])
        .child(serial)
        .child(pcie);
    let cpu = Node::new("cpu@0").text("compatible", "arm,cortex-a53");
    Node::new("")
        .bus(2, 1)
        .child(Node::new("cpus").bus(1, 0).child(cpu))
        .child(soc)
}

/// With one 32-bit word of the blob replaced.
fn patched(offset: usize, word: u32) -> Vec<u8> {
    let mut blob = flatten(&board());
    blob[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    blob
}

fn refusal(blob: &[u8]) -> DeviceTreeError {
    DeviceTree::new(blob).unwrap_err()
}

#[test]
fn headers_that_lie_are_refused() {
    let blob = flatten(&board());
    let (size, needed) = (blob.len(), blob.len() + 1);
    assert!(DeviceTree::new(&blob).is_ok());
    let truncated = DeviceTreeError::Truncated { size, needed };
    assert_eq!(refusal(&patched(4, needed as u32)), truncated);
    let found = 0xd00d_feee;
    assert_eq!(
        refusal(&patched(0, found)),
        DeviceTreeError::BadMagic { found }
    );
    let small = DeviceTreeError::TotalSizeTooSmall { total_size: 39 };
    assert_eq!(refusal(&patched(4, 39)), small);
    for (offset, version) in [(20, 15), (20, 3), (24, 18)] {
        let error = refusal(&patched(offset, version));
        assert!(matches!(error, DeviceTreeError::UnsupportedVersion { .. }));
    }
    let misaligned = [(8, 58, Block::Structure), (16, 44, Block::Reservations)];
    for (field, place, wrong) in misaligned {
        let error = refusal(&patched(field, place));
        assert!(matches!(error, DeviceTreeError::BlockMisaligned { block, .. } if block == wrong));
    }
    let outside = [
        (8, 36, Block::Structure),
        (8, 0xffff_fffc, Block::Structure),
        (36, u32::MAX, Block::Structure),
        (12, 8, Block::Strings),
        (12, u32::MAX, Block::Strings),
        (32, u32::MAX, Block::Strings),
        (16, 32, Block::Reservations),
        (16, 0xffff_fff8, Block::Reservations),
    ];
    for (field, value, wrong) in outside {
        let error = refusal(&patched(field, value));
        assert!(matches!(error, DeviceTreeError::BlockOutside { block, .. } if block == wrong));
    }
    let offset = (blob.len() - 1) & !7;
    let endless = DeviceTreeError::ReservationsUnterminated { offset };
    assert_eq!(refusal(&patched(16, offset as u32)), endless);
}

#[test]
fn what_a_loader_adds_and_older_versions_are_read() {
    let mut padded = flatten(&board());
    padded.extend([0xff; 100]);
    let tree = DeviceTree::new(&padded).unwrap();
    assert_eq!(tree.total_size(), padded.len() - 100);
    // Version 16 has no size of the structure block: what stands there means nothing.
    let mut old = patched(20, 16);
    old[36..40].fill(0xff);
    assert_eq!(ask_everything(&old), ask_everything(&padded));
}

#[test]
fn every_prefix_is_refused() {
    let blob = flatten(&board());
    for length in 0..blob.len() {
        let error = refusal(&blob[..length]);
        assert!(matches!(error, DeviceTreeError::Truncated { size, .. } if size == length));
    }
}

fn fault(write: impl FnOnce(&mut Writer)) -> (usize, StructureFault) {
    let mut writer = Writer::default();
    write(&mut writer);
    match refusal(&writer.blob()) {
        DeviceTreeError::Structure { offset, fault } => (offset - STRUCTURE_AT, fault),
        other => panic!("{other}"),
    }
}

#[test]
fn broken_structures_are_refused_with_the_place() {
    use StructureFault as Fault;
    assert_eq!(fault(|_| {}), (0, Fault::NoRoot));
    assert_eq!(fault(|w| w.begin("")), (8, Fault::NodeNotEnded));
    assert_eq!(fault(|w| w.begin("root")), (0, Fault::NamedRoot));
    assert_eq!(fault(|w| w.end_node()), (0, Fault::UnbalancedEnd));
    assert_eq!(
        fault(|w| w.property("reg", &[])),
        (0, Fault::MisplacedProperty)
    );
    assert_eq!(fault(|w| w.word(7)), (0, Fault::UnknownToken { token: 7 }));
    let in_root = |write: fn(&mut Writer)| {
        fault(|w| {
            w.begin("");
            write(w);
        })
    };
    let after_root = |write: fn(&mut Writer)| {
        fault(|w| {
            w.node(&Node::new(""));
            write(w);
        })
    };
    let late = in_root(|w| {
        w.node(&Node::new("a"));
        w.property("reg", &[]);
    });
    assert_eq!(late, (20, Fault::MisplacedProperty));
    assert_eq!(after_root(|w| w.begin("")), (12, Fault::AfterRoot));
    assert_eq!(after_root(|w| w.end_node()), (12, Fault::UnbalancedEnd));
    assert_eq!(after_root(|w| w.word(4)), (12, Fault::AfterRoot));
    let long_value = in_root(|w| {
        w.property("reg", &[]);
        w.structure[12..16].copy_from_slice(&[0xff; 4]);
    });
    assert_eq!(long_value, (8, Fault::Truncated));
    let far_name = in_root(|w| {
        w.property("reg", &[]);
        w.structure[16..20].copy_from_slice(&[0, 0, 0, 4]);
    });
    assert_eq!(far_name, (8, Fault::NameOutsideStrings { name_offset: 4 }));
    let endless_name = in_root(|w| {
        w.property("reg", &[]);
        w.strings.pop();
    });
    assert_eq!(
        endless_name,
        (8, Fault::NameOutsideStrings { name_offset: 0 })
    );
}

#[test]
fn the_structure_ends_inside_its_block() {
    let mut writer = Writer::default();
    writer.begin("");
    writer.node(&Node::new("abcdefg"));
    writer.end_node();
    let mut blob = writer.blob();
    // The block ends after the name, in it, in the token before it; after the last node, in the end.
    for (size, place) in [(20, 20), (18, 8), (8, 8), (7, 8), (28, 28), (31, 28)] {
        blob[36..40].copy_from_slice(&u32::to_be_bytes(size));
        let (offset, fault) = (STRUCTURE_AT + place, StructureFault::Truncated);
        assert_eq!(refusal(&blob), DeviceTreeError::Structure { offset, fault });
    }
}

#[test]
fn nesting_and_paths_have_limits() {
    let nested = |depth: usize, name: &str| {
        let mut writer = Writer::default();
        writer.begin("");
        (1..depth).for_each(|_| writer.begin(name));
        (0..depth).for_each(|_| writer.end_node());
        writer.blob()
    };
    assert!(ask_everything(&nested(MAX_DEPTH, "a")).is_ok());
    let too_deep = StructureFault::TooDeep;
    for depth in [MAX_DEPTH + 1, 80_000] {
        let error = refusal(&nested(depth, "a"));
        assert!(matches!(error, DeviceTreeError::Structure { fault, .. } if fault == too_deep));
    }
    assert!(ask_everything(&nested(2, &"a".repeat(MAX_PATH_BYTES - 1))).is_ok());
    let too_long = StructureFault::PathTooLong;
    for blob in [
        nested(2, &"a".repeat(MAX_PATH_BYTES)),
        nested(66, &"a".repeat(63)),
    ] {
        let error = refusal(&blob);
        assert!(matches!(error, DeviceTreeError::Structure { fault, .. } if fault == too_long));
    }
}

/// Around 1 MiB each. Anything quadratic in that would take hours.
#[test]
fn large_trees_are_read_in_linear_time() {
    let mut siblings = Node::new("").bus(1, 1);
    siblings.children = vec![Node::new("a").cells("reg", &[0x1000, 0x1000]); 30_000];
    assert!(ask_everything(&flatten(&siblings)).unwrap() > 30_000);

    let mut deep = siblings;
    deep.children.truncate(25_000);
    for _ in 0..100 {
        let bus = Node::new("").bus(1, 1);
        deep.name = "b".into();
        deep.properties.push(("ranges".into(), vec![]));
        deep = bus.child(deep);
    }
    assert!(ask_everything(&flatten(&deep)).unwrap() > 25_000);

    let mut properties = Node::new("");
    properties.properties = vec![("reg".into(), vec![]); 80_000];
    assert_eq!(ask_everything(&flatten(&properties)), Ok(2));

    let mut nops = Writer::default();
    nops.begin("");
    (0..250_000).for_each(|_| nops.word(4));
    nops.end_node();
    assert_eq!(ask_everything(&nops.blob()), Ok(2));
}

#[test]
fn addresses_times_windows_has_a_limit() {
    let tree = |windows: usize, addresses: usize| {
        let window = [0x1000, 0, 0x1000];
        let mut bus = Node::new("soc")
            .bus(1, 1)
            .cells("ranges", &window.repeat(windows));
        bus.children = vec![Node::new("device").cells("reg", &[0x1f00, 0x100].repeat(addresses))];
        flatten(&Node::new("").bus(1, 1).child(bus))
    };
    let windows = 1 << 10;
    let addresses = usize::try_from(MAX_COMPARISONS).unwrap() / windows;
    assert!(ask_everything(&tree(windows, addresses)).unwrap() > addresses);
    let comparisons = MAX_COMPARISONS + windows as u64;
    let too_costly = DeviceTreeError::TooCostly { comparisons };
    assert_eq!(refusal(&tree(windows, addresses + 1)), too_costly);
}

/// Windows in descending order, each of which continues the next: a pass for every one of them.
#[test]
fn windows_that_continue_backwards_cost_a_pass_each() {
    let tree = |windows: u32, addresses: usize| {
        let window = |n: u32| [n * 0x100, n * 0x100, 0x100];
        let ranges: Vec<u32> = (0..windows).rev().flat_map(window).collect();
        let mut bus = Node::new("soc").bus(1, 1).cells("ranges", &ranges);
        let reg = [0, windows * 0x100].repeat(addresses);
        bus.children = vec![Node::new("device").cells("reg", &reg)];
        flatten(&Node::new("").bus(1, 1).child(bus))
    };
    let blob = tree(1 << 10, 8);
    assert!(ask_everything(&blob).unwrap() > 8);
    let comparisons = 9 << 20;
    let too_costly = DeviceTreeError::TooCostly { comparisons };
    assert_eq!(refusal(&tree(1 << 10, 9)), too_costly);
}

/// The windows of a PCI host bridge are addresses too; those of any other bus are not.
#[test]
fn windows_below_windows_count_for_pci() {
    let tree = |device_type| {
        let windows = [0x1000, 0x1000, 0x1000].repeat(1 << 12);
        let inner = Node::new("inner")
            .bus(1, 1)
            .text("device_type", device_type);
        let outer = Node::new("soc").bus(1, 1).cells("ranges", &windows);
        let root = Node::new("").bus(1, 1);
        flatten(&root.child(outer.child(inner.cells("ranges", &windows))))
    };
    let comparisons = 1 << 24;
    let too_costly = DeviceTreeError::TooCostly { comparisons };
    assert_eq!(refusal(&tree("pci")), too_costly);
    assert!(ask_everything(&tree("soc")).is_ok());
}

fn dtoolkit_paths(node: &dtoolkit::fdt::FdtNode<'_>, path: &str, paths: &mut Vec<String>) {
    paths.push(if path.is_empty() {
        "/".into()
    } else {
        path.into()
    });
    for child in node.children() {
        dtoolkit_paths(&child, &format!("{path}/{}", child.name()), paths);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), magic: bool) {
        if magic && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&0xd00d_feed_u32.to_be_bytes());
        }
        let _ = ask_everything(&bytes);
    }

    #[test]
    fn no_damage_panics(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        kept in any::<prop::sample::Index>(),
        truncate: bool,
    ) {
        let mut blob = flatten(&board());
        for (place, mask) in damage {
            *place.get_mut(&mut blob) ^= mask;
        }
        if truncate {
            blob.truncate(kept.index(blob.len()));
        }
        let _ = ask_everything(&blob);
    }

    /// Any words as tokens, with the shape of a tree more often than not.
    #[test]
    fn no_tokens_panic(tokens in proptest::collection::vec(0_u8..8, 0..60)) {
        let mut writer = Writer::default();
        writer.begin("");
        for token in tokens {
            match token {
                0 => writer.end_node(),
                1 => writer.begin("soc"),
                2 => writer.property("ranges", &[]),
                3 => writer.property("reg", &[0; 12]),
                4 => writer.word(4),
                5 => writer.property("ranges", &[0; 20]),
                6 => writer.word(9),
                _ => writer.word(0x1_0000),
            }
        }
        writer.end_node();
        let _ = ask_everything(&writer.blob());
    }

    /// An independent reader sees the same nodes; it refuses more than this one, not less.
    #[test]
    fn what_dtoolkit_reads_is_read(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 0..4),
    ) {
        let mut blob = flatten(&board());
        let end = u32::from_be_bytes(blob[12..16].try_into().unwrap()) as usize;
        for (place, bit) in damage {
            *place.get_mut(&mut blob[STRUCTURE_AT..end]) ^= 1 << bit;
        }
        let Ok(theirs) = dtoolkit::fdt::Fdt::new(&blob) else {
            return Ok(());
        };
        let mut expected = Vec::new();
        dtoolkit_paths(&theirs.root(), "", &mut expected);
        let mut paths = Vec::new();
        DeviceTree::new(&blob).unwrap().visit_nodes(|path| paths.push(path.to_string()));
        prop_assert_eq!(paths, expected);
    }
}
