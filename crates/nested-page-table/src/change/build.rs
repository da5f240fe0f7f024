//! Building tables that nobody can reach yet.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::change::map::Plan;
use crate::change::reserve::Reserve;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::level::Level;
use crate::settle::release;
use crate::tree::slots::{slots, span_of};
use crate::tree::tables::{Table, Tables};
use crate::tree::words::{self, FRAME_WORDS};

/// The leaf of `level` at `guest`. Compiled once: it is called once for a table or a run, not for a leaf.
#[inline(never)]
pub(crate) fn leaf_word<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    plan: &Plan,
    guest: GuestPhysAddr,
) -> u64 {
    let attributes = tables.leaf_attributes(level, plan.flags);
    let host = HostPhysAddr::new(plan.host_of(guest));
    attributes | tables.format.address_bits(host)
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
    frames: &mut Reserve<'_, F, H>,
    parent: Level,
    range: GuestPhysRange,
    plan: &Plan,
) -> Option<u64> {
    let level = parent.below()?;
    let address = frames.pop()?;
    // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
    let words = unsafe { words::private(tables.frames(), address, FRAME_WORDS) };
    if fill(tables, level, words, &range, plan) {
        return Some(tables.format.encode_table(address));
    }
    let mut rest = slots(tables.geometry().shift(level), FRAME_WORDS, range);
    while let Some(slot) = rest.next() {
        if plan.is_leaf(level, slot.is_whole) {
            // So are all but the last, which may be cut.
            rest.skip_to_last();
            continue;
        }
        let built = build(tables, frames, level, slot.portion, plan);
        let (Some(entry), Some(word)) = (built, words.get_mut(slot.index)) else {
            release::release_table(tables, Table { address, level });
            return None;
        };
        *word = entry;
    }
    Some(tables.format.encode_table(address))
}

/// Fills a table of `level`. If the plan has leaves of that level, every entry that `range` touches gets one. All other
/// entries are absent. Every word is written once. Where the range begins or ends within an entry, the caller
/// replaces the leaf by a table. Returns whether the table is complete: no leaf must be replaced.
#[inline]
fn fill<F: Format, H: TableHost>(
    tables: &Tables<F, H>,
    level: Level,
    words: &mut [u64],
    range: &GuestPhysRange,
    plan: &Plan,
) -> bool {
    let absent = tables.format.absent();
    if level > plan.largest_leaf {
        words::clear(words, absent);
        return false;
    }
    let geometry = tables.geometry();
    let index =
        |address: GuestPhysAddr| (address.as_u64() >> geometry.shift(level)) as usize % FRAME_WORDS;
    let (first, end) = (index(range.start()), index(range.last()) + 1);
    words::clear(words.get_mut(..first).unwrap_or_default(), absent);
    words::clear(words.get_mut(end..).unwrap_or_default(), absent);
    let first_leaf = span_of(geometry, level, range.start()).start();
    let mut leaf = leaf_word(tables, level, plan, first_leaf);
    let step = leaf_step(tables, level);
    for word in words.get_mut(first..end).unwrap_or_default() {
        *word = leaf;
        leaf = leaf.wrapping_add(step);
    }
    let below = geometry.entry_size(level) - 1;
    (range.start().as_u64() | !range.last().as_u64()) & below == 0
}
