//! The planner against a model that knows no ranges: it keeps, for every page of three small
//! windows, the set of regions that have the page.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};
use mapping_flags::MappingFlags;
use proptest::prelude::*;
use region_planner::{OverlapReason, PlanError, Region, RegionKind, Warning, plan};

/// A region in plain numbers.
#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: RegionKind,
    device_tree: bool,
    guest: u64,
    host: u64,
    length: u64,
    flags: MappingFlags,
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const RAM: [RegionKind; 3] = [
    RegionKind::Alloc,
    RegionKind::Identical,
    RegionKind::Reserved,
];
const SPACE: i128 = 1 << 64;

impl Asked {
    fn region(self, name: &'static str) -> Region<'static> {
        let (guest, host) = (GuestPhysAddr::new(self.guest), HostPhysAddr::new(self.host));
        match (self.kind, self.device_tree) {
            (RegionKind::Identical, _) => Region::identical(name, guest, self.length, self.flags),
            (RegionKind::Alloc, _) => Region::alloc(name, guest, self.length, self.flags),
            (RegionKind::Reserved, _) => Region::reserved(name, guest, self.length, self.flags),
            (RegionKind::Emulated, _) => Region::emulated(name, guest, self.length),
            (RegionKind::Passthrough, false) => {
                Region::passthrough(name, guest, host, self.length).with_flags(self.flags)
            }
            (RegionKind::Passthrough, true) => {
                Region::device_tree(name, guest, host, self.length).with_flags(self.flags)
            }
        }
    }

    fn is_ram(&self) -> bool {
        RAM.contains(&self.kind)
    }

    /// Guest minus host; none for those that have no host address.
    fn difference(&self) -> Option<i128> {
        match self.kind {
            RegionKind::Passthrough => Some(i128::from(self.guest) - i128::from(self.host)),
            RegionKind::Identical | RegionKind::Reserved => Some(0),
            RegionKind::Alloc | RegionKind::Emulated => None,
        }
    }

    fn flags(&self) -> MappingFlags {
        match self.kind {
            RegionKind::Emulated => MappingFlags::empty(),
            _ => self.flags,
        }
    }

    fn agrees_with(&self, other: &Self) -> bool {
        (self.kind, self.flags(), self.difference())
            == (other.kind, other.flags(), other.difference())
    }

    fn end(&self) -> i128 {
        i128::from(self.guest) + i128::from(self.length)
    }

    fn has_byte(&self, byte: i128) -> bool {
        i128::from(self.guest) <= byte && byte < self.end()
    }

    fn is_placed(&self) -> bool {
        self.length > 0 && self.end() <= SPACE
    }

    fn pages(&self) -> BTreeSet<i128> {
        let mut pages = BTreeSet::new();
        let mut page = i128::from(self.guest) / 4096;
        while self.is_placed() && page * 4096 < self.end() {
            pages.insert(page);
            page += 1;
        }
        pages
    }

    fn faults(&self) -> Vec<&'static str> {
        let past = |start: u64| i128::from(start) + i128::from(self.length) > SPACE;
        let passthrough = self.kind == RegionKind::Passthrough;
        let rules = [
            (self.length == 0, "zero length"),
            (past(self.guest), "guest past end"),
            (passthrough && past(self.host), "host past end"),
            (
                passthrough && self.guest % 4096 != self.host % 4096,
                "page offset",
            ),
        ];
        rules
            .iter()
            .filter(|rule| rule.0)
            .map(|rule| rule.1)
            .collect()
    }
}

/// What the model says about a set of regions.
struct Model {
    asked: Vec<Asked>,
    /// Positions by guest address, then by input order.
    order: Vec<usize>,
    /// The pages of each region, without those that it gives way on.
    pages: Vec<BTreeSet<i128>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mapped {
    first_page: i128,
    pages: i128,
    kind: RegionKind,
    flags: MappingFlags,
    host: Option<i128>,
    sources: Vec<usize>,
    exposed: u64,
}

impl Model {
    fn new(asked: &[Asked]) -> Self {
        let mut order: Vec<usize> = (0..asked.len()).collect();
        order.sort_by_key(|&at| (asked[at].guest, at));
        let owned: BTreeSet<i128> = asked
            .iter()
            .filter(|asked| asked.kind != RegionKind::Passthrough)
            .flat_map(Asked::pages)
            .collect();
        let visible = |asked: &Asked| match asked.device_tree {
            true => &asked.pages() - &owned,
            false => asked.pages(),
        };
        Self {
            asked: asked.to_vec(),
            order,
            pages: asked.iter().map(visible).collect(),
        }
    }

