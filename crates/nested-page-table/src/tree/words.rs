//! The words of a table in host memory: the only place where the engine touches raw memory.
//!
//! Every access to a word of a live table is a method of [`Word`], and every ordering is an argument, or is
//! named there. Tests watch them by the feature `watch`.
#![expect(
    unsafe_code,
    reason = "tables are host memory that page walkers read concurrently"
)]

use core::hint;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use guest_addr::HostPhysAddr;

use crate::contract::frames::HostFrames;
#[cfg(feature = "watch")]
use crate::tree::watch::{Access, notify};

/// The entries of a table of one frame.
pub(crate) const FRAME_WORDS: usize = 512;

/// Whether a compare-exchange wrote its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// The entry contains the new word.
    Done,
    /// Another CPU, or the hardware, changed the entry first. This CPU wrote nothing.
    Lost,
}

/// An entry of a live table: one that page walkers may read, and change, at any time.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Word(AtomicU64);

impl Word {
    /// The word in the entry, loaded relaxed.
    ///
    /// This is enough where nobody else links tables meanwhile: under a mutable reference, whose owner sees everything
    /// that was written before it got the reference. It is also enough where the word is not followed.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        self.load_ordered(Ordering::Relaxed)
    }

    /// The word in the entry, loaded with acquire: what the CPU that stored it had written before is visible to this
    /// CPU afterwards. So a table that another CPU has just linked is complete here, and so is the memory of a page.
    ///
    /// Every walk through a shared reference follows words that it loaded in this way.
    #[inline]
    pub(crate) fn load_acquire(&self) -> u64 {
        self.load_ordered(Ordering::Acquire)
    }

    #[inline(always)]
    fn load_ordered(&self, order: Ordering) -> u64 {
        #[cfg(feature = "watch")]
        notify(&Access::Load {
            word: self.place(),
            order,
        });
        self.0.load(order)
    }

    /// Writes `value` to the entry.
    #[inline]
    pub(crate) fn store(&self, value: u64, order: Ordering) {
        #[cfg(feature = "watch")]
        notify(&Access::Store {
            word: self.place(),
            value,
            order,
        });
        self.0.store(value, order);
    }

    /// Writes `value` to the entry, and returns what stood there until then: nothing that the hardware wrote is
    /// lost.
    #[inline]
    pub(crate) fn swap(&self, value: u64) -> u64 {
        let order = Ordering::AcqRel;
        #[cfg(feature = "watch")]
        notify(&Access::Swap {
            word: self.place(),
            value,
            order,
        });
        self.0.swap(value, order)
    }

    /// Writes `value` to the entry if `expected` stands there. Returns whether it did.
    ///
    /// A release if it did: what this CPU wrote before is visible to whoever follows the new word.
    #[inline]
    pub(crate) fn compare_exchange(&self, expected: u64, value: u64) -> Exchange {
        let order = Ordering::AcqRel;
        #[cfg(feature = "watch")]
        notify(&Access::CompareExchange {
            word: self.place(),
            expected,
            value,
            order,
        });
        match self
            .0
            .compare_exchange(expected, value, order, Ordering::Relaxed)
        {
            Ok(_) => Exchange::Done,
            Err(_) => Exchange::Lost,
        }
    }

    /// Makes of the entry what `change` makes of it, in one step: nothing that the hardware wrote is lost.
    #[inline]
    pub(crate) fn update(&self, change: impl Fn(u64) -> u64) {
        let mut expected = self.load();
        loop {
            let (value, order) = (change(expected), Ordering::AcqRel);
            #[cfg(feature = "watch")]
            notify(&Access::CompareExchange {
                word: self.place(),
                expected,
                value,
                order,
            });
            match self
                .0
                .compare_exchange_weak(expected, value, order, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(found) => expected = found,
            }
        }
    }

    #[cfg(feature = "watch")]
    fn place(&self) -> *const u64 {
        self.0.as_ptr()
    }
}

/// Orders what was stored so far, to tables and elsewhere, before the stores that follow, of whatever order.
#[inline]
pub(crate) fn release() {
    #[cfg(feature = "watch")]
    notify(&Access::Fence);
    fence(Ordering::Release);
}

