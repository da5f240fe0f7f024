//! New permissions for the leaves of one table.
#![expect(
    unsafe_code,
    reason = "reads entries that nobody writes with plain loads"
)]

use core::sync::atomic::Ordering;

use mapping_flags::MappingFlags;

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::invalidation::Change;
use crate::contract::level::Level;
use crate::tree::words::{self, Word};

/// Entries that are compared at once: two cache lines.
const CHUNK: usize = 16;

/// Gives leaves of one level the permissions `flags`.
///
/// Leaves that are mapped together have equal attributes, and so differ from their new words in the
/// same bits. The bits are worked out once, and flipped in every leaf that is like the last, of the same
/// table or of another.
pub(crate) struct Rewrite<'f, F: Format> {
    format: &'f F,
    pub(crate) level: Level,
    flags: MappingFlags,
    /// All bits but those of the address.
    attribute_bits: u64,
    /// The attributes of the last leaf. Those of an absent entry at first, which stays as it is.
    attributes: u64,
    /// What is flipped in leaves with these attributes.
    flipped: u64,
    /// What that means for them: nothing if no bit is flipped.
    change: Option<Change>,
    /// The most severe change since it was asked for.
    worst: Option<Change>,
}

impl<'f, F: Format> Rewrite<'f, F> {
    pub(crate) fn new(format: &'f F, level: Level, flags: MappingFlags) -> Self {
        let attribute_bits = !format.address_bits(format.geometry().last_host_page());
        Self {
            format,
            level,
            flags,
            attribute_bits,
            attributes: format.absent() & attribute_bits,
            flipped: 0,
            change: None,
            worst: None,
        }
    }

    /// Rewrites the leaves among `words` that differ and returns the most severe change.
    #[inline]
    pub(crate) fn all(&mut self, words: &[Word]) -> Option<Change> {
        if self.format.rules().hardware_writes_entries {
            words.iter().for_each(|word| self.one_of_two_writers(word));
            return self.worst.take();
        }
        let (mut chunks, rest) = words.as_chunks::<CHUNK>();
        while let [other, after @ ..] = self.chunks_like_the_last(chunks) {
            self.one_by_one(other);
            chunks = after;
        }
        self.one_by_one(rest);
        self.worst.take()
    }

    #[inline(never)]
    fn one_by_one(&mut self, words: &[Word]) {
        words.iter().for_each(|word| self.one(word));
    }

    /// Rewrites the first of `chunks`, those in which every entry has the attributes of the last leaf, and
    /// returns the others, from the first on that is no such.
    #[inline]
    fn chunks_like_the_last<'c>(&mut self, chunks: &'c [[Word; CHUNK]]) -> &'c [[Word; CHUNK]] {
        // Copies, which no store to an entry keeps from staying in registers.
        let (mask, wanted, flipped) = (self.attribute_bits, self.attributes, self.flipped);
        let mut count = 0;
        for chunk in chunks {
            // SAFETY: the hardware does not write entries of this format, as `all` has asked, and the
            // table is borrowed mutably by the edit.
            if !unsafe { words::all_have(chunk, mask, wanted) } {
                break;
            }
            if flipped != 0 {
                for word in chunk {
                    word.store(word.load() ^ flipped, Ordering::Relaxed);
                }
            }
            count += 1;
        }
        if count > 0 {
            self.worst = self.worst.max(self.change);
        }
        chunks.get(count..).unwrap_or_default()
    }

    fn one(&mut self, word: &Word) {
        let old = word.load();
        if old & self.attribute_bits != self.attributes {
            let Some((new, change)) = self.judge(old) else {
                return;
            };
            self.attributes = old & self.attribute_bits;
            self.flipped = old ^ new;
            self.change = change;
        }
        if self.flipped != 0 {
            word.store(old ^ self.flipped, Ordering::Relaxed);
            self.worst = self.worst.max(self.change);
        }
    }

    /// [`one`](Self::one), where the hardware may write to the entry meanwhile.
    fn one_of_two_writers(&mut self, word: &Word) {
        let old = word.load();
        if let Some((_, change @ Some(_))) = self.judge(old) {
            word.update(|bits| self.format.with_permissions(self.level, bits, self.flags));
            self.worst = self.worst.max(change);
        }
    }

    /// The new word of the leaf `old` and what that means for it: nothing if the word stays. `None` if it
    /// is no leaf.
    #[inline(never)]
    fn judge(&self, old: u64) -> Option<(u64, Option<Change>)> {
        let Entry::Leaf(leaf) = self.format.decode_own(self.level, old) else {
            return None;
        };
        let new = self.format.with_permissions(self.level, old, self.flags);
        let change = (new != old).then(|| change_between(leaf.flags, self.flags));
        Some((new, change))
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