    fn clash(&self, one: usize, other: usize) -> bool {
        !self.asked[one].agrees_with(&self.asked[other])
            && !self.pages[one].is_disjoint(&self.pages[other])
    }

    fn clash_in_ram(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.asked[one], &self.asked[other]);
        let placed_ram = |asked: &Asked| asked.is_ram() && asked.is_placed();
        placed_ram(one)
            && placed_ram(other)
            && (one.has_byte(other.guest.into()) || other.has_byte(one.guest.into()))
    }

    /// The host pages that a region leads to.
    fn host_pages(&self, at: usize) -> BTreeSet<i128> {
        let difference = self.asked[at].difference();
        let pages = self.pages[at].iter();
        difference.map_or_else(BTreeSet::new, |difference| {
            pages.map(|page| page - difference / 4096).collect()
        })
    }

    /// A host page that is RAM by one region and passed through by the other.
    fn clash_on_the_host(&self, one: usize, other: usize) -> bool {
        self.asked[one].is_ram() != self.asked[other].is_ram()
            && !self.host_pages(one).is_disjoint(&self.host_pages(other))
    }

    fn mappings(&self) -> Vec<Mapped> {
        let mut holders: BTreeMap<i128, Vec<usize>> = BTreeMap::new();
        for &at in &self.order {
            for &page in &self.pages[at] {
                if self.asked[at].kind != RegionKind::Emulated {
                    holders.entry(page).or_default().push(at);
                }
            }
        }
        let mut mappings: Vec<Mapped> = Vec::new();
        for (&page, here) in &holders {
            let first = &self.asked[here[0]];
            let joins = mappings.last().is_some_and(|last| {
                last.first_page + last.pages == page
                    && self.asked[last.sources[0]].agrees_with(first)
            });
            if !joins {
                mappings.push(Mapped {
                    first_page: page,
                    pages: 0,
                    kind: first.kind,
                    flags: first.flags,
                    host: first
                        .difference()
                        .map(|difference| page * 4096 - difference),
                    sources: Vec::new(),
                    exposed: 0,
                });
            }
            let last = mappings.last_mut().unwrap();
            last.pages += 1;
            last.sources.extend(here);
            if first.kind == RegionKind::Passthrough {
                let nobody = |byte: &i128| !here.iter().any(|&at| self.asked[at].has_byte(*byte));
                last.exposed += (page * 4096..(page + 1) * 4096).filter(nobody).count() as u64;
            }
        }
        for mapping in &mut mappings {
            let sources: BTreeSet<usize> = mapping.sources.drain(..).collect();
            mapping
                .sources
                .extend(self.order.iter().filter(|at| sources.contains(at)));
        }
        mappings
    }
}

fn flags() -> impl Strategy<Value = MappingFlags> {
    prop_oneof![
        12 => Just(MappingFlags::READ_WRITE),
        1 => Just(MappingFlags::READ),
    ]
}

/// Regions in a few pages at the bottom, in the middle and at the very top of the space.
fn asked() -> impl Strategy<Value = Asked> {
    let kind = prop_oneof![
        2 => Just((RegionKind::Alloc, false)),
        2 => Just((RegionKind::Identical, false)),
        1 => Just((RegionKind::Reserved, false)),
        2 => Just((RegionKind::Emulated, false)),
        4 => Just((RegionKind::Passthrough, false)),
        8 => Just((RegionKind::Passthrough, true)),
    ];
    let window = prop_oneof![
        Just(0),
        Just(0x4000_0000_u64),
        Just(0_u64.wrapping_sub(0xc000))
    ];
    let offset = prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(0xfff), 2 => 0..0x1000_u64];
    let length = prop_oneof![
        30 => (1..=3_u64).prop_map(|pages| pages * 0x1000),
        20 => 1..=0x1800_u64,
        10 => 1..=0x8000_u64,
        1 => Just(0),
        1 => Just(u64::MAX - 1),
    ];
    let shift = prop_oneof![
        20 => Just(0),
        5 => Just(0x10_0000),
        2 => Just(0_u64.wrapping_sub(0x1000)),
        1 => Just(1),
    ];
    (kind, window, 0..12_u64, offset, length, shift, flags()).prop_map(
        |((kind, device_tree), window, page, offset, length, shift, flags)| {
            let guest = window + page * 0x1000 + offset;
            Asked {
                kind,
                device_tree,
                guest,
                host: guest.wrapping_add(shift),
                // Whole-space regions have a test of their own: the model would count 2^52 pages.
                length: if guest <= 2 {
                    length.min(0x8000)
                } else {
                    length
                },
                flags,
            }
        },
    )
}

