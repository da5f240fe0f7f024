//! Copies to and from memory that guests and other CPUs may change meanwhile.
//!
//! A copy goes from one aligned unit of 1, 2, 4 or 8 bytes to the next, each as large as its address and the
//! rest of the copy allow, and whole cache lines at once. So every aligned 2-, 4- or 8-byte word within the
//! copied range is transferred by one access: it is never torn. Which order the units are transferred in is
//! not specified.
//!
//! **No data race.** In Rust's memory model each access is a relaxed access to the aligned `AtomicU64` words
//! that it touches: a load, a store where it covers a word, or a read-modify-write that keeps the other bytes.
//! So accesses by two CPUs are atomic and never of different sizes. [`access`] implements exactly that where it
//! must (in Miri, and on targets without instructions of their own), and elsewhere by single instructions that
//! have the same effect.
#![expect(unsafe_code, reason = "reads and writes through pointers")]

mod access;
mod exchange;
#[cfg(test)]
mod tests;

use core::ptr::NonNull;

pub(crate) use access::Unit;
use access::{LINE_BYTES, Line, load_line, prefetch, store_line};
pub(crate) use exchange::compare_exchange;

const WORD_BYTES: usize = size_of::<u64>();

/// Copies `target.len()` bytes from `source`.
///
/// # Safety
///
/// - `source` is valid for reads of `target.len()` bytes, and of all bytes of the aligned 64-bit words that
///   these lie in.
/// - While this runs, others access these words by the functions of this module, by atomic accesses of 64
///   bits, or not as Rust code (as guests do).
pub(crate) unsafe fn read(source: NonNull<u8>, target: &mut [u8]) {
    let (head, rest) = target.split_at_mut(to_line(source).min(target.len()));
    let (lines, tail) = rest.as_chunks_mut::<LINE_BYTES>();
    let mut from = Cursor(source.as_ptr());
    // SAFETY: the caller vouches for as many bytes of the source as `target` has.
    unsafe { read_units(&mut from, head) };
    for line in lines {
        prefetch(from.0);
        // SAFETY: as above, and the head ended at a multiple of a line.
        let value = unsafe { load_line(from.next()) };
        // SAFETY: a line of `target` is as large as the value.
        unsafe { line.as_mut_ptr().cast::<Line>().write_unaligned(value) };
    }
    // SAFETY: as above.
    unsafe { read_units(&mut from, tail) };
}

/// Copies `source` to `target`.
///
/// # Safety
///
/// Those of [`read`], and `target` is valid for writes too.
pub(crate) unsafe fn write(target: NonNull<u8>, source: &[u8]) {
    let (head, rest) = source.split_at(to_line(target).min(source.len()));
    let (lines, tail) = rest.as_chunks::<LINE_BYTES>();
    let mut to = Cursor(target.as_ptr());
    // SAFETY: the caller vouches for as many bytes of the target as `source` has.
    unsafe { write_units(&mut to, head) };
    for line in lines {
        // SAFETY: a line of `source` is as large as the value.
        let value = unsafe { line.as_ptr().cast::<Line>().read_unaligned() };
        // SAFETY: as above, and the head ended at a multiple of a line.
        unsafe { store_line(to.next(), value) };
    }
    // SAFETY: as above.
    unsafe { write_units(&mut to, tail) };
}

/// Copies from `from` on into `target`, unit by unit.
///
/// # Safety
///
/// Those of [`read`].
#[inline]
unsafe fn read_units(from: &mut Cursor, target: &mut [u8]) {
    let mut rest = target;
    while let Some(bytes) = from.unit(rest.len()) {
        if bytes == WORD_BYTES {
            // As many words as there are.
            let (words, later) = rest.as_chunks_mut::<WORD_BYTES>();
            rest = later;
            for word in words {
                // SAFETY: the caller vouches for as many bytes of the source as `target` has, and the address
                // is aligned.
                unsafe { read_unit::<u64>(from, word) };
            }
            continue;
        }
        let (unit, later) = rest.split_at_mut(bytes);
        rest = later;
        match bytes {
            // SAFETY: as above, for the bytes of this unit.
            4 => unsafe { read_unit::<u32>(from, unit) },
            // SAFETY: as above.
            2 => unsafe { read_unit::<u16>(from, unit) },
            // SAFETY: as above.
            _ => unsafe { read_unit::<u8>(from, unit) },
        }
    }
}

/// Copies `source` to `to`, unit by unit.
///
/// # Safety
///
/// Those of [`write`].
#[inline]
unsafe fn write_units(to: &mut Cursor, source: &[u8]) {
    let mut rest = source;
    while let Some(bytes) = to.unit(rest.len()) {
        if bytes == WORD_BYTES {
            let (words, later) = rest.as_chunks::<WORD_BYTES>();
            rest = later;
            for word in words {
                // SAFETY: the caller vouches for as many bytes of the target as `source` has, and the address
                // is aligned.
                unsafe { write_unit::<u64>(to, word) };
            }
            continue;
        }
        let (unit, later) = rest.split_at(bytes);
        rest = later;
        match bytes {
            // SAFETY: as above, for the bytes of this unit.
            4 => unsafe { write_unit::<u32>(to, unit) },
            // SAFETY: as above.
            2 => unsafe { write_unit::<u16>(to, unit) },
            // SAFETY: as above.
            _ => unsafe { write_unit::<u8>(to, unit) },
        }
    }
}

/// # Safety
///
/// Those of [`read`]. The address is aligned to `T`, and `target` as large.
#[inline]
unsafe fn read_unit<T: Unit>(from: &mut Cursor, target: &mut [u8]) {
    // SAFETY: the caller's conditions.
    let value = unsafe { T::load(from.next()) };
    // SAFETY: `target` is as large as the value.
    unsafe { target.as_mut_ptr().cast::<T>().write_unaligned(value) };
}

/// # Safety
///
/// Those of [`write`]. The address is aligned to `T`, and `source` as large.
#[inline]
unsafe fn write_unit<T: Unit>(to: &mut Cursor, source: &[u8]) {
    // SAFETY: `source` is as large as the value.
    let value = unsafe { source.as_ptr().cast::<T>().read_unaligned() };
    // SAFETY: the caller's conditions.
    unsafe { T::store(to.next(), value) };
}

/// How many bytes lie between `start` and the next line.
#[inline]
fn to_line(start: NonNull<u8>) -> usize {
    start.addr().get().wrapping_neg() & (LINE_BYTES - 1)
}

/// A place in memory that moves on behind what was asked for.
struct Cursor(*mut u8);

impl Cursor {
    /// Where the next `T` is.
    #[inline]
    fn next<T>(&mut self) -> *mut T {
        let here = self.0;
        self.0 = here.wrapping_add(size_of::<T>());
        here.cast()
    }

    /// The size of the largest aligned unit here that has no more than `bytes` bytes.
    #[inline]
    fn unit(&self, bytes: usize) -> Option<usize> {
        let aligned = (self.0.addr() | WORD_BYTES).trailing_zeros();
        Some(1 << bytes.checked_ilog2()?.min(aligned))
    }
}
