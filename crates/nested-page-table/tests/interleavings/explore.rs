//! Which schedules are run.

use std::sync::{Arc, Mutex};

use crate::architectures::{AARCH64, EPT, NPT, RISCV};
use crate::run::{Scenario, run};
use crate::turns::{Choice, Chooser};
use crate::variant::Variant;

/// A mode with capabilities: the name of the mode, and the number of the variant.
pub(crate) type Machine = (&'static str, u8);

/// With and without: tracking by the hardware, a local fence after a fill, an absent word other than 0.
pub(crate) const MACHINES: [Machine; 7] = [
    ("sv39x4", 0),
    ("sv39x4", 2),
    ("ipa40", 0),
    ("ipa40", 2),
    ("ept4", 0),
    ("ept4", 2),
    ("npt4", 0),
];

fn variant((mode, number): Machine) -> Variant {
    match mode {
        "sv39x4" => RISCV(mode, number),
        "ept4" => EPT(mode, number),
        "npt4" => NPT(mode, number),
        _ => AARCH64(mode, number),
    }
}

/// Runs `scenario` once, and panics with what it takes to do so again if that goes wrong.
fn run_once(scenario: &Scenario, machine: Machine, choose: Chooser) -> Vec<Choice> {
    run(scenario, &variant(machine), choose).unwrap_or_else(|failure| {
        panic!(
            "{}\n\nTo see it again: replay(&{}, {machine:?}, &{:?})",
            failure.why, scenario.name, failure.schedule
        )
    })
}

/// Runs the schedule that a failure has printed, and returns who had which turn.
pub(crate) fn replay(scenario: &Scenario, machine: Machine, schedule: &[usize]) -> Vec<usize> {
    let schedule = schedule.to_vec();
    let choose = move |number: usize, order: &[usize]| {
        let wanted = schedule.get(number);
        let position = order.iter().position(|actor| Some(actor) == wanted);
        position.unwrap_or(0)
    };
    let choices = run_once(scenario, machine, Box::new(choose));
    choices.iter().map(Choice::actor).collect()
}

/// Runs every schedule with at most `preemptions` of an actor that could have gone on, or as many as
/// `INTERLEAVINGS_PREEMPTIONS` says. Returns their number.
pub(crate) fn exhaustively(scenario: &Scenario, machine: Machine, preemptions: usize) -> usize {
    let preemptions = number("INTERLEAVINGS_PREEMPTIONS").unwrap_or(preemptions);
    let (mut prefix, mut count) = (Vec::new(), 0);
    loop {
        let begins: Vec<usize> = prefix.clone();
        let choose = move |number: usize, _: &[usize]| begins.get(number).copied().unwrap_or(0);
        let choices = run_once(scenario, machine, Box::new(choose));
        count += 1;
        match next_prefix(&choices, preemptions) {
            Some(next) => prefix = next,
            None => return count,
        }
    }
}

/// The choices that come next: the last one that has an alternative takes it.
fn next_prefix(choices: &[Choice], preemptions: usize) -> Option<Vec<usize>> {
    (0..choices.len()).rev().find_map(|last| {
        let (before, choice) = (&choices[..last], &choices[last]);
        let so_far = before
            .iter()
            .filter(|choice| choice.is_preemption())
            .count();
        let allowed = !choice.preempts || so_far < preemptions;
        let has_next = choice.taken + 1 < choice.order.len();
        let taken = before.iter().map(|choice| choice.taken);
        (allowed && has_next).then(|| taken.chain([choice.taken + 1]).collect())
    })
}

/// Runs `count` schedules at random. The same ones every time, unless `INTERLEAVINGS_SEED` or `INTERLEAVINGS_RUNS` says
/// otherwise.
pub(crate) fn at_random(scenario: &Scenario, machine: Machine, count: usize) {
    let seed = number("INTERLEAVINGS_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15);
    let count = number("INTERLEAVINGS_RUNS").unwrap_or(count);
    let random = Arc::new(Mutex::new(Random(seed as u64)));
    for _ in 0..count {
        let random = Arc::clone(&random);
        let choose = move |_: usize, order: &[usize]| {
            let mut random = random.lock().unwrap();
            // Mostly whoever ran before, so that operations get some way.
            match random.below(3) {
                0 => random.below(order.len()),
                _ => 0,
            }
        };
        run_once(scenario, machine, Box::new(choose));
    }
}

/// The number in a variable of the environment.
fn number(variable: &str) -> Option<usize> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}
