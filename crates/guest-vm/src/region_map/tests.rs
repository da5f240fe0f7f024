//! The map of regions beside a list of pages, and the shape of its tree.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use guest_addr::HostPhysAddr;

use super::*;
use crate::region::FillWindow;

const PAGE: u64 = 0x1000;
const RW: MappingFlags = MappingFlags::READ_WRITE;

/// Numbers that look random (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn pages(first: u64, count: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(first * PAGE), count * PAGE).unwrap()
}

/// What each page is: backing as an offset to the host, or none for allocated memory, and flags.
type Pages = BTreeMap<u64, (Option<u64>, MappingFlags)>;

/// The fewest regions that say what `all` says.
fn regions_of(all: &Pages) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for (&page, &(host, flags)) in all {
        let backing = match host {
            Some(offset) => Backing::Linear(HostPhysAddr::new((page + offset) * PAGE)),
            None => Backing::Allocated {
                around: FillWindow::PAGE,
            },
        };
        let region = Region {
            guest: pages(page, 1),
            backing,
            flags,
        };
        if !regions.last_mut().is_some_and(|last| last.absorb(&region)) {
            regions.push(region);
        }
    }
    regions
}

fn insert(map: &mut RegionMap, page: u64, count: u64, host: Option<u64>, flags: MappingFlags) {
    map.reserve().unwrap();
    let backing = match host {
        Some(offset) => Backing::Linear(HostPhysAddr::new((page + offset) * PAGE)),
        None => Backing::Allocated {
            around: FillWindow::PAGE,
        },
    };
    let guest = pages(page, count);
    let vacancy = map.vacancy(&guest).unwrap();
    map.insert(
        Region {
            guest,
            backing,
            flags,
        },
        vacancy,
    );
}

fn assert_same(map: &RegionMap, model: &Pages) {
    let expected = regions_of(model);
    assert_eq!(map.iter().copied().collect::<Vec<_>>(), expected);
    let backwards = map.backwards().copied().collect::<Vec<_>>();
    assert!(backwards.iter().eq(expected.iter().rev()));
}

/// Changes of single pages and of long ranges, in a space small enough that they meet.
#[test]
fn the_map_says_what_its_pages_say() {
    for space in [40, 3_000] {
        let (mut map, mut model) = (RegionMap::default(), Pages::new());
        let mut random = Random(space);
        for step in 0..20_000 {
            let page = random.below(space);
            let count = match random.below(8) {
                0 => 1 + random.below(space / 2),
                _ => 1 + random.below(2),
            };
            // Grows in some phases, and shrinks to nothing in others.
            let grows = (step / 2_500) % 2 == 0;
            let range = pages(page, count);
            match random.below(if grows { 8 } else { 3 }) {
                0 => {
                    map.reserve().unwrap();
                    map.remove(&range);
                    model.retain(|at, _| !(page..page + count).contains(at));
                }
                1 => {
                    map.reserve().unwrap();
                    map.protect(&range, MappingFlags::READ);
                    let changed = model.range_mut(page..page + count);
                    changed.for_each(|(_, (_, flags))| *flags = MappingFlags::READ);
                }
                _ => {
                    let is_free = map.overlapping(&range).next().is_none();
                    assert_eq!(is_free, model.range(page..page + count).next().is_none());
                    if is_free {
                        let host = (random.below(2) == 0).then(|| random.below(2));
                        insert(&mut map, page, count, host, RW);
                        model.extend((page..page + count).map(|page| (page, (host, RW))));
                    }
                }
            }
            let there = map.find(GuestPhysAddr::new(page * PAGE + 7));
            assert_eq!(
                there.map(|region| region.flags),
                model.get(&page).map(|page| page.1)
            );
            map.tree.assert_shape();
            if step % 50 == 0 {
                assert_same(&map, &model);
            }
        }
    }
}

/// No order of insertion and removal makes the tree deep or leaves a node behind.
#[test]
fn many_regions_come_and_go_in_any_order() {
    const COUNT: u64 = 20_000;
    let ascending: Vec<u64> = (0..COUNT).collect();
    let descending = (0..COUNT).rev().collect();
    // A prime step visits every number once.
    let scattered = (0..COUNT).map(|number| number * 7_919 % COUNT).collect();
    let orders: [Vec<u64>; 3] = [ascending, descending, scattered];
    for order in &orders {
        for back in &orders {
            let mut map = RegionMap::default();
            for number in order {
                insert(&mut map, number * 2, 1, Some(5), RW);
            }
            map.tree.assert_shape();
            assert!(map.tree.height() <= 3);
            assert_eq!(map.iter().count() as u64, COUNT);
            for number in back {
                map.remove(&pages(number * 2, 1));
            }
            assert_eq!(map.iter().next(), None);
            map.tree.assert_shape();
            assert_eq!(map.tree.height(), 0);
        }
    }
}

/// The last page of the address space has no page behind it.
#[test]
fn regions_reach_the_last_address() {
    let mut map = RegionMap::default();
    let last = pages((1 << 52) - 3, 3);
    insert(&mut map, (1 << 52) - 3, 3, None, RW);
    assert_eq!(map.find(GuestPhysAddr::LAST).unwrap().guest, last);
    map.reserve().unwrap();
    map.remove(&pages((1 << 52) - 1, 1));
    assert_eq!(map.find(GuestPhysAddr::LAST), None);
    assert_eq!(map.free_range(&last, PAGE), Some(pages((1 << 52) - 1, 1)));
    insert(&mut map, (1 << 52) - 1, 1, None, RW);
    assert_eq!(map.iter().count(), 1);
}

/// Emulated devices stay, and are never cut.
#[test]
fn emulated_devices_are_left_alone() {
    let mut map = RegionMap::default();
    map.reserve().unwrap();
    let device = Region {
        guest: pages(10, 4),
        backing: Backing::Emulated,
        flags: MappingFlags::empty(),
    };
    let vacancy = map.vacancy(&device.guest).unwrap();
    map.insert(device, vacancy);
    insert(&mut map, 14, 2, None, RW);
    map.reserve().unwrap();
    map.protect(&pages(11, 4), MappingFlags::READ);
    assert!(map.iter().any(|region| *region == device));
    map.reserve().unwrap();
    map.remove(&pages(12, 1));
    map.remove(&pages(0, 100));
    assert_eq!(map.iter().copied().collect::<Vec<_>>(), [device]);
}
