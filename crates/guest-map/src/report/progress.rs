//! A bar for work that lasts.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter work shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many steps pass between two looks at the clock, which costs as much as a step.
const STEPS: u64 = 4096;

/// Work of many small steps. The bar is on standard error, if that is a terminal, and goes away with the
/// value.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    steps: u64,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        // The template is right, so that the other style is never taken.
        let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent}%, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar
            .with_style(style.progress_chars("=> "))
            .with_message(what);
        Self {
            bar,
            begun: Instant::now(),
            steps: 0,
        }
    }

    pub(crate) fn step(&mut self) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS) {
            return;
        }
        if self.bar.is_hidden() && self.begun.elapsed() > PATIENCE {
            // It stays hidden where there is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(self.steps);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
