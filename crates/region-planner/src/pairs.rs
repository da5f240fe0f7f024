//! Every conflict between two regions, once it is known that there are some.

use alloc::vec::Vec;

use crate::error::{OverlapReason, PlanError};
use crate::owned::OwnedPages;
use crate::pages::Pages;
use crate::region::{Origin, Region};

/// How many overlapping pairs are looked at for each region on average, and in all besides.
const LOOKS_PER_REGION: usize = 4;
const LOOKS_BESIDES: usize = 4096;

/// Puts every conflicting pair in the place of the overlaps in `errors`, which are one or two for each
/// region. Where so many regions overlap that the pairs would go beyond a linear number, `errors`
/// stays what it is.
#[cold]
pub(crate) fn complete<'a>(
    regions: &[Region<'a>],
    owned: &OwnedPages,
    errors: &mut Vec<PlanError<'a>>,
) {
    let is_overlap = |error: &PlanError<'_>| matches!(error, PlanError::Overlap { .. });
    if !errors.iter().any(is_overlap) {
        return;
    }
    if let Some(pairs) = conflicts(regions, owned) {
        errors.retain(|error| !is_overlap(error));
        errors.extend(pairs);
    }
}

/// The conflicting pairs of `regions`, which are sorted; `None` when there is too much to look at.
fn conflicts<'a>(regions: &[Region<'a>], owned: &OwnedPages) -> Option<Vec<PlanError<'a>>> {
    let mut looks = LOOKS_PER_REGION
        .saturating_mul(regions.len())
        .saturating_add(LOOKS_BESIDES);
    let mut found = Vec::new();
    let mut rest = regions;
    while let Some((first, later)) = rest.split_first() {
        rest = later;
        let Some(pages) = first.pages() else { continue };
        for second in later {
            let Some(others) = second.pages() else {
                continue;
            };
            if others.start >= pages.end {
                break;
            }
            looks = looks.checked_sub(1)?;
            found.extend(conflict(first, second, pages.common(others), owned));
        }
    }
    Some(found)
}

/// What is wrong with two regions that have the pages `common`, if anything is.
fn conflict<'a>(
    first: &Region<'a>,
    second: &Region<'a>,
    common: Pages,
    owned: &OwnedPages,
) -> Option<PlanError<'a>> {
    let from_device_tree = |region: &Region<'_>| region.origin() == Origin::DeviceTree;
    let yields = from_device_tree(first) || from_device_tree(second);
    let meets = !yields || owned.trim(common).is_some();
    let reason = if first.class() != second.class() && meets {
        OverlapReason::between(first, second)
    } else if share_requested_ram(first, second) {
        OverlapReason::RamBytes
    } else {
        return None;
    };
    let (first, second) = (*first, *second);
    Some(PlanError::Overlap {
        first,
        second,
        reason,
    })
}

fn share_requested_ram(first: &Region<'_>, second: &Region<'_>) -> bool {
    let requested = first.requested().zip(second.requested());
    first.kind().is_ram()
        && second.kind().is_ram()
        && requested.is_some_and(|(one, other)| one.overlaps(&other))
}
