//! Watching each access to the words of tables, for tests.
//!
//! The function that was [`set`] is called **before** each access, with what is about to happen. Whatever
//! it does to the word in between is what another CPU, the page walker, or the hardware's accessed and dirty
//! bits could have done at that moment.
//!
//! This is for tests only: the feature `watch` is off by default, adds nothing where it is off, and its
//! interface is no part of what the crate promises.
#![expect(unsafe_code, reason = "keeps a function in an atomic")]

use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What is about to happen to a word, or between words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A word of a live table is read, atomically.
    Load {
        /// Where the word is.
        word: *const u64,
        /// How the load is ordered.
        order: Ordering,
    },
    /// A word of a live table is read by a plain load, which nobody's store may meet.
    PlainLoad {
        /// Where the word is.
        word: *const u64,
    },
    /// A word of a live table is written.
    Store {
        /// Where the word is.
        word: *const u64,
        /// What is written.
        value: u64,
        /// How the store is ordered.
        order: Ordering,
    },
    /// A word of a live table is exchanged for another.
    Swap {
        /// Where the word is.
        word: *const u64,
        /// What is written.
        value: u64,
        /// How the exchange is ordered.
        order: Ordering,
    },
    /// A word of a live table is exchanged for another if it is what it is expected to be.
    CompareExchange {
        /// Where the word is.
        word: *const u64,
        /// What the word has to be.
        expected: u64,
        /// What is written then.
        value: u64,
        /// How the exchange is ordered when it succeeds. When it fails, it is at most an acquire load.
        order: Ordering,
    },
    /// What this CPU stored so far becomes visible before what it stores from now on: a release fence.
    Fence,
    /// Words that no walker can reach are about to be read and written without anybody watching.
    Private {
        /// Where the first word is.
        first: *const u64,
        /// The number of words.
        count: usize,
    },
}

/// What is called before each access.
pub type Watcher = fn(&Access);

static WATCHER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has `watcher` called before each access of any table from now on, on every thread.
pub fn set(watcher: Watcher) {
    WATCHER.store(watcher as *mut (), Ordering::Release);
}

/// Calls the watcher, if there is one.
#[inline]
pub(crate) fn notify(access: &Access) {
    let watcher = WATCHER.load(Ordering::Acquire);
    if !watcher.is_null() {
        // SAFETY: only `set` writes to it, and what it wrote was a `Watcher`.
        let watcher = unsafe { mem::transmute::<*mut (), Watcher>(watcher) };
        watcher(access);
    }
}