/// Where nothing else is wrong, there is an error exactly if the host pages of two regions clash.
fn check_host_clashes(model: &Model, found: usize) -> Result<(), TestCaseError> {
    let all = || 0..model.asked.len();
    let clashes = all().any(|one| all().any(|other| model.clash_on_the_host(one, other)));
    prop_assert_eq!(found > 0, clashes);
    Ok(())
}

fn host_pages_of(host: HostPhysRange) -> BTreeSet<i128> {
    let first = i128::from(host.start().as_u64()) / 4096;
    (first..=i128::from(host.last().as_u64()) / 4096).collect()
}

fn check_errors(model: &Model, errors: &[PlanError<'_>]) -> Result<(), TestCaseError> {
    let mut faults: Vec<Vec<&str>> = vec![Vec::new(); model.asked.len()];
    let mut overlaps = Vec::new();
    let mut host_clashes = 0;
    for error in errors {
        match *error {
            PlanError::ZeroLength { region } => faults[region.index()].push("zero length"),
            PlanError::GuestPastEnd { region } => faults[region.index()].push("guest past end"),
            PlanError::HostPastEnd { region } => faults[region.index()].push("host past end"),
            PlanError::PageOffset { region } => faults[region.index()].push("page offset"),
            PlanError::Overlap {
                first,
                second,
                reason,
            } => {
                let (one, other) = (first.index(), second.index());
                prop_assert!(
                    model.order.iter().position(|&at| at == one)
                        < model.order.iter().position(|&at| at == other)
                );
                prop_assert_eq!([first.name(), second.name()], [NAMES[one], NAMES[other]]);
                let (a, b) = (&model.asked[one], &model.asked[other]);
                match reason {
                    OverlapReason::Kind => prop_assert!(a.kind != b.kind),
                    OverlapReason::Flags => prop_assert!(a.kind == b.kind && a.flags != b.flags),
                    OverlapReason::Target => prop_assert!(a.kind == b.kind && a.flags == b.flags),
                    _ => prop_assert!(model.clash_in_ram(one, other)),
                }
                if reason != OverlapReason::RamBytes {
                    prop_assert!(model.clash(one, other), "{} do not clash", error);
                }
                overlaps.push((one, other));
            }
            PlanError::HostAlias { ram, device, host } => {
                host_clashes += 1;
                prop_assert!(ram.kind().is_ram());
                prop_assert_eq!(device.kind(), RegionKind::Passthrough);
                let host = host_pages_of(host);
                for at in [ram.index(), device.index()] {
                    prop_assert!(!model.host_pages(at).is_disjoint(&host), "{}", error);
                }
            }
            _ => prop_assert!(false, "{error}"),
        }
    }
    for (asked, faults) in model.asked.iter().zip(&faults) {
        prop_assert_eq!(&asked.faults(), faults);
    }
    let mut expected = Vec::new();
    for (at, &one) in model.order.iter().enumerate() {
        for &other in &model.order[at + 1..] {
            if model.clash(one, other) || model.clash_in_ram(one, other) {
                expected.push((one, other));
            }
        }
    }
    let nothing_else = faults.iter().all(Vec::is_empty) && overlaps.is_empty();
    prop_assert_eq!(overlaps, expected);
    match nothing_else {
        true => check_host_clashes(model, host_clashes),
        false => Ok(()),
    }
}

/// Two mappings that lead to one host page, both of which are passed through.
fn share_host_pages(one: &Mapped, other: &Mapped) -> bool {
    let ends = |mapped: &Mapped| mapped.host.map(|host| (host, host + mapped.pages * 4096));
    match (ends(one), ends(other)) {
        (Some(one), Some(other)) => one.0 < other.1 && other.0 < one.1,
        _ => false,
    }
}

fn check_warnings<'p>(
    model: &Model,
    mappings: &[Mapped],
    warnings: impl Iterator<Item = Warning<'p, 'static>>,
) -> Result<(), TestCaseError> {
    let mut exposures = Vec::new();
    let mut rounded = Vec::new();
    let mut aliases = 0;
    for warning in warnings {
        match warning {
            Warning::PageExposure { mapping, bytes } => {
                let first = i128::from(mapping.guest().start().as_u64()) / 4096;
                exposures.push((first, bytes));
            }
            Warning::RegionRounded { region, pages } => {
                prop_assert!(pages.is_aligned_4k());
                rounded.push(region.index());
            }
            Warning::HostAlias {
                first,
                second,
                host,
            } => {
                aliases += 1;
                prop_assert!(first.guest() != second.guest());
                for mapping in [first, second] {
                    let start = mapping.host().unwrap();
                    let own = HostPhysRange::from_start_size(start, mapping.guest().size());
                    prop_assert!(own.unwrap().contains_range(&host), "{}", warning);
                    prop_assert_eq!(mapping.kind(), RegionKind::Passthrough);
                }
            }
            _ => prop_assert!(false, "{warning}"),
        }
    }
    let pairs = (0..mappings.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let mut pairs = pairs.filter(|&(a, b)| share_host_pages(&mappings[a], &mappings[b]));
    prop_assert_eq!(aliases > 0, pairs.next().is_some());
    let exposed = mappings.iter().filter(|mapping| mapping.exposed > 0);
    let expected: Vec<_> = exposed
        .map(|mapping| (mapping.first_page, mapping.exposed))
        .collect();
    prop_assert_eq!(exposures, expected);
    let unaligned = |at: &usize| {
        let asked = &model.asked[*at];
        asked.is_ram() && (!asked.guest.is_multiple_of(4096) || !asked.length.is_multiple_of(4096))
    };
    let expected: Vec<usize> = model.order.iter().copied().filter(unaligned).collect();
    prop_assert_eq!(rounded, expected);
    Ok(())
}

fn check(asked: &[Asked]) -> Result<bool, TestCaseError> {
    let model = Model::new(asked);
    let mut regions: Vec<Region<'static>> = asked
        .iter()
        .zip(NAMES)
        .map(|(asked, name)| asked.region(name))
        .collect();
    let planned = match plan(&mut regions) {
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            return check_errors(&model, &errors).map(|()| false);
        }
        Ok(planned) => planned,
    };
    check_errors(&model, &[])?;
    let found: Vec<Mapped> = planned
        .mappings()
        .map(|mapping| Mapped {
            first_page: i128::from(mapping.guest().start().as_u64()) / 4096,
            pages: i128::from(mapping.guest().size()) / 4096,
            kind: mapping.kind(),
            flags: mapping.flags(),
            host: mapping.host().map(|host| host.as_u64().into()),
            sources: mapping.sources().map(Region::index).collect(),
            exposed: mapping.exposed_bytes(),
        })
        .collect();
    let expected = model.mappings();
    prop_assert_eq!(&found, &expected);
    prop_assert!(
        planned
            .mappings()
            .all(|mapping| mapping.guest().is_aligned_4k())
    );
    prop_assert!(
        planned
            .regions()
            .iter()
            .map(Region::index)
            .eq(model.order.iter().copied())
    );
    check_warnings(&model, &expected, planned.warnings())?;
    Ok(true)
}

