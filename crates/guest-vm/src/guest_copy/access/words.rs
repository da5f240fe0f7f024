//! The accesses as Rust's memory model has them: of whole 64-bit words.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{LINE_BYTES, Unit};

const WORD_BYTES: usize = size_of::<u64>();

pub(in super::super) type Line = [u64; LINE_BYTES / WORD_BYTES];

/// The word that the byte at `address` lies in.
///
/// # Safety
///
/// - All bytes of the word are valid for reads and writes that are atomic.
unsafe fn word_of<'a, T>(address: *const T) -> &'a AtomicU64 {
    let start = address.map_addr(|address| address & !(WORD_BYTES - 1));
    // SAFETY: the caller's condition, and the address is aligned.
    unsafe { AtomicU64::from_ptr(start.cast_mut().cast()) }
}

/// The place of the byte at `address` in its word.
fn place<T>(address: *const T) -> usize {
    address.addr() & (WORD_BYTES - 1)
}

macro_rules! part_of_a_word {
    ($($type:ty),+) => {$(
        impl Unit for $type {
            unsafe fn load(source: *const Self) -> Self {
                // SAFETY: the caller vouches for the word.
                let word = unsafe { word_of(source) }.load(Ordering::Relaxed).to_ne_bytes();
                let mut value = [0; size_of::<Self>()];
                let bytes = word.iter().skip(place(source));
                value.iter_mut().zip(bytes).for_each(|(byte, from)| *byte = *from);
                Self::from_ne_bytes(value)
            }

            unsafe fn store(target: *mut Self, value: Self) {
                let (place, value) = (place(target), value.to_ne_bytes());
                let changed = |word: u64| {
                    let mut word = word.to_ne_bytes();
                    let bytes = word.iter_mut().skip(place);
                    bytes.zip(value).for_each(|(byte, from)| *byte = from);
                    Some(u64::from_ne_bytes(word))
                };
                // SAFETY: the caller vouches for the word.
                let word = unsafe { word_of(target) };
                // It never refuses.
                let _ = word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
            }
        }
    )+};
}

part_of_a_word!(u8, u16, u32);

impl Unit for u64 {
    unsafe fn load(source: *const Self) -> Self {
        // SAFETY: the caller vouches for the word.
        unsafe { word_of(source) }.load(Ordering::Relaxed)
    }

    unsafe fn store(target: *mut Self, value: Self) {
        // SAFETY: the caller vouches for the word.
        unsafe { word_of(target) }.store(value, Ordering::Relaxed);
    }
}

/// Loads a line.
///
/// # Safety
///
/// Those of [`read`](super::super::read), and `source` is aligned to a line.
pub(in super::super) unsafe fn load_line(source: *const Line) -> Line {
    let words = source.cast::<u64>();
    // SAFETY: the caller vouches for every word of the line.
    core::array::from_fn(|word| unsafe { u64::load(words.wrapping_add(word)) })
}

/// Stores a line.
///
/// # Safety
///
/// Those of [`write`](super::super::write), and `target` is aligned to a line.
pub(in super::super) unsafe fn store_line(target: *mut Line, value: Line) {
    let words = target.cast::<u64>();
    for (word, value) in value.into_iter().enumerate() {
        // SAFETY: the caller vouches for every word of the line.
        unsafe { u64::store(words.wrapping_add(word), value) };
    }
}

/// Nothing is prefetched.
pub(in super::super) fn prefetch(_: *const u8) {}
