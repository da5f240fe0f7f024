//! Rounds of trials, and their times.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::frames;
use crate::stopwatch::Stopwatch;
use crate::trial::Trial;

/// The times of one contender in one workload.
#[derive(Clone, Debug)]
pub(crate) struct Measurement {
    /// The name of the contender.
    pub(crate) contender: &'static str,
    /// One for each round, ascending.
    times: Vec<Duration>,
}

impl Measurement {
    fn new((contender, mut times): (&'static str, Vec<Duration>)) -> Self {
        times.sort_unstable();
        Self { contender, times }
    }

    /// The time that half of the rounds did not exceed.
    pub(crate) fn median(&self) -> Duration {
        let middle = self.times.get(self.times.len() / 2);
        middle.copied().unwrap_or_default()
    }

    /// The shortest time.
    pub(crate) fn minimum(&self) -> Duration {
        self.times.first().copied().unwrap_or_default()
    }
}

/// Runs each trial once and verifies it, then `rounds` times, the trials taking turns: A B C A B C.
///
/// # Errors
///
/// When a trial fails, leaves something else than it should, or loses a frame.
pub(crate) fn measure(
    trials: &mut [Box<dyn Trial + '_>],
    rounds: usize,
) -> Result<Vec<Measurement>> {
    for trial in trials.iter_mut() {
        verified(trial.as_mut()).with_context(|| trial.contender())?;
    }
    let mut times = vec![Vec::with_capacity(rounds); trials.len()];
    for _ in 0..rounds {
        for (trial, times) in trials.iter_mut().zip(&mut times) {
            times.push(round(trial.as_mut()).with_context(|| trial.contender())?);
        }
    }
    let contenders = trials.iter().map(|trial| trial.contender());
    Ok(contenders.zip(times).map(Measurement::new).collect())
}

/// Runs a trial once and verifies it.
///
/// # Errors
///
/// When it fails, leaves something else than it should, or loses a frame.
pub(crate) fn verified(trial: &mut dyn Trial) -> Result<()> {
    trial.prepare()?;
    trial.run()?;
    trial.verify()?;
    trial.clean_up();
    frames::restore_order()
}

/// Runs a trial once and says how long it took.
///
/// # Errors
///
/// When it fails, or loses a frame.
pub(crate) fn round(trial: &mut dyn Trial) -> Result<Duration> {
    trial.prepare()?;
    frames::warm_up();
    let stopwatch = Stopwatch::start();
    trial.run()?;
    let time = stopwatch.elapsed();
    trial.clean_up();
    frames::restore_order()?;
    Ok(time)
}