/// Device-tree regions across RAM and emulated devices, all in one window and all of one class.
fn crossing() -> impl Strategy<Value = Asked> {
    let kind = prop_oneof![
        Just((RegionKind::Alloc, false)),
        Just((RegionKind::Emulated, false)),
        Just((RegionKind::Passthrough, false)),
        Just((RegionKind::Passthrough, true)),
        Just((RegionKind::Passthrough, true)),
    ];
    let offset = prop_oneof![4 => Just(0), 1 => 0..0x1000_u64];
    let length = prop_oneof![Just(0x1000), Just(0x2000), 1..=0x4000_u64];
    (kind, 0..16_u64, offset, length, 1..3_u64).prop_map(
        |((kind, device_tree), page, offset, length, times)| {
            let guest = page * 0x1000 + offset;
            Asked {
                kind,
                device_tree,
                guest,
                host: guest,
                length: if device_tree {
                    length * times * 2
                } else {
                    length
                },
                flags: MappingFlags::READ_WRITE,
            }
        },
    )
}

/// `all` without each region that the model finds in the way of the earlier ones.
fn without_conflicts(all: Vec<Asked>) -> Vec<Asked> {
    let mut kept: Vec<Asked> = Vec::new();
    for asked in all {
        kept.push(asked);
        let model = Model::new(&kept);
        let pairs = || (0..kept.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        let faulty = !asked.faults().is_empty()
            || pairs().any(|(a, b)| {
                model.clash(a, b) || model.clash_in_ram(a, b) || model.clash_on_the_host(a, b)
            });
        if faulty {
            kept.pop();
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn plan_agrees_with_the_pages(asked in prop::collection::vec(asked(), 0..=12)) {
        check(&asked)?;
    }

    #[test]
    fn plan_without_conflicts_agrees_with_the_pages(asked in prop::collection::vec(asked(), 0..=12)) {
        prop_assert!(check(&without_conflicts(asked))?, "the model finds no fault");
    }

    #[test]
    fn plan_of_cut_regions_agrees_with_the_pages(asked in prop::collection::vec(crossing(), 0..=12)) {
        prop_assert!(check(&without_conflicts(asked))?, "the model finds no fault");
    }
}
