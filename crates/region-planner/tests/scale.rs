//! Many regions at once: a planner that compares all pairs, or lists all sources of all pieces, would
//! take hours or all memory here.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use region_planner::{PlanError, Region, RegionKind, plan};

const MANY: u64 = 100_000;
const RW: MappingFlags = MappingFlags::READ_WRITE;

fn gpa(page: u64) -> GuestPhysAddr {
    GuestPhysAddr::new(page << 12)
}

fn hpa(page: u64) -> HostPhysAddr {
    HostPhysAddr::new(page << 12)
}

/// Numbers in an order that is neither sorted nor reversed: `factor` is prime.
fn scattered(factor: u64) -> impl Iterator<Item = u64> {
    (0..MANY).map(move |at| at * factor % MANY)
}

#[test]
fn scattered_regions_keep_one_source_each() {
    let region = |at| Region::passthrough("device", gpa(at * 2), hpa(at * 2), 0x1000);
    let mut regions: Vec<_> = scattered(7919).map(region).collect();
    let plan = plan(&mut regions).expect("no two touch");
    assert_eq!(plan.mapping_count() as u64, MANY);
    assert!(
        plan.mappings()
            .all(|mapping| mapping.sources().count() == 1)
    );
}

#[test]
fn regions_at_one_address_keep_their_order() {
    let region = |at| Region::passthrough("device", gpa(at % 3), hpa(at % 3), 0x1000);
    let mut regions: Vec<_> = scattered(7919).map(region).collect();
    let plan = plan(&mut regions).expect("all agree");
    let mapping = plan.mappings().next().expect("one mapping");
    let keys = mapping
        .sources()
        .map(|source| (source.guest(), source.index()));
    assert!(keys.clone().is_sorted());
    assert_eq!(keys.count() as u64, MANY);
}

#[test]
fn each_of_many_overlapping_regions_is_in_one_error() {
    let region = |at| Region::passthrough("device", gpa(at), hpa(at * 3), 1 << 40);
    let mut regions: Vec<_> = scattered(7919).map(region).collect();
    let errors = plan(&mut regions).expect_err("no two agree");
    let overlaps = errors
        .iter()
        .filter(|error| matches!(error, PlanError::Overlap { .. }));
    assert_eq!(overlaps.count() as u64, MANY - 1);
    assert_eq!(errors.len() as u64, MANY - 1);
}

#[test]
fn one_device_tree_region_is_cut_by_many() {
    let mut regions: Vec<_> = scattered(7919)
        .map(|at| Region::alloc("ram", gpa(at * 3), 0x1000, RW))
        .collect();
    regions.push(Region::device_tree(
        "/soc",
        gpa(0),
        hpa(0),
        (MANY * 3) << 12,
    ));
    let plan = plan(&mut regions).expect("the device tree gives way");
    let pieces = plan
        .mappings()
        .filter(|mapping| mapping.kind() == RegionKind::Passthrough);
    let mut count = 0;
    for piece in pieces {
        assert_eq!(piece.guest().size(), 0x2000);
        assert!(piece.sources().map(Region::name).eq(["/soc"]));
        count += 1;
    }
    assert_eq!(count, MANY);
}

/// All device-tree regions lie across all cuts: their sources, written out, would be 10^10.
#[test]
fn many_device_tree_regions_are_cut_by_many() {
    let mut regions: Vec<_> = scattered(7919)
        .map(|at| Region::device_tree("/d", gpa(at), hpa(at), 1 << 40))
        .collect();
    regions.extend(
        scattered(104_729).map(|at| Region::alloc("ram", gpa((MANY + at) * 2), 0x1000, RW)),
    );
    let plan = plan(&mut regions).expect("the device tree gives way");
    assert_eq!(plan.mapping_count() as u64, MANY * 2 + 1);
    let behind = plan
        .mappings()
        .nth(MANY as usize)
        .expect("one of the pieces");
    assert_eq!(
        behind.sources().next().map(|first| first.guest()),
        Some(gpa(0))
    );
    assert_eq!(behind.sources().count() as u64, MANY);
}
