//! Building tables that nobody can reach yet.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::format::Format;
use crate::host::TableHost;
use crate::level::Level;
use crate::map::Plan;
use crate::release;
use crate::reserve::Reserve;
use crate::slots::{slots, span_of};
use crate::tables::{Table, Tables};
use crate::words::{self, FRAME_WORDS};

/// The leaf of `level` at `guest`.
pub(crate) fn leaf_word<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    plan: &Plan,
    guest: GuestPhysAddr,
) -> u64 {
    let host = HostPhysAddr::new(plan.host_of(guest));
    tables.leaf_attributes(level, plan.flags) | tables.format.address_bits(host)
}

/// What to add to a leaf of `level` for its neighbour.
#[inline]
pub(crate) fn leaf_step<F: Format, H: TableHost>(tables: &Tables<F, H>, level: Level) -> u64 {
    let size = HostPhysAddr::new(tables.geometry().entry_size(level));
    tables.format.address_bits(size)
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
    let address = frames.pop()?;
    // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
    let words = unsafe { words::private(tables.frames(), address, FRAME_WORDS) };
    let complete = fill(tables, level, words, &range, plan)
        || build_below(tables, frames, level, words, range, plan);
    if !complete {
        release::release_table(tables, Table { address, level });
        return None;
    }
    Some(tables.format.encode_table(address))
}

/// Builds the tables below `words`, the entries of `level`, where the plan has no leaves of this level.
/// Says whether there were frames enough.
#[inline]
fn build_below<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    frames: &mut Reserve<'_, H::Frames>,
    level: Level,
    words: &mut [u64],
    range: GuestPhysRange,
    plan: &Plan,
) -> bool {
    let mut rest = slots(tables.geometry().shift(level), FRAME_WORDS, range);
    while let Some(slot) = rest.next() {
        if plan.is_leaf(level, &slot) {
            // So are all but the last, which may be cut.
            rest.skip_to_last();
            continue;
        }
        let built = build(tables, frames, level, slot.portion(), plan);
        let (Some(entry), Some(word)) = (built, words.get_mut(slot.index)) else {
            return false;
        };
        *word = entry;
    }
    true
}

/// Fills a table: with leaves where the plan has leaves of `level`, all that `range` touches, and with
/// absent entries elsewhere: every word is written. Says whether that is all there is to do.
#[inline]
fn fill<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    words: &mut [u64],
    range: &GuestPhysRange,
    plan: &Plan,
) -> bool {
    if level > plan.largest_leaf {
        words.fill(0);
        return false;
    }
    let geometry = tables.geometry();
    let index =
        |address: GuestPhysAddr| (address.as_u64() >> geometry.shift(level)) as usize % FRAME_WORDS;
    let (first, last) = (index(range.start()), index(range.last()));
    if let Some(before) = words.get_mut(..first) {
        clear(before);
    }
    if let Some(after) = words.get_mut(last + 1..) {
        clear(after);
    }
    // Where the range begins or ends within an entry, what stands there now is replaced by a table.
    let first_leaf = span_of(geometry, level, range.start()).start();
    let mut bits = leaf_word(tables, level, plan, first_leaf);
    let step = leaf_step(tables, level);
    for word in words.get_mut(first..=last).unwrap_or_default() {
        *word = bits;
        bits = bits.wrapping_add(step);
    }
    let below = geometry.entry_size(level) - 1;
    (range.start().as_u64() | !range.last().as_u64()) & below == 0
}

/// Zeroes `words`, mostly none: the call of `memset` costs more than the question.
#[inline]
fn clear(words: &mut [u64]) {
    if !words.is_empty() {
        words.fill(0);
    }
}
