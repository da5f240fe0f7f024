//! A lock for many readers or one writer, where writers are neither starved nor overtaken, and a reader can decline to
//! wait for one.
//!
//! `docs/decisions/0009-reader-writer-lock.md` says why it is our own. `raw` holds the protocol, which is tested
//! by loom (`tests/lock`); this file puts data behind it.
#![expect(unsafe_code, reason = "references to what the lock protects")]

mod atomic;
mod raw;

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use raw::{RawLock, Reading};

/// Places for readers that do not meet each other: half a KiB.
const SLOTS: usize = 8;

/// Data for many readers or one writer.
pub(crate) struct RwLock<T> {
    raw: RawLock<SLOTS>,
    data: UnsafeCell<T>,
}

// SAFETY: readers on several CPUs get shared references at once, which needs `T: Sync`; a writer gets an exclusive one,
// through which the data may be moved out, which needs `T: Send`.
unsafe impl<T: Send + Sync> Sync for RwLock<T> {}

/// Shared access, until it is dropped.
pub(crate) struct ReadGuard<'l, T> {
    lock: &'l RwLock<T>,
    reading: Reading,
}

/// Exclusive access, until it is dropped.
pub(crate) struct WriteGuard<'l, T> {
    lock: &'l RwLock<T>,
}

impl<T> RwLock<T> {
    pub(crate) fn new(data: T) -> Self {
        Self {
            raw: RawLock::new(),
            data: UnsafeCell::new(data),
        }
    }

    /// Shared access, unless a writer is there or waits. Does not wait.
    #[inline]
    pub(crate) fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        let reading = self.raw.try_read()?;
        Some(ReadGuard {
            lock: self,
            reading,
        })
    }

    /// Shared access, after every writer that is there or waits.
    #[inline]
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        ReadGuard {
            lock: self,
            reading: self.raw.read(),
        }
    }

    /// Exclusive access, after the writers before this one.
    #[inline]
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        self.raw.write();
        WriteGuard { lock: self }
    }

    /// Exclusive access, if nobody else has any. Does not wait.
    #[inline]
    pub(crate) fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.raw.try_write()?;
        Some(WriteGuard { lock: self })
    }
}

impl<T> ReadGuard<'_, T> {
    /// How many writers there were before. As long as the number is the same, nothing has been written.
    #[inline]
    pub(crate) const fn changes(&self) -> u64 {
        self.reading.changes
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the right to read until it is dropped, so no writer has a reference.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.leave(&self.reading);
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard has the right to write until it is dropped, so nobody else has a reference.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this guard is borrowed exclusively.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.finish_write();
    }
}