/// The `count` entries of a live table: one that walkers may read and change.
///
/// # Safety
///
/// - `table` is the start of a table of `count` entries that came from `frames`, and stays out for
///   `'a`.
/// - For `'a` nobody holds a [`private`] slice of the same table.
#[inline]
pub(crate) unsafe fn live<H: HostFrames>(frames: &H, table: HostPhysAddr, count: usize) -> &[Word] {
    // SAFETY: by the caller's first condition and the contract of `HostFrames::pointer` the memory
    // is valid for `count` words and aligned to 4 KiB; all access to it is atomic by the second.
    unsafe { slice::from_raw_parts(frames.pointer(table).cast::<Word>().as_ptr(), count) }
}

/// The entries of a live table of one frame.
///
/// # Safety
///
/// Those of [`live`] for [`FRAME_WORDS`] entries.
#[inline]
pub(crate) unsafe fn live_frame<H: HostFrames>(
    frames: &H,
    table: HostPhysAddr,
) -> &[Word; FRAME_WORDS] {
    // SAFETY: as for `live`.
    unsafe { frames.pointer(table).cast().as_ref() }
}

/// Whether every entry has exactly the bits `wanted` among those of `mask`. Plain loads, which can be
/// as wide as the machine's registers.
///
/// # Safety
///
/// Nobody writes to the entries meanwhile: no CPU, and no page walker.
#[inline]
pub(crate) unsafe fn all_have<const N: usize>(entries: &[Word; N], mask: u64, wanted: u64) -> bool {
    #[cfg(feature = "watch")]
    for entry in entries {
        notify(&Access::PlainLoad {
            word: entry.place(),
        });
    }
    // SAFETY: a `Word` has the representation of a `u64`; page walkers read and, by the
    // caller's condition, do not write, so that nothing races with plain loads.
    let words = unsafe { &*ptr::from_ref(entries).cast::<[u64; N]>() };
    let different = words.iter().fold(0, |bits, word| bits | (word ^ wanted));
    different & mask == 0
}

/// The `count` entries of a table that no walker can reach yet.
///
/// # Safety
///
/// - `table` is the start of a run of at least `count` words that came from `frames`, and stays out
///   for `'a`.
/// - Nobody else uses the run for `'a`.
#[expect(
    clippy::mut_from_ref,
    reason = "the words belong to the run, not to the allocator"
)]
#[inline]
pub(crate) unsafe fn private<H: HostFrames>(
    frames: &H,
    table: HostPhysAddr,
    count: usize,
) -> &mut [u64] {
    #[cfg(feature = "watch")]
    notify(&Access::Private {
        first: frames.pointer(table).as_ptr().cast(),
        count,
    });
    // SAFETY: as for `live`; exclusive by the caller's second condition. Every bit pattern is a
    // `u64`, and a run that was handed out is allocated memory, so its unspecified contents may be
    // overwritten; readers of this slice read only what they wrote before.
    unsafe { slice::from_raw_parts_mut(frames.pointer(table).cast::<u64>().as_ptr(), count) }
}

/// The most words to be cleared by one `memset`: from 2 KiB on, that of the GNU C library is a `rep stosb`,
/// which takes so long to begin that a table is cleared in three quarters of the time without it (Zen 3).
const MEMSET_WORDS: usize = if cfg!(target_os = "none") {
    usize::MAX
} else {
    192
};

/// Fills `words` with `absent`, what an absent entry contains.
///
/// Compiled once where code is scarce: a table is built with three calls. On a hosted system it is inlined, since
/// the calls for no words at all would make building a table 3 % dearer.
#[cfg_attr(target_os = "none", inline(never))]
#[cfg_attr(not(target_os = "none"), inline)]
pub(crate) fn clear(words: &mut [u64], absent: u64) {
    if absent != 0 {
        return fill(words, absent);
    }
    // Programs without an operating system link a `memset` of their own, which on all but x86 is a loop
    // too, and a long one.
    let memset_is_a_loop = cfg!(all(target_os = "none", not(target_arch = "x86_64")));
    if memset_is_a_loop {
        clear_by_loop(words);
    } else if words.len() > MEMSET_WORDS {
        clear_by_parts(words);
    } else if !words.is_empty() {
        words.fill(0);
    }
}

#[cfg_attr(not(target_os = "none"), inline(never))]
fn fill(words: &mut [u64], absent: u64) {
    words.fill(absent);
}

#[cfg_attr(not(target_os = "none"), inline(never))]
fn clear_by_parts(words: &mut [u64]) {
    words
        .chunks_mut(MEMSET_WORDS)
        .for_each(|chunk| chunk.fill(0));
}

#[cfg_attr(not(target_os = "none"), inline(never))]
fn clear_by_loop(words: &mut [u64]) {
    // A compiler that knows the zero calls `memset`.
    words.fill(hint::black_box(0));
}
