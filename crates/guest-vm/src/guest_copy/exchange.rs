//! Exchanging a word that others may change.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::WORD_BYTES;
use crate::word_access::sealed::Word;

/// How often the exchange is repeated because other bytes of the same aligned 8 have changed.
const ATTEMPTS: usize = 100;

/// Puts `new` into the word at `target` if `current` is there. Returns what was there, `Ok` if it was exchanged.
/// Sequentially consistent.
///
/// A word of less than 8 bytes is exchanged with its neighbours: so every access of this module is to words of one size, as
/// Rust's memory model wants it. Other accesses of the guest to the neighbours are not lost, since the exchange fails then. It
/// is repeated, but not for ever: then `Err(current)` is returned.
///
/// # Safety
///
/// Those of [`write`](super::write), for the bytes of a `T`, and `target` is aligned to the size of `T`.
pub(crate) unsafe fn compare_exchange<T: Word>(
    target: NonNull<T>,
    current: T,
    new: T,
) -> Result<T, T> {
    let place = target.addr().get() & (WORD_BYTES - 1);
    let word = target
        .as_ptr()
        .map_addr(|address| address & !(WORD_BYTES - 1));
    // SAFETY: the caller vouches for all bytes of the aligned word, and for accesses by others.
    let word = unsafe { AtomicU64::from_ptr(word.cast()) };
    let mut seen = word.load(Ordering::SeqCst);
    for _ in 0..ATTEMPTS {
        let there = T::from_word(seen, place);
        if there != current {
            return Err(there);
        }
        let changed = new.into_word(seen, place);
        match word.compare_exchange(seen, changed, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Ok(current),
            Err(now) => seen = now,
        }
    }
    Err(T::from_word(seen, place))
}
