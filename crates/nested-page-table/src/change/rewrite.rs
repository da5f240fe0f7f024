//! New permissions for the leaves of one table.
#![expect(
    unsafe_code,
    reason = "reads entries that nobody writes with plain loads"
)]

use core::mem;
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
    /// What was learned from the last leaf.
    last: Kind,
    /// The kind before: leaves of two kinds often take turns, as do leaves and holes.
    other: Kind,
}

/// What becomes of leaves with equal attributes.
#[derive(Clone, Copy)]
struct Kind {
    attributes: u64,
    /// What is flipped in them.
    flipped: u64,
    /// What that means for them: nothing if no bit is flipped.
    change: Option<Change>,
}

/// What was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The indices of the first and of the last leaf that changed.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// The most severe change.
    pub(crate) change: Change,
}

impl<'f, F: Format> Rewrite<'f, F> {
    pub(crate) fn new(format: &'f F, level: Level, flags: MappingFlags) -> Self {
        let attribute_bits = !format.address_bits(format.geometry().last_host_page());
        let absent = Kind {
            attributes: format.absent() & attribute_bits,
            flipped: 0,
            change: None,
        };
        Self {
            format,
            level,
            flags,
            attribute_bits,
            last: absent,
            other: absent,
        }
    }

    /// Rewrites the leaves at the beginning of `words` that differ, up to the first entry that points to a table.
    /// Returns how many entries were looked at, and what was rewritten.
    pub(crate) fn leading(&mut self, words: &[Word]) -> (usize, Option<Rewritten>) {
        let two_writers = self.format.rules().hardware_writes_entries;
        let (mut count, mut rewritten) = (0, None);
        while let Some(rest @ [word, ..]) = words.get(count..) {
            let old = word.load();
            let attributes = old & self.attribute_bits;
            if attributes != self.last.attributes {
                mem::swap(&mut self.last, &mut self.other);
                if attributes != self.last.attributes && !self.learn(old) {
                    break;
                }
            }
            let alike = match two_writers {
                true => self.one_of_two_writers(word),
                // From the first entry on: chunks of a table are then aligned to cache lines.
                false => self.flip_alike(rest),
            };
            if let Some(change) = self.last.change {
                note(&mut rewritten, count, alike, change);
            }
            count += alike;
        }
        (count, rewritten)
    }

    /// Works out what becomes of leaves with the attributes of `old`. Says whether it is a leaf, or absent.
    #[inline(never)]
    fn learn(&mut self, old: u64) -> bool {
        let (new, change) = match self.format.decode_own(self.level, old) {
            Entry::Leaf(leaf) => {
                let new = self.format.with_permissions(self.level, old, self.flags);
                let change = (new != old).then(|| change_between(leaf.flags, self.flags));
                (new, change)
            }
            Entry::Absent => (old, None),
            Entry::Table(_) => return false,
        };
        self.last = Kind {
            attributes: old & self.attribute_bits,
            flipped: old ^ new,
            change,
        };
        true
    }

    /// Rewrites an entry with the attributes of the last leaf, to which the hardware may write meanwhile.
    fn one_of_two_writers(&self, word: &Word) -> usize {
        if self.last.flipped != 0 {
            word.update(|bits| self.format.with_permissions(self.level, bits, self.flags));
        }
        1
    }

    /// Rewrites the entries at the beginning of `words` that have the attributes of the last leaf, and returns
    /// how many those are.
    #[inline]
    fn flip_alike(&self, words: &[Word]) -> usize {
        // Copies, which no store to an entry keeps from staying in registers.
        let Kind {
            attributes: wanted,
            flipped,
            ..
        } = self.last;
        let mask = self.attribute_bits;
        let (chunks, _) = words.as_chunks::<CHUNK>();
        // Where kinds take turns, no chunk is of one.
        let chunks = match words {
            [_, second, ..] if second.load() & mask != wanted => &[],
            _ => chunks,
        };
        let mut count = 0;
        for chunk in chunks {
            // SAFETY: the hardware does not write entries of this format, as `leading` has asked, and the
            // table is borrowed mutably by the edit.
            if !unsafe { words::all_have(chunk, mask, wanted) } {
                break;
            }
            if flipped != 0 {
                chunk
                    .iter()
                    .for_each(|word| word.store(word.load() ^ flipped, Ordering::Relaxed));
            }
            count += CHUNK;
        }
        for word in words.get(count..).unwrap_or_default() {
            let old = word.load();
            if old & mask != wanted {
                break;
            }
            if flipped != 0 {
                word.store(old ^ flipped, Ordering::Relaxed);
            }
            count += 1;
        }
        count
    }
}

/// Adds `count` leaves from the index `first` on.
fn note(rewritten: &mut Option<Rewritten>, first: usize, count: usize, change: Change) {
    let last = first + count - 1;
    *rewritten = Some(match *rewritten {
        None => Rewritten {
            first,
            last,
            change,
        },
        Some(before) => Rewritten {
            last,
            change: before.change.max(change),
            ..before
        },
    });
}

/// What it means for a leaf with the flags `old` to get the permissions `new`.
pub(crate) fn change_between(old: MappingFlags, new: MappingFlags) -> Change {
    if new.contains(old.intersection(MappingFlags::PERMISSIONS)) {
        Change::Raised
    } else {
        Change::Removed
    }
}
