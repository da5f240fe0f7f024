//! Where an emulator is known not to do what its manual says.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::println;
use crate::probe::{Outcome, Probe};

/// One way in which an emulator is wrong.
#[derive(Debug)]
pub struct Deviation {
    /// Which emulator does what.
    pub what: &'static str,
    /// What it should do, and which section of which manual says so.
    pub manual: &'static str,
    /// Whether this explains a question whose answer was not the expected one.
    pub explains: fn(&Surprise) -> bool,
    /// How often it did.
    pub seen: AtomicU64,
}

/// An answer of the hardware that differs from the reference's.
#[derive(Clone, Copy, Debug)]
pub struct Surprise {
    /// The question.
    pub probe: Probe,
    /// The width of guest-physical addresses.
    pub input_bits: u32,
    /// What the reference says.
    pub expected: Outcome,
    /// What the hardware says.
    pub hardware: Outcome,
}

/// Whether one of `deviations` explains `surprise`; it is counted then.
pub(crate) fn is_known(deviations: &[Deviation], surprise: &Surprise) -> bool {
    let known = deviations.iter().find(|known| (known.explains)(surprise));
    if let Some(known) = known {
        known.seen.fetch_add(1, Ordering::Relaxed);
    }
    known.is_some()
}

/// Prints what was seen how often.
pub(crate) fn report(deviations: &[Deviation]) {
    for Deviation {
        what, manual, seen, ..
    } in deviations
    {
        let seen = seen.load(Ordering::Relaxed);
        println!("known deviation, seen {seen} times: {what} ({manual})");
    }
}
