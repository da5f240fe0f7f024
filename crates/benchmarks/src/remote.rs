//! W16: an invalidation on a host with many CPUs, of which none, one or all are inside the guest.

use std::array;
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use nested_paging::{Inside, RemoteInvalidation};

use crate::contender::PageTable;
use crate::floor::FloorTable;
use crate::trial::Trial;

/// How many invalidations a round does.
pub(crate) const INVALIDATIONS: u64 = 100_000;
/// How many CPUs the host has.
const CPUS: usize = 64;

/// Invalidates from CPU 0 while some of the others are inside. A kicked CPU leaves at once, and has come back before the next
/// invalidation: the clock covers that too, but no interrupt.
pub(crate) struct Invalidate {
    /// CPUs 1 to this one are inside.
    inside: usize,
    kicks: u64,
}

impl Invalidate {
    /// With `inside` CPUs in the guest.
    pub(crate) const fn new(inside: usize) -> Self {
        Self { inside, kicks: 0 }
    }

    /// With all CPUs in the guest but the one that invalidates.
    pub(crate) const fn all() -> Self {
        Self::new(CPUS - 1)
    }
}

impl Trial for Invalidate {
    fn contender(&self) -> &'static str {
        "host-services"
    }

    fn prepare(&mut self) -> Result<()> {
        self.kicks = 0;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let space = RemoteInvalidation::<CPUS>::new();
        let space = black_box(&space);
        let guests: [Cell<Option<Inside<'_, CPUS>>>; CPUS] = array::from_fn(|_| Cell::new(None));
        let guests = &guests[..=self.inside];
        for _ in 0..INVALIDATIONS {
            for (cpu, guest) in guests.iter().enumerate().skip(1) {
                guest.set(space.enter(cpu, || ()));
            }
            let leave = |cpu: usize| {
                self.kicks += 1;
                if let Some(guest) = guests.get(cpu) {
                    guest.set(None);
                }
            };
            space.invalidate(0, || (), leave, std::hint::spin_loop);
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let (found, expected) = (self.kicks, self.inside as u64 * INVALIDATIONS);
        ensure!(found == expected, "{found} kicks, not {expected}");
        Ok(())
    }

    fn clean_up(&mut self) {}
}

/// Ten exchanges, of which no other CPU wants anything.
#[derive(Default)]
pub(crate) struct TenExchanges {
    words: [AtomicU64; 10],
}

impl Trial for TenExchanges {
    fn contender(&self) -> &'static str {
        FloorTable::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let words = black_box(&self.words);
        for number in 1..=INVALIDATIONS {
            for word in words {
                word.swap(number, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let are_last = |word: &AtomicU64| word.load(Ordering::Relaxed) == INVALIDATIONS;
        ensure!(self.words.iter().all(are_last), "not exchanged");
        Ok(())
    }

    fn clean_up(&mut self) {}
}
