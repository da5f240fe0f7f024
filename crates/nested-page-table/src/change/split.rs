//! Splitting a huge leaf: the part that an operation changes, and neighbours that keep everything.
#![expect(unsafe_code, reason = "fills table frames before they are linked")]

use core::mem;
use core::sync::atomic::Ordering;

use guest_addr::{GuestPhysRange, HostPhysAddr};

use crate::change::reserve::Reserve;
use crate::contract::format::Format;
use crate::contract::host::TableHost;
use crate::contract::invalidation::{
    Change, InvalidatedRange, Invalidation, InvalidationFailed, Scope,
};
use crate::contract::level::Level;
use crate::settle::gather::Gather;
use crate::tree::pass::Seen;
use crate::tree::slots::slots;
use crate::tree::tables::Tables;
use crate::tree::words::{self, FRAME_WORDS, Word};

/// What happens to the leaves in the range of an operation.
pub(crate) trait Action {
    /// Whether the leaves leave notes, to be reported.
    const REMEMBERS: bool = false;

    /// What the leaf `bits` of a level becomes, or `None` if it has to be split first.
    fn apply<F: Format>(&self, format: &F, level: Level, bits: u64) -> Option<u64>;
}

/// The leaves become absent.
pub(crate) struct Clear;

impl Action for Clear {
    #[inline]
    fn apply<F: Format>(&self, format: &F, _level: Level, _bits: u64) -> Option<u64> {
        Some(format.absent())
    }
}

/// One operation under way: what it does, and what it has for that.
pub(crate) struct Operation<'a, F: Format, H: TableHost, A> {
    pub(crate) reserve: Reserve<'a, F, H>,
    pub(crate) gather: &'a mut Gather,
    pub(crate) action: A,
}

impl<'a, F: Format, H: TableHost, A: Action> Operation<'a, F, H, A> {
    /// An operation that has done nothing, and has nothing in reserve.
    pub(crate) fn new(tables: &'a Tables<F, H>, gather: &'a mut Gather, action: A) -> Self {
        gather.begin_operation();
        Self {
            gather,
            reserve: Reserve::empty(tables),
            action,
        }
    }

    /// The tree that it works on.
    #[inline]
    pub(crate) fn tables(&self) -> &'a Tables<F, H> {
        self.reserve.tables
    }

    /// Replaces the leaf in `entry` by a table in which the action was applied to the slot's
    /// portion. Every other byte keeps address, permissions, memory type, accessed and dirty state.
    ///
    /// Where break-before-make rules, the leaf is invalidated before the table takes its place;
    /// where the hardware writes entries, the leaf is taken out first, so that what it wrote last is
    /// inherited. In between, other CPUs may fault spuriously on the whole leaf. Where that invalidation
    /// fails, the leaf stays what it was.
    pub(crate) fn split(&mut self, seen: &Seen<'_>) -> Result<(), InvalidationFailed> {
        let (level, entry) = (seen.level, seen.entry);
        let rules = self.tables().format.rules();
        // First: should the host unwind, what is put back has to be published like everything else.
        self.gather.note_stored();
        let bits = if rules.break_before_make || rules.hardware_writes_entries {
            entry.swap(self.tables().format.absent())
        } else {
            entry.load()
        };
        if rules.break_before_make {
            self.settle_broken(seen, bits)?;
        }
        if let Some(table) = self.split_table(level, bits, seen.portion) {
            entry.store(table, Ordering::Release);
        }
        if A::REMEMBERS {
            self.gather.note_retired_leaf();
        }
        // Where the leaf was invalidated on the way, some CPU may remember that nothing was there.
        if !rules.break_before_make || rules.fresh_needs_invalidation || A::REMEMBERS {
            self.gather.add_removed(seen.span(), None);
        }
        Ok(())
    }

    /// Invalidates the leaf `bits`, which was taken out of the entry.
    fn settle_broken(&self, seen: &Seen<'_>, bits: u64) -> Result<(), InvalidationFailed> {
        let entry = seen.entry;
        let broken = Broken { entry, bits };
        self.tables().format.publish();
        let range = InvalidatedRange::leaves(seen.span(), seen.level, Change::Removed);
        let request = Invalidation::range(self.gather.space(), Scope::AllCpus, range);
        self.tables().host.invalidate(&request)?;
        mem::forget(broken);
        Ok(())
    }

    /// Builds the table that takes the place of the leaf `bits` of `level`, and returns the entry
    /// that links it. `None` is impossible: the survey counted the same tables.
    fn split_table(&mut self, level: Level, bits: u64, portion: GuestPhysRange) -> Option<u64> {
        let below = level.below()?;
        let (geometry, format) = (self.tables().geometry(), self.tables().format);
        let frame = self.reserve.pop()?;
        // SAFETY: the frame came from the reserve, so it is ours alone until its entry is linked.
        let words = unsafe { words::private(self.tables().frames(), frame, FRAME_WORDS) };
        let step = format.address_bits(HostPhysAddr::new(geometry.entry_size(below)));
        let mut next = format.split_leaf(level, bits);
        for word in words.iter_mut() {
            *word = next;
            next = next.wrapping_add(step);
        }
        for inner in slots(geometry.shift(below), FRAME_WORDS, portion) {
            let word = words.get_mut(inner.index)?;
            let changed = match inner.is_whole {
                true => self.action.apply(&self.tables().format, below, *word),
                false => None,
            };
            *word = match changed {
                Some(bits) => bits,
                None => self.split_table(below, *word, inner.portion)?,
            };
        }
        Some(format.encode_table(frame))
    }
}

/// A leaf that was taken out, and returns should the host fail or unwind, so that this is dropped: as it
/// was, which no CPU has to be told.
struct Broken<'e> {
    entry: &'e Word,
    bits: u64,
}

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        self.entry.store(self.bits, Ordering::Release);
    }
}
