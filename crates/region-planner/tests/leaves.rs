//! Leaves and tables, counted by arithmetic, against a walk that places every leaf.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use proptest::prelude::*;
use region_planner::{Extent, LeafCounts, table_frames};

const KB4: u64 = 1 << 12;
const MB2: u64 = 1 << 21;
const GB1: u64 = 1 << 30;

fn extent(start: u64, size: u64, host: Option<u64>) -> Extent {
    Extent {
        guest: GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap(),
        host: host.map(HostPhysAddr::new),
    }
}

/// Every leaf as guest address and size, by the rule as it is written down.
fn walk(extent: &Extent) -> Vec<(u64, u64)> {
    let end = u128::from(extent.guest.last().as_u64()) + 1;
    let start = extent.guest.start().as_u64();
    let mut at = start;
    let mut leaves = Vec::new();
    loop {
        let fits = |size: &&u64| {
            let aligned = at.is_multiple_of(**size)
                && match extent.host {
                    Some(host) => host
                        .as_u64()
                        .wrapping_add(at - start)
                        .is_multiple_of(**size),
                    None => **size <= MB2,
                };
            aligned && u128::from(at) + u128::from(**size) <= end
        };
        let size = *[GB1, MB2, KB4].iter().find(fits).expect("4 KiB always fit");
        leaves.push((at, size));
        if u128::from(at) + u128::from(size) == end {
            return leaves;
        }
        at += size;
    }
}

fn count(leaves: &[(u64, u64)]) -> LeafCounts {
    let of = |size: u64| leaves.iter().filter(|leaf| leaf.1 == size).count() as u64;
    LeafCounts {
        size_4k: of(KB4),
        size_2m: of(MB2),
        size_1g: of(GB1),
    }
}

/// Each leaf needs a table at its own level and at every level above; the root is counted apart.
fn frames(extents: &[Extent], shifts: &[u32], root_bytes: u64) -> u64 {
    let mut tables = BTreeSet::new();
    for (at, size) in extents.iter().flat_map(walk) {
        let own = shifts
            .iter()
            .position(|shift| 1_u64 << shift == size)
            .unwrap();
        for level in own..shifts.len() - 1 {
            tables.insert((level, at >> shifts[level + 1]));
        }
    }
    tables.len() as u64 + root_bytes.div_ceil(KB4)
}

/// A number of pages near a boundary of one of the leaf sizes or of a 512 GiB table.
fn near_boundary() -> impl Strategy<Value = u64> {
    let unit = prop_oneof![Just(MB2), Just(GB1), Just(GB1 << 9), Just(1 << 47)];
    let delta = prop_oneof![Just(0), 0..3 * KB4, 0..3 * MB2];
    (unit, 1..4_u64, delta, any::<bool>()).prop_map(|(unit, times, delta, below)| {
        let delta = delta / KB4 * KB4;
        if below {
            (unit * times).saturating_sub(delta)
        } else {
            unit * times + delta
        }
    })
}

/// Extents by gaps and sizes; those that cannot have large leaves stay small.
fn extents() -> impl Strategy<Value = Vec<Extent>> {
    let shift = prop_oneof![
        4 => Just(Some(0)),
        2 => Just(Some(GB1)),
        2 => Just(Some(MB2)),
        2 => Just(Some(0_u64.wrapping_sub(MB2 * 3))),
        1 => Just(Some(KB4)),
        2 => Just(None),
    ];
    let size = prop_oneof![KB4..64 * KB4, KB4..4 * MB2, KB4..3 * GB1];
    let gap = prop_oneof![
        3 => Just(0),
        2 => 0..3 * KB4,
        2 => 0..4 * MB2,
        1 => near_boundary(),
    ];
    (
        near_boundary(),
        prop::collection::vec((gap, size, shift), 1..5),
    )
        .prop_map(|(base, parts)| {
            let mut at = base;
            let mut extents = Vec::new();
            for (gap, size, shift) in parts {
                let limit = if shift == Some(KB4) {
                    64 << 20
                } else {
                    3 << 30
                };
                let size = (size.min(limit) / KB4 * KB4).max(KB4);
                at += gap / KB4 * KB4;
                extents.push(extent(at, size, shift.map(|shift| at.wrapping_add(shift))));
                at += size;
            }
            extents
        })
}

const MODES: [(&[u32], u64); 5] = [
    (&[12, 21, 30], 16384),
    (&[12, 21, 30], 8192),
    (&[12, 21, 30, 39], 4096),
    (&[12, 21, 30, 39, 48], 16384),
    (&[12, 21, 30, 39, 48], 4096),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn leaf_counts_agree_with_the_walk(extents in extents()) {
        for extent in &extents {
            prop_assert_eq!(extent.leaf_counts(), count(&walk(extent)), "{:?}", extent);
        }
    }

    #[test]
    fn table_frames_agree_with_the_walk(extents in extents(), mode in 0..MODES.len()) {
        let (shifts, root) = MODES[mode];
        let found = table_frames(extents.iter().copied(), shifts, root);
        prop_assert_eq!(found, frames(&extents, shifts, root));
    }
}

#[test]
fn leaves_reach_the_last_byte_of_the_space() {
    let top = extent(0_u64.wrapping_sub(GB1 + KB4), GB1 + KB4, Some(GB1 - KB4));
    assert_eq!(top.leaf_counts(), count(&walk(&top)));
    assert_eq!(top.leaf_counts().size_1g, 1);
    let (shifts, root) = MODES[3];
    assert_eq!(
        table_frames([top], shifts, root),
        frames(&[top], shifts, root)
    );
}

#[test]
fn huge_extents_cost_no_time() {
    let linear = extent(0, 1 << 59, Some(0));
    assert_eq!(
        linear.leaf_counts(),
        LeafCounts {
            size_4k: 0,
            size_2m: 0,
            size_1g: 1 << 29
        }
    );
    let crooked = extent(0, 1 << 59, Some(KB4));
    assert_eq!(
        crooked.leaf_counts(),
        LeafCounts {
            size_4k: 1 << 47,
            size_2m: 0,
            size_1g: 0
        }
    );
    let tables = (1 << 38) + (1 << 29) + (1 << 20) + (1 << 11);
    assert_eq!(table_frames([crooked], MODES[3].0, 16384), tables + 4);
    let chosen_later = extent(KB4, 1 << 59, None).leaf_counts();
    assert_eq!(
        chosen_later,
        LeafCounts {
            size_4k: 512,
            size_2m: (1 << 38) - 1,
            size_1g: 0
        }
    );
}

#[test]
fn partial_pages_count_whole() {
    let bytes = extent(MB2 - 1, MB2 + 2, Some(MB2 - 1));
    assert_eq!(
        bytes.leaf_counts(),
        LeafCounts {
            size_4k: 2,
            size_2m: 1,
            size_1g: 0
        }
    );
}

#[test]
fn a_root_is_there_without_mappings() {
    assert_eq!(table_frames([], &[12, 21, 30], 16384), 4);
    assert_eq!(table_frames([], &[], 1), 1);
}

#[test]
fn shifts_beyond_the_address_are_one_table() {
    let page = [extent(u64::MAX - 0xfff, KB4, Some(0))];
    assert_eq!(table_frames(page, &[12, 64, u32::MAX], 0), 2);
}
