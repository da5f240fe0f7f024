//! Building tables that nobody can reach yet.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::format::Format;
use crate::frames::HostFrames;
use crate::host::TableHost;
use crate::level::Level;
use crate::map::Plan;
use crate::release;
use crate::reserve::Reserve;
use crate::slots::slots;
use crate::tables::Tables;
use crate::words::{self, FRAME_WORDS};

/// The words of consecutive leaves of `level` from the host address `host` on.
#[inline]
pub(crate) fn leaf_words<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    plan: &Plan,
    host: u64,
) -> impl Iterator<Item = u64> {
    let format = &tables.format;
    let size = HostPhysAddr::new(tables.geometry().entry_size(level));
    let step = format.address_bits(size);
    let mut next =
        format.leaf_attributes(level, plan.flags) | format.address_bits(HostPhysAddr::new(host));
    core::iter::repeat_with(move || {
        let bits = next;
        next = next.wrapping_add(step);
        bits
    })
}

/// Builds a complete table below an entry of `parent` and returns the entry that links it, or `None`
/// when there are no more frames; all that were taken are given back then.
pub(crate) fn build<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    frames: &mut Reserve<'_, H::Frames>,
    parent: Level,
    range: GuestPhysRange,
    plan: &Plan,
) -> Option<u64> {
    let level = parent.below()?;
    let frame = frames.pop()?;
    // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
    let words = unsafe { words::private(tables.frames(), frame, FRAME_WORDS) };
    let parts = Parts::of(tables, level, range, plan);
    let built = build_below(tables, frames, level, words, &parts, plan);
    if built.is_none() {
        // SAFETY: the frame came from the reserve, and no entry was made for it.
        unsafe { tables.frames().dealloc(frame, 1) };
        return None;
    }
    // From here on `None` is impossible, and no frame can be lost: every index is below 512.
    let geometry = tables.geometry();
    let first = geometry.index(level, range.start());
    let last = geometry.index(level, range.last());
    clear(words.get_mut(..first)?);
    clear(words.get_mut(last..)?.get_mut(1..)?);
    if let Some(body) = parts.leaves {
        let first = geometry.index(level, body.start());
        let last = geometry.index(level, body.last());
        let leaves = leaf_words(tables, level, plan, plan.host_of(body.start()));
        for (word, bits) in words.get_mut(first..=last)?.iter_mut().zip(leaves) {
            *word = bits;
        }
    }
    Some(tables.format.encode_table(frame))
}

/// Builds the tables below `words`, the entries of a private table of `level`, or none.
#[inline]
fn build_below<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    frames: &mut Reserve<'_, H::Frames>,
    level: Level,
    words: &mut [u64],
    parts: &Parts,
    plan: &Plan,
) -> Option<()> {
    if let Some(head) = parts.head {
        build_all(tables, frames, level, words, head, plan)?;
    }
    if let Some(tail) = parts.tail
        && build_all(tables, frames, level, words, tail, plan).is_none()
    {
        discard(tables, level, words, parts.head);
        return None;
    }
    Some(())
}

/// Builds a table for each entry that `range` touches, or none.
#[inline(never)]
fn build_all<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    frames: &mut Reserve<'_, H::Frames>,
    level: Level,
    words: &mut [u64],
    range: GuestPhysRange,
    plan: &Plan,
) -> Option<()> {
    for slot in slots(tables.geometry(), level, range) {
        let Some(entry) = build(tables, frames, level, slot.portion, plan) else {
            let built = slot.portion.start().checked_sub(1);
            let built =
                built.and_then(|last| GuestPhysRange::from_start_last(range.start(), last).ok());
            discard(tables, level, words, built);
            return None;
        };
        *words.get_mut(slot.index)? = entry;
    }
    Some(())
}

/// Gives back the tables of `range` below `words`, which were built and never linked.
#[cold]
#[inline(never)]
fn discard<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    words: &[u64],
    range: Option<GuestPhysRange>,
) {
    let Some(range) = range else { return };
    for slot in slots(tables.geometry(), level, range) {
        if let Some(&bits) = words.get(slot.index) {
            release::discard(tables, level, bits);
        }
    }
}

/// Zeroes `words`, mostly none: the call of `memset` costs more than the question.
#[inline]
fn clear(words: &mut [u64]) {
    if !words.is_empty() {
        words.fill(0);
    }
}

/// A range cut into what one table maps with leaves and what needs tables below it.
pub(crate) struct Parts {
    pub(crate) leaves: Option<GuestPhysRange>,
    pub(crate) head: Option<GuestPhysRange>,
    pub(crate) tail: Option<GuestPhysRange>,
}

impl Parts {
    #[inline]
    pub(crate) fn of<F: Format, H: TableHost>(
        tables: &Tables<F, H>,
        level: Level,
        range: GuestPhysRange,
        plan: &Plan,
    ) -> Self {
        let below = tables.geometry().entry_size(level) - 1;
        let (start, last) = (range.start().as_u64(), range.last().as_u64());
        // Neither wraps: a guest range lies within 63 bits.
        let body_start = start.wrapping_add(below) & !below;
        let body_end = last.wrapping_add(1) & !below;
        if level > plan.largest_leaf || body_start >= body_end {
            return Self {
                leaves: None,
                head: Some(range),
                tail: None,
            };
        }
        Self {
            leaves: range_of(body_start, body_end.wrapping_sub(1)),
            head: range_of(start, body_start.wrapping_sub(1)).filter(|_| start < body_start),
            tail: range_of(body_end, last).filter(|_| body_end <= last),
        }
    }
}

#[inline]
fn range_of(start: u64, last: u64) -> Option<GuestPhysRange> {
    GuestPhysRange::from_start_last(GuestPhysAddr::new(start), GuestPhysAddr::new(last)).ok()
}
