//! Every interleaving of a few CPUs at the lock of a machine, and every value that a load may have in it, by loom.
//!
//! The protocol is the library's own file, on loom's atomics.

mod atomic;
#[path = "../../src/lock/raw.rs"]
mod raw;

use std::sync::atomic::{AtomicUsize, Ordering};

use atomic::CPU;
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use raw::RawLock;

/// A lock with one slot, so that a second reader is in the crowd, and what it protects. Loom fails where a write meets
/// any other access.
struct Locked {
    lock: RawLock<1>,
    data: UnsafeCell<u64>,
}

impl Locked {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lock: RawLock::new(),
            data: UnsafeCell::new(0),
        })
    }

    fn get(&self) -> u64 {
        // SAFETY: loom checks that no write meets this.
        self.data.with(|data| unsafe { *data })
    }

    fn increment(&self) {
        // SAFETY: loom checks that no other access meets this.
        self.data.with_mut(|data| unsafe { *data += 1 });
    }

    fn write(&self) {
        self.lock.write();
        self.increment();
        self.lock.finish_write();
    }

    /// Reads if no writer is in the way. Returns the number of writers before, and what is there.
    fn try_read(&self) -> Option<(u64, u64)> {
        let reading = self.lock.try_read()?;
        let seen = (reading.changes, self.get());
        self.lock.leave(&reading);
        Some(seen)
    }

    fn read(&self) -> (u64, u64) {
        let reading = self.lock.read();
        let seen = (reading.changes, self.get());
        self.lock.leave(&reading);
        seen
    }
}

/// Explores all interleavings in which threads are interrupted three times at most.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

fn spawn(
    cpu: usize,
    locked: &Arc<Locked>,
    work: impl FnOnce(&Locked) + 'static,
) -> thread::JoinHandle<()> {
    let locked = Arc::clone(locked);
    thread::spawn(move || {
        CPU.with(|number| number.set(cpu));
        work(&locked);
    })
}

#[test]
fn writers_come_one_after_the_other() {
    explore(|| {
        let locked = Locked::new();
        let writer = spawn(1, &locked, Locked::write);
        locked.write();
        writer.join().unwrap();
        assert_eq!(locked.try_read(), Some((2, 2)));
    });
}

#[test]
fn a_writer_waits_for_readers_in_the_slot_and_in_the_crowd() {
    explore(|| {
        let locked = Locked::new();
        let readers = [0, 1].map(|cpu| {
            spawn(cpu, &locked, |locked| {
                locked.try_read();
            })
        });
        locked.write();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(locked.try_read(), Some((1, 1)));
    });
}

/// The data are as old as the number of changes says: a page that was looked up is still what it was if the number is.
#[test]
fn a_reader_sees_what_the_writers_before_it_wrote() {
    explore(|| {
        let locked = Locked::new();
        let reader = spawn(0, &locked, |locked| {
            let (changes, data) = locked.read();
            assert_eq!(changes, data);
        });
        let writer = spawn(1, &locked, Locked::write);
        if let Some((changes, data)) = locked.try_read() {
            assert_eq!(changes, data);
        }
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

/// The attempt of a writer leaves the lock as it was, or has it alone.
#[test]
fn a_writer_that_does_not_wait_meets_nobody() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let locked = Locked::new();
        let attempt = |locked: &Locked| {
            if locked.lock.try_write().is_some() {
                locked.increment();
                locked.lock.finish_write();
                WRITTEN.fetch_add(1, Ordering::Relaxed);
            }
        };
        let reader = spawn(0, &locked, |locked| {
            locked.read();
        });
        let writer = spawn(1, &locked, attempt);
        attempt(&locked);
        reader.join().unwrap();
        writer.join().unwrap();
        locked.write();
    });
    assert!(WRITTEN.load(Ordering::Relaxed) > 0);
}

/// A reader declines while a writer waits for another reader, and gets in behind it.
#[test]
fn a_reader_does_not_overtake_a_writer() {
    static DECLINED: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let locked = Locked::new();
        let inside = locked.lock.read();
        let writer = spawn(1, &locked, Locked::write);
        // The writer has its number by now, or has not.
        let second = locked.lock.try_read();
        if let Some(reading) = &second {
            locked.lock.leave(reading);
        } else {
            DECLINED.fetch_add(1, Ordering::Relaxed);
            assert!(locked.lock.try_read().is_none());
        }
        locked.lock.leave(&inside);
        if second.is_none() {
            assert_eq!(locked.read(), (1, 1));
        }
        writer.join().unwrap();
    });
    assert!(DECLINED.load(Ordering::Relaxed) > 0);
}
