//! Copies of every alignment, and by two threads at once. Small enough for Miri.

extern crate std;

use core::cell::UnsafeCell;
use core::ptr::NonNull;
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
#[test]
fn no_aligned_word_is_torn() {
    let shared = Shared::new();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                // Begins and ends within words: 2 bytes, 4, 8 and more, 4, 2.
                shared.write(2, &[if round % 2 == 0 { 0 } else { 0xff }; 132]);
            }
        });
        for _ in 0..rounds {
            let bytes = shared.read(2, 132);
            let is_whole = |word: &[u8]| word.iter().all(|byte| *byte == word[0]);
            assert!(is_whole(&bytes[..2]), "2 bytes: {bytes:x?}");
            assert!(is_whole(&bytes[2..6]), "4 bytes: {bytes:x?}");
            let (words, rest) = bytes[6..].split_at(120);
            assert!(words.chunks(8).all(is_whole), "8 bytes: {bytes:x?}");
            assert!(is_whole(&rest[..4]), "4 bytes: {bytes:x?}");
            assert!(is_whole(&rest[4..]), "2 bytes: {bytes:x?}");
        }
    });
}
