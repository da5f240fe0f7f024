//! Who may enter: the protocol, without the data.
//!
//! # Readers
//!
//! A reader takes a free *slot*: a cache line of its own, by one exchange, and leaves it by a plain store. So readers do not
//! fight for one word. Those who find no free slot count themselves in `crowd`. Behind that the reader looks for
//! writers. If there is one, even one that waits, the reader leaves again.
//!
//! # Writers
//!
//! A writer takes the next number, as in a shop, and waits until it is served. From then on every reader sees it. Then it
//! waits until each slot was empty once. Writers come in the order of their numbers, and no reader gets in between.
//!
//! # Why both never miss each other
//!
//! A reader stores to its slot, then loads `next`. A writer changes `next`, then loads the slots. All four are sequentially
//! consistent, so there is one order of them that all CPUs agree on. In it either the reader's load comes behind the
//! change: then it sees the writer. Or its store comes before the writer's loads: then the writer sees the reader.
//! A reader that finds `next` equal to `serving`, which it has loaded before, knows that every writer with a smaller
//! number has finished: `serving` never exceeds `next`.

use super::atomic::{AtomicU32, AtomicU64, Ordering, number_of_cpu, order_accesses, spin_loop};

/// How many slots a reader tries.
const ATTEMPTS: usize = 2;

/// A cache line with the mark of one reader.
#[derive(Debug)]
#[repr(align(64))]
struct Slot(AtomicU32);

const FREE: u32 = 0;
const TAKEN: u32 = 1;

/// A lock for readers or one writer, with `SLOTS` places for readers that do not meet each other.
#[derive(Debug)]
pub(crate) struct RawLock<const SLOTS: usize> {
    /// The number that the next writer gets.
    next: AtomicU64,
    /// The number of the writer whose turn it is. Equal to `next` if there is none.
    serving: AtomicU64,
    /// The readers without a slot.
    crowd: AtomicU32,
    slots: [Slot; SLOTS],
}

/// The right to read. It must be [given back](RawLock::leave).
#[derive(Debug)]
#[must_use = "a writer waits until it is given back"]
pub(crate) struct Reading {
    /// The slot, or none for a reader in the crowd.
    slot: Option<usize>,
    /// How many writers have finished.
    pub(crate) changes: u64,
}

impl<const SLOTS: usize> RawLock<SLOTS> {
    /// A lock that nobody has.
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            crowd: AtomicU32::new(0),
            slots: core::array::from_fn(|_| Slot(AtomicU32::new(FREE))),
        }
    }

    /// Enters as a reader, unless a writer is there or waits. Does not wait.
    #[inline]
    pub(crate) fn try_read(&self) -> Option<Reading> {
        let slot = self.enter();
        order_accesses();
        let changes = self.changes_without_writer();
        if changes.is_none() {
            self.leave_place(slot);
        }
        changes.map(|changes| Reading { slot, changes })
    }

    /// Enters as a reader, after every writer that is there or waits.
    #[inline]
    pub(crate) fn read(&self) -> Reading {
        loop {
            if let Some(reading) = self.try_read() {
                return reading;
            }
            // Without a slot: or the writer would wait for this reader again and again.
            while self.changes_without_writer().is_none() {
                spin_loop();
            }
        }
    }

    /// Leaves as a reader.
    #[inline]
    pub(crate) fn leave(&self, reading: &Reading) {
        self.leave_place(reading.slot);
    }

    /// Enters as a writer, after those before it and every reader that is there.
    #[inline]
    pub(crate) fn write(&self) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        while self.serving.load(Ordering::Acquire) != number {
            spin_loop();
        }
        order_accesses();
        while !self.is_slot_free_of_readers() {
            spin_loop();
        }
    }

    /// Enters as a writer, if nobody is there. Does not wait.
    #[inline]
    pub(crate) fn try_write(&self) -> Option<()> {
        let number = self.changes_without_writer()?;
        let next = number.wrapping_add(1);
        self.next
            .compare_exchange(number, next, Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        order_accesses();
        let is_alone = self.is_slot_free_of_readers();
        if !is_alone {
            self.finish_write();
        }
        is_alone.then_some(())
    }

    /// Leaves as a writer.
    #[inline]
    pub(crate) fn finish_write(&self) {
        // Only the writer whose turn it is changes the number.
        let number = self.serving.load(Ordering::Relaxed);
        self.serving
            .store(number.wrapping_add(1), Ordering::Release);
    }

    /// Takes a place among the readers.
    #[inline]
    fn enter(&self) -> Option<usize> {
        let first = number_of_cpu();
        for attempt in 0..ATTEMPTS {
            let number = first.wrapping_add(attempt).checked_rem(SLOTS).unwrap_or(0);
            let taken = self.slots.get(number)?.0.compare_exchange(
                FREE,
                TAKEN,
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Some(number);
            }
        }
        self.crowd.fetch_add(1, Ordering::SeqCst);
        None
    }

    #[inline]
    fn leave_place(&self, slot: Option<usize>) {
        match slot.and_then(|number| self.slots.get(number)) {
            Some(slot) => slot.0.store(FREE, Ordering::Release),
            None => {
                self.crowd.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// How many writers there were, if none is there or waits.
    #[inline]
    fn changes_without_writer(&self) -> Option<u64> {
        // Acquire: what the last writer changed is visible.
        let serving = self.serving.load(Ordering::SeqCst);
        let next = self.next.load(Ordering::SeqCst);
        (serving == next).then_some(serving)
    }

    /// Whether no reader was there when its place was looked at. A place that was free stays free of readers who have
    /// entered: the writer's number is out.
    #[inline]
    fn is_slot_free_of_readers(&self) -> bool {
        let is_free = |slot: &Slot| slot.0.load(Ordering::SeqCst) == FREE;
        self.slots.iter().all(is_free) && self.crowd.load(Ordering::SeqCst) == 0
    }
}
