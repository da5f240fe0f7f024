//! What was measured in a cell.

use std::time::Duration;

use serde::Serialize;

use crate::envelope::cell::Cell;

/// What kind of contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// This project's.
    Ours,
    /// A peer for tables that CPUs use. None undoes what it did before an error.
    Live,
    /// A peer in a state that is for tables which no CPU uses.
    Unused,
    /// No promises at all.
    Bare,
    /// Loads and stores by hand.
    Floor,
    /// As many words in an array.
    Bandwidth,
}

/// The time of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Time {
    /// The contender.
    pub(crate) contender: &'static str,
    /// Its kind.
    pub(crate) kind: Kind,
    /// Nanoseconds for each leaf: the median of the rounds.
    pub(crate) ns: f64,
    /// The shortest.
    pub(crate) least_ns: f64,
}

impl Time {
    /// The time for each of `units`.
    pub(crate) fn new(
        contender: &'static str,
        kind: Kind,
        mut times: Vec<Duration>,
        units: u64,
    ) -> Self {
        times.sort_unstable();
        let each = |time: Option<&Duration>| {
            let ns = time.copied().unwrap_or_default().as_secs_f64() * 1e9 / units as f64;
            (ns * 1e4).round() / 1e4
        };
        Self {
            contender,
            kind,
            ns: each(times.get(times.len() / 2)),
            least_ns: each(times.first()),
        }
    }
}

/// What was measured in one cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CellOutcome {
    /// The name of the cell.
    pub(crate) name: String,
    /// The cell.
    #[serde(flatten)]
    pub(crate) cell: Cell,
    /// How many leaves a round was about.
    pub(crate) units: u64,
    /// The contenders.
    pub(crate) times: Vec<Time>,
    /// Those that cannot do it, and why.
    pub(crate) refusals: Vec<(String, String)>,
}

impl CellOutcome {
    /// The fastest of some kinds.
    pub(crate) fn fastest(&self, kinds: &[Kind]) -> Option<&Time> {
        let of_kind = self.times.iter().filter(|time| kinds.contains(&time.kind));
        of_kind.min_by(|a, b| a.ns.total_cmp(&b.ns))
    }

    /// The slowest of this project's.
    pub(crate) fn ours(&self) -> Option<&Time> {
        let ours = self.times.iter().filter(|time| time.kind == Kind::Ours);
        ours.max_by(|a, b| a.ns.total_cmp(&b.ns))
    }

    /// How the slowest of this project's stands to the fastest of `kinds`.
    pub(crate) fn ratio_to(&self, kinds: &[Kind]) -> Option<f64> {
        let other = self.fastest(kinds)?.ns;
        (other > 0.0).then_some(self.ours()?.ns / other)
    }
}
