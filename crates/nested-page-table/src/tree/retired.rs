//! The notes of leaves that were unmapped and wait for their invalidation.

use crate::contract::entry::Entry;
use crate::contract::format::Format;
use crate::contract::level::Level;
use crate::contract::note::Note;

/// The note for the leaf `bits`, or `None` if it is no leaf.
#[inline]
pub(crate) fn note_of<F: Format>(format: &F, level: Level, bits: u64) -> Option<Note> {
    match format.decode_own(level, bits) {
        Entry::Leaf(leaf) => Some(Note::Leaf {
            address: leaf.address,
            accessed: format.is_accessed(bits),
            dirty: format.is_dirty(bits),
        }),
        _ => None,
    }
}

/// The word that takes the place of the leaf `bits`: its note.
pub(crate) fn retired_word<F: Format>(format: &F, level: Level, bits: u64) -> u64 {
    match note_of(format, level, bits) {
        Some(note) => format.encode_note(note),
        None => format.absent(),
    }
}
