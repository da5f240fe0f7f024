//! What stands in the two address spaces.

use std::ops::Range;

use guest_addr::{AddressRange, AddressSpace};
use mapping_flags::MappingFlags;
use region_planner::{Extent, LeafCounts, Mapping, Region, RegionKind};

use crate::plan::{Planned, host_range, unique_sources};

/// Addresses of one space, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) last: u64,
}

impl Span {
    /// The size; one byte less for the whole space.
    pub(crate) const fn bytes(self) -> u64 {
        (self.last - self.start).saturating_add(1)
    }

    const fn hull(self, other: Self) -> Self {
        let last = match self.last > other.last {
            true => self.last,
            false => other.last,
        };
        Self {
            start: self.start,
            last,
        }
    }
}

impl<S: AddressSpace> From<AddressRange<S>> for Span {
    fn from(range: AddressRange<S>) -> Self {
        Self {
            start: range.start().as_u64(),
            last: range.last().as_u64(),
        }
    }
}

/// A mapping or an emulated device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'p, 'a> {
    pub(crate) guest: Span,
    /// `None` where the hypervisor chooses the frames, and for emulated devices.
    pub(crate) host: Option<Span>,
    what: What<'p, 'a>,
}

#[derive(Clone, Copy, Debug)]
enum What<'p, 'a> {
    Mapping(Mapping<'p, 'a>),
    Emulated(&'p Region<'a>),
}

impl<'p, 'a> Block<'p, 'a> {
    pub(crate) fn kind(&self) -> RegionKind {
        match &self.what {
            What::Mapping(mapping) => mapping.kind(),
            What::Emulated(_) => RegionKind::Emulated,
        }
    }

    /// `None` for emulated devices.
    pub(crate) fn flags(&self) -> Option<MappingFlags> {
        match &self.what {
            What::Mapping(mapping) => Some(mapping.flags()),
            What::Emulated(_) => None,
        }
    }

    /// How many leaves of each size map it.
    pub(crate) fn leaves(&self) -> LeafCounts {
        match &self.what {
            What::Mapping(mapping) => Extent::leaf_counts(&mapping.extent()),
            What::Emulated(_) => LeafCounts::default(),
        }
    }

    /// Its entries, by guest address and then by input order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &'p Region<'a>> + use<'p, 'a> {
        let (mapping, emulated) = self.parts();
        let of_mapping = mapping.into_iter().flat_map(|mapping| mapping.sources());
        of_mapping.chain(emulated)
    }

    /// Whether the guest reaches bytes that no entry asked for.
    pub(crate) fn exposes(&self) -> bool {
        matches!(&self.what, What::Mapping(mapping) if mapping.exposed_bytes() > 0)
    }

    const fn parts(&self) -> (Option<Mapping<'p, 'a>>, Option<&'p Region<'a>>) {
        match self.what {
            What::Mapping(mapping) => (Some(mapping), None),
            What::Emulated(region) => (None, Some(region)),
        }
    }

    /// The names of its entries, each once.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + use<'p, 'a> {
        let (mapping, emulated) = self.parts();
        let of_mapping = mapping
            .into_iter()
            .flat_map(|mapping| unique_sources(&mapping));
        of_mapping.chain(emulated.map(Region::name))
    }

    /// Whether guest and host address differ.
    pub(crate) fn is_moved(&self) -> bool {
        self.host.is_some_and(|host| host.start != self.guest.start)
    }
}

/// Mappings and emulated devices by guest address.
pub(crate) fn blocks_of<'p, 'a>(planned: &'p Planned<'_, 'a>) -> Vec<Block<'p, 'a>> {
    let mut blocks = Vec::with_capacity(planned.plan.mapping_count());
    blocks.extend(planned.plan.mappings().map(|mapping| Block {
        guest: mapping.guest().into(),
        host: host_range(&mapping).map(Span::from),
        what: What::Mapping(mapping),
    }));
    let emulated = planned.emulated().filter_map(|region| {
        Some(Block {
            guest: region.requested()?.into(),
            host: None,
            what: What::Emulated(region),
        })
    });
    blocks.extend(emulated);
    blocks.sort_by_key(|block| block.guest);
    blocks
}

/// Blocks in the order of one address space. Blocks that overlap there stand in one place.
#[derive(Debug, Default)]
pub(crate) struct Column {
    /// Places that neither overlap nor are out of order.
    pub(crate) places: Vec<Place>,
    /// Positions of blocks.
    order: Vec<u32>,
}

/// Addresses that belong together, and their part of [`Column::order`].
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) span: Span,
    members: Range<u32>,
}

impl Column {
    /// A column of those blocks that have a span there, with their positions.
    pub(crate) fn of(spans: impl Iterator<Item = (Span, u32)>) -> Self {
        let mut spans: Vec<_> = spans.collect();
        spans.sort_unstable();
        let mut column = Self {
            places: Vec::with_capacity(spans.len()),
            order: Vec::with_capacity(spans.len()),
        };
        for (span, block) in spans {
            column.add(span, block);
        }
        column
    }

    fn add(&mut self, span: Span, block: u32) {
        self.order.push(block);
        let end = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        match self.places.last_mut() {
            Some(place) if place.span.last >= span.start => {
                place.span = place.span.hull(span);
                place.members.end = end;
            }
            _ => self.places.push(Place {
                span,
                members: end.saturating_sub(1)..end,
            }),
        }
    }

    /// The positions of the blocks in some neighbouring places.
    pub(crate) fn blocks(&self, places: &Range<usize>) -> impl Iterator<Item = usize> + Clone {
        let places = self.places.get(places.clone()).unwrap_or_default();
        let start = places.first().map_or(0, |place| place.members.start);
        let end = places.last().map_or(0, |place| place.members.end);
        let order = self.order.get(start as usize..end as usize);
        order
            .unwrap_or_default()
            .iter()
            .map(|&block| block as usize)
    }
}
