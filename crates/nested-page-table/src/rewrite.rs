//! New permissions for the leaves of one table.
#![expect(
    unsafe_code,
    reason = "reads entries that nobody writes with plain loads"
)]

use core::sync::atomic::{AtomicU64, Ordering};

use mapping_flags::MappingFlags;

use crate::entry::Entry;
use crate::format::Format;
use crate::invalidation::Change;
use crate::level::Level;
use crate::words;

/// Entries that are compared at once: two cache lines.
const CHUNK: usize = 16;

/// Gives leaves the permissions `flags`.
///
/// Leaves that are mapped together have equal attributes, and so differ from their new words in the
/// same bits. The bits are worked out once, and flipped in every leaf that is like the last.
pub(crate) struct Rewrite<'f, F: Format> {
    format: &'f F,
    level: Level,
    flags: MappingFlags,
    /// All bits but those of the address.
    attribute_bits: u64,
    /// The attributes of the last leaf. Those of an absent entry at first, which stays as it is.
    attributes: u64,
    /// What is flipped in leaves with these attributes.
    flipped: u64,
    /// The most severe change so far.
    worst: Option<Change>,
}

impl<'f, F: Format> Rewrite<'f, F> {
    pub(crate) fn new(format: &'f F, level: Level, flags: MappingFlags) -> Self {
        Self {
            format,
            level,
            flags,
            attribute_bits: !format.address_bits(format.geometry().last_host_page()),
            attributes: 0,
            flipped: 0,
            worst: None,
        }
    }

    /// Rewrites the leaves among `words` that differ and returns the most severe change.
    #[inline]
    pub(crate) fn all(mut self, words: &[AtomicU64]) -> Option<Change> {
        if self.format.rules().hardware_writes_entries {
            words.iter().for_each(|word| self.one_of_two_writers(word));
            return self.worst;
        }
        let (chunks, rest) = words.as_chunks::<CHUNK>();
        for chunk in chunks {
            if !self.chunk_like_the_last(chunk) {
                chunk.iter().for_each(|word| self.one(word));
            }
        }
        rest.iter().for_each(|word| self.one(word));
        self.worst
    }

    /// Rewrites a chunk in which every entry has the attributes of the last leaf; says whether it
    /// was one.
    #[inline]
    fn chunk_like_the_last(&self, chunk: &[AtomicU64; CHUNK]) -> bool {
        // SAFETY: the hardware does not write entries of this format, as `all` has asked, and the
        // table is borrowed mutably by the edit.
        if !unsafe { words::all_have(chunk, self.attribute_bits, self.attributes) } {
            return false;
        }
        if self.flipped != 0 {
            for word in chunk {
                let flipped = word.load(Ordering::Relaxed) ^ self.flipped;
                word.store(flipped, Ordering::Relaxed);
            }
        }
        true
    }

    fn one(&mut self, word: &AtomicU64) {
        let old = word.load(Ordering::Relaxed);
        if old & self.attribute_bits != self.attributes {
            let Some(new) = self.judge(old) else {
                return;
            };
            self.attributes = old & self.attribute_bits;
            self.flipped = old ^ new;
        }
        if self.flipped != 0 {
            word.store(old ^ self.flipped, Ordering::Relaxed);
        }
    }

    /// [`one`](Self::one), where the hardware may write to the entry meanwhile.
    fn one_of_two_writers(&mut self, word: &AtomicU64) {
        let old = word.load(Ordering::Relaxed);
        if self.judge(old).is_some_and(|new| new != old) {
            let update = |bits| Some(self.format.with_permissions(self.level, bits, self.flags));
            // The closure never declines, so this never fails.
            let _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
        }
    }

    /// The new word of the leaf `old`, or `None` if it is no leaf.
    #[inline(never)]
    fn judge(&mut self, old: u64) -> Option<u64> {
        let Entry::Leaf(leaf) = self.format.decode_own(self.level, old) else {
            return None;
        };
        let new = self.format.with_permissions(self.level, old, self.flags);
        if new != old {
            self.worst = self.worst.max(Some(change_between(leaf.flags, self.flags)));
        }
        Some(new)
    }
}

/// What it means for a leaf with the flags `old` to get the permissions `new`.
fn change_between(old: MappingFlags, new: MappingFlags) -> Change {
    if new.contains(old.intersection(MappingFlags::PERMISSIONS)) {
        Change::Raised
    } else {
        Change::Removed
    }
}
