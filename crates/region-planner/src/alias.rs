//! Host pages that a guest would reach in two ways.

use alloc::vec::Vec;

use guest_addr::{GuestPhysRange, HostPhysRange};

use crate::class::Class;
use crate::error::PlanError;
use crate::mapping::Mapping;
use crate::pages::{PAGE_SHIFT, Pages};
use crate::plan::Plan;
use crate::reach::{Reach, Reached};
use crate::region::{Region, RegionKind};

/// Two passthrough mappings that lead to the same host memory, by their positions in the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    pub(crate) first: u32,
    pub(crate) second: u32,
    pub(crate) host: HostPhysRange,
}

/// Something that leads to host memory of its own choice.
#[derive(Clone, Copy)]
struct Use {
    host: Pages,
    class: Class,
    index: u32,
}

impl Use {
    fn new(guest: GuestPhysRange, class: Class, index: u32) -> Self {
        let pages = Pages::around(guest);
        let start = class.host_of(guest.start()).as_u64() >> PAGE_SHIFT;
        let count = pages.end.saturating_sub(pages.start);
        let end = start.saturating_add(count);
        let host = Pages { start, end };
        Self { host, class, index }
    }

    const fn is_ram(&self) -> bool {
        self.class.kind.is_ram()
    }
}

/// Compares the mappings of a plan. A page that is RAM and passed through is an error; a page that is
/// passed through twice is not.
pub(crate) fn find<'a>(plan: &Plan<'_, 'a>, errors: &mut Vec<PlanError<'a>>) -> Vec<Alias> {
    let used = (0..).zip(plan.mappings()).filter_map(|(index, mapping)| {
        mapping.host()?;
        Some(Use::new(mapping.guest(), mapping.class(), index))
    });
    let mut aliases = Vec::new();
    // Most plans need no sort: their host memory ascends with the guest addresses.
    if used
        .clone()
        .map(|used| used.host)
        .is_sorted_by(|one, next| one.end <= next.start)
    {
        return aliases;
    }
    let mapping = |index: u32| plan.mapping(index);
    for (first, second, host) in pairs(used.collect()) {
        let (one, other) = (mapping(first.index), mapping(second.index));
        if first.is_ram() == second.is_ram() {
            let (first, second) = (first.index, second.index);
            aliases.push(Alias {
                first,
                second,
                host,
            });
        } else if let (Some(one), Some(other)) = (one, other)
            && let (Some(one), Some(other)) = (source_at(&one, host), source_at(&other, host))
        {
            errors.push(error(*one, *other, host));
        }
    }
    aliases.sort_unstable_by_key(|alias| (alias.first, alias.second));
    aliases
}

/// The errors among regions that have no plan for another reason. Those from device trees do not
/// take part: RAM may have their pages.
#[cold]
pub(crate) fn find_without_plan<'a>(regions: &[Region<'a>], errors: &mut Vec<PlanError<'a>>) {
    let used = (0..).zip(regions).filter_map(|(index, region)| {
        let is_sound = !region.host_runs_past_end() && !region.differs_in_page_offset();
        let takes_part = region.owns_pages() || !region.is_from_device_tree();
        region.host().filter(|_| is_sound && takes_part)?;
        Some(Use::new(region.requested()?, region.class(), index))
    });
    for (first, second, host) in pairs(used.collect()) {
        let region = |used: Use| regions.get(used.index as usize);
        // At one guest address they overlap, which is an error already.
        let is_apart = !first.class.has_distance_of(second.class);
        if first.is_ram() != second.is_ram()
            && is_apart
            && let (Some(one), Some(other)) = (region(first), region(second))
        {
            errors.push(error(*one, *other, host));
        }
    }
}

fn error<'a>(one: Region<'a>, other: Region<'a>, host: HostPhysRange) -> PlanError<'a> {
    let (ram, device) = match one.kind() {
        RegionKind::Passthrough => (other, one),
        _ => (one, other),
    };
    PlanError::HostAlias { ram, device, host }
}

/// For each use at most one earlier one with common pages: RAM for passthrough and the reverse,
/// else passthrough for passthrough.
fn pairs(mut used: Vec<Use>) -> Vec<(Use, Use, HostPhysRange)> {
    used.sort_unstable_by_key(|used| (used.host.start, used.index));
    let (mut ram, mut passthrough) = (Reach::NOTHING, Reach::NOTHING);
    let mut pairs = Vec::new();
    for (position, &second) in (0..).zip(&used) {
        let Use { host, class, .. } = second;
        let device = passthrough.conflict(host.start, class);
        let earlier = match second.is_ram() {
            true => device,
            false => ram.conflict(host.start, class).or(device),
        };
        if let Some(&first) = earlier.and_then(|at| used.get(at as usize))
            && let Some(common) = host.common(first.host).bytes().ok()
        {
            pairs.push((first, second, common));
        }
        let group = match second.is_ram() {
            true => &mut ram,
            false => &mut passthrough,
        };
        let (end, index) = (host.end, position);
        group.record(Reached { end, class, index });
    }
    pairs
}

/// The first source of `mapping` that has a page of `host`.
fn source_at<'p, 'a>(mapping: &Mapping<'p, 'a>, host: HostPhysRange) -> Option<&'p Region<'a>> {
    let wanted = Pages::around(host);
    mapping.sources().find(|source| {
        let used = source
            .requested()
            .map(|bytes| Use::new(bytes, source.class(), 0));
        used.is_some_and(|used| used.host.overlaps(wanted))
    })
}
