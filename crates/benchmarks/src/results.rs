//! Results as they are written to files.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::selection::Outcome;

/// The time of one contender in one workload in one profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The name of the workload.
    pub(crate) workload: String,
    /// The name of the contender.
    pub(crate) contender: String,
    /// How cargo built the program.
    pub(crate) profile: String,
    /// Nanoseconds for each unit: the median of the rounds.
    pub(crate) ns: f64,
    /// The same divided by the floor's, where there is a floor.
    pub(crate) ratio: Option<f64>,
}

/// A workload that a contender cannot do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The name of the workload.
    pub(crate) workload: String,
    /// The name of the contender.
    pub(crate) contender: String,
    /// Why.
    pub(crate) reason: String,
}

/// The results of one profile or of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// What could not be.
    pub(crate) refusals: Vec<Refused>,
}

impl Results {
    /// Adds what one workload gave.
    pub(crate) fn add(&mut self, outcome: &Outcome, profile: &str) {
        let floor = outcome.floor().map(|floor| floor.median());
        for measurement in &outcome.measurements {
            let time = measurement.median();
            self.rows.push(Row {
                workload: outcome.workload.to_owned(),
                contender: measurement.contender.to_owned(),
                profile: profile.to_owned(),
                ns: rounded(time.as_secs_f64() * 1e9 / outcome.units as f64),
                ratio: floor.map(|floor| rounded(time.div_duration_f64(floor))),
            });
        }
        let refused = |refusal: &crate::selection::Refusal| Refused {
            workload: outcome.workload.to_owned(),
            contender: refusal.contender.to_owned(),
            reason: refusal.reason.to_owned(),
        };
        self.refusals.extend(outcome.refusals.iter().map(refused));
    }

    /// All results of `paths`; what no profile can do stands there once.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or holds something else.
    pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut all = Self::default();
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).with_context(|| path.display().to_string())?;
            let results: Self = serde_json::from_reader(BufReader::new(file))
                .with_context(|| path.display().to_string())?;
            all.rows.extend(results.rows);
            for refusal in results.refusals {
                if !all.refusals.contains(&refusal) {
                    all.refusals.push(refusal);
                }
            }
        }
        Ok(all)
    }

    /// Writes the results to the file `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, self)?;
        file.flush().with_context(|| path.display().to_string())
    }
}

/// Four digits after the point: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
