//! Copies to and from memory that somebody else may change meanwhile.
#![expect(unsafe_code, reason = "reads and writes through pointers")]

use core::ptr::NonNull;

/// What is copied at once where there is enough: a cache line.
const LINE: usize = 64;
const WORD: usize = size_of::<u64>();

/// The widest unit of a volatile access that the machine does in one instruction.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
type Wide = core::arch::x86_64::__m128i;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
type Wide = u64;

const WIDES: usize = LINE / size_of::<Wide>();

/// How far ahead of a copy its source is prefetched: as far as the line that comes from the
/// second-level cache in the meantime.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
const PREFETCH_DISTANCE: usize = 8 * LINE;

/// Copies `target.len()` bytes from `source`. Each aligned 64-bit word in it is read by one access.
///
/// # Safety
///
/// `source` is valid for volatile reads of `target.len()` bytes.
pub(crate) unsafe fn read(source: NonNull<u8>, target: &mut [u8]) {
    let (to_word, to_line) = gaps(source, target.len());
    let (head, rest) = target.split_at_mut(to_word);
    let (first_words, rest) = rest.split_at_mut(to_line);
    let (lines, rest) = rest.as_chunks_mut::<LINE>();
    let (last_words, tail) = rest.as_chunks_mut::<WORD>();
    let mut from = Cursor(source.as_ptr());
    for byte in head {
        // SAFETY: for each byte of `target` there is one of the source, as the caller promises.
        *byte = unsafe { from.next::<u8>().read_volatile() };
    }
    for word in first_words.as_chunks_mut::<WORD>().0 {
        // SAFETY: as above, and the head ended at a multiple of 8.
        *word = unsafe { from.next::<u64>().read_volatile() }.to_ne_bytes();
    }
    for line in lines {
        from.prefetch();
        // SAFETY: as above, and the words before ended at a multiple of 64.
        let wides = core::array::from_fn(|_| unsafe { from.next::<Wide>().read_volatile() });
        // SAFETY: a line of `target` is as large as the array, and needs no alignment here.
        unsafe {
            line.as_mut_ptr()
                .cast::<[Wide; WIDES]>()
                .write_unaligned(wides)
        };
    }
    for word in last_words {
        // SAFETY: as above: lines end at multiples of 8.
        *word = unsafe { from.next::<u64>().read_volatile() }.to_ne_bytes();
    }
    for byte in tail {
        // SAFETY: as above.
        *byte = unsafe { from.next::<u8>().read_volatile() };
    }
}

/// Copies `source` to `target`. Each aligned 64-bit word in it is written by one access.
///
/// # Safety
///
/// `target` is valid for volatile writes of `source.len()` bytes.
pub(crate) unsafe fn write(target: NonNull<u8>, source: &[u8]) {
    let (to_word, to_line) = gaps(target, source.len());
    let (head, rest) = source.split_at(to_word);
    let (first_words, rest) = rest.split_at(to_line);
    let (lines, rest) = rest.as_chunks::<LINE>();
    let (last_words, tail) = rest.as_chunks::<WORD>();
    let mut to = Cursor(target.as_ptr());
    for byte in head {
        // SAFETY: for each byte of `source` there is one of the target, as the caller promises.
        unsafe { to.next::<u8>().write_volatile(*byte) };
    }
    for word in first_words.as_chunks::<WORD>().0 {
        // SAFETY: as above, and the head ended at a multiple of 8.
        unsafe { to.next::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
    }
    for line in lines {
        // SAFETY: a line of `source` is as large as the array, and needs no alignment here.
        let wides = unsafe { line.as_ptr().cast::<[Wide; WIDES]>().read_unaligned() };
        for wide in wides {
            // SAFETY: as above, and the words before ended at a multiple of 64.
            unsafe { to.next::<Wide>().write_volatile(wide) };
        }
    }
    for word in last_words {
        // SAFETY: as above: lines end at multiples of 8.
        unsafe { to.next::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
    }
    for byte in tail {
        // SAFETY: as above.
        unsafe { to.next::<u8>().write_volatile(*byte) };
    }
}

/// How many of `bytes` bytes from `start` on lie before the first word, and from there before the
/// first line. The latter is a multiple of a word.
fn gaps(start: NonNull<u8>, bytes: usize) -> (usize, usize) {
    let to_word = start.align_offset(WORD).min(bytes);
    let to_line = start.align_offset(LINE).saturating_sub(to_word);
    let rest = bytes.saturating_sub(to_word);
    (to_word, to_line.min(rest & !(WORD - 1)))
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

    /// Has the cache get what will be read soon.
    #[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
    #[inline]
    fn prefetch(&self) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let ahead = self.0.wrapping_add(PREFETCH_DISTANCE);
        // SAFETY: a prefetch is a hint that faults at no address; SSE is there by the cfg.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast_const().cast()) };
    }

    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
    #[inline]
    fn prefetch(&self) {}
}
