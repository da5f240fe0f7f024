//! Copies of every alignment, and by two threads at once. Small enough for Miri.

extern crate std;

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::vec::Vec;

use super::{read, write};

/// Memory that guests and CPUs share: a part of a page.
#[repr(align(64))]
struct Shared(UnsafeCell<[u64; 32]>);

// SAFETY: accessed by the functions of this module alone while it is shared.
unsafe impl Sync for Shared {}

const BYTES: usize = 32 * 8;

impl Shared {
    fn new() -> Self {
        Self(UnsafeCell::new([0; 32]))
    }

    fn at(&self, offset: usize) -> NonNull<u8> {
        let start = NonNull::new(self.0.get()).unwrap().cast::<u8>();
        assert!(offset <= BYTES);
        // SAFETY: the offset is within the allocation.
        unsafe { start.add(offset) }
    }

    fn read(&self, offset: usize, bytes: usize) -> Vec<u8> {
        assert!(offset <= BYTES && bytes <= BYTES.saturating_sub(offset));
        let mut target = std::vec![0; bytes];
        // SAFETY: the range was checked, and all words belong to the value.
        unsafe { read(self.at(offset), &mut target) };
        target
    }

    fn write(&self, offset: usize, source: &[u8]) {
        assert!(offset <= BYTES && source.len() <= BYTES.saturating_sub(offset));
        // SAFETY: as above.
        unsafe { write(self.at(offset), source) };
    }
}

#[test]
fn every_byte_arrives_and_no_other_is_touched() {
    let sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 63, 64, 65, 130];
    // Miri takes seconds for a thousand copies.
    let offsets = if cfg!(miri) { 60..66 } else { 0..70 };
    for offset in offsets {
        for size in sizes {
            let shared = Shared::new();
            shared.write(0, &[0xee; BYTES]);
            let data: Vec<u8> = (0..size).map(|n| (n + offset) as u8).collect();
            shared.write(offset, &data);
            assert_eq!(shared.read(offset, size), data);
            let all = shared.read(0, BYTES);
            let (before, after) = (&all[..offset], &all[offset + size..]);
            assert!(before.iter().chain(after).all(|&byte| byte == 0xee));
        }
    }
}

/// The copies of two CPUs were a data race: they were volatile, which Rust does not take for atomic.
#[test]
fn copies_by_two_threads_are_no_race() {
    let shared = Shared::new();
    let rounds = if cfg!(miri) { 4 } else { 1000 };
    thread::scope(|scope| {
        for (offset, size) in [(0, 200), (3, 130), (61, 9)] {
            let shared = &shared;
            scope.spawn(move || {
                for round in 0..rounds {
                    shared.write(offset, &std::vec![round as u8; size]);
                    shared.read(0, BYTES);
                }
            });
        }
    });
}

/// Words of 2 and 4 bytes were copied byte by byte.
///
/// One thread changes the bytes at `offset` again and again, all to one value; another reads them until it has
/// seen a number of changes. A copy byte by byte is torn by about every second change.
fn expect_whole_words(offset: usize, bytes: usize, word: usize) {
    // Only where a single CPU does both in turn may the time run out.
    let (enough, limit) = if cfg!(miri) {
        (6, 200)
    } else {
        (30, 5_000_000)
    };
    let (shared, done) = (Shared::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0_u8;
            while !done.load(Ordering::Relaxed) {
                value = value.wrapping_add(1);
                shared.write(offset, &[value; 64][..bytes]);
            }
        });
        let (mut changes, mut last) = (0_usize, 0);
        let mut target = [0; 64];
        for _ in 0..limit {
            // SAFETY: the range lies in the value.
            unsafe { read(shared.at(offset), &mut target[..bytes]) };
            let mut words = target[..bytes].chunks(word);
            let is_whole = words.all(|word| word.iter().all(|byte| *byte == word[0]));
            if !is_whole {
                done.store(true, Ordering::Relaxed);
            }
            assert!(is_whole, "words of {word} bytes: {:x?}", &target[..bytes]);
            changes = usize::from(target[0] != last).saturating_add(changes);
            last = target[0];
            if changes == enough {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn no_aligned_word_is_torn() {
    expect_whole_words(2, 2, 2);
    expect_whole_words(4, 4, 4);
    expect_whole_words(8, 8, 8);
    // Several words, a line, and what is left before and behind words.
    expect_whole_words(8, 24, 8);
    expect_whole_words(64, 64, 8);
    expect_whole_words(6, 12, 2);
    expect_whole_words(4, 20, 4);
}
