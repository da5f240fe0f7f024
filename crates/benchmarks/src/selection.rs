//! Which workloads and contenders a run is about.

use anyhow::{Context, Result};

use crate::contender::PageTable;
use crate::contender::nested::{Ept, GStage, Nested, Stage2};
use crate::floor::{Floor, FloorTrial};
use crate::measurement::{Measurement, measure};
use crate::trial::{TableTrial, Trial};
use crate::workload::{Fill, Map, Protect, SinglePages, Split, Translate, Unmap};

/// Parts of names; an empty list stands for everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Names of workloads.
    pub(crate) workloads: Vec<String>,
    /// Parts of names of contenders.
    pub(crate) contenders: Vec<String>,
    /// How many rounds are timed.
    pub(crate) rounds: usize,
}

/// What was measured in one workload.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The name of the workload.
    pub(crate) workload: &'static str,
    /// How many units a round did.
    pub(crate) units: u64,
    /// The floor.
    pub(crate) floor: Measurement,
    /// The contenders.
    pub(crate) contenders: Vec<Measurement>,
}

impl Selection {
    /// Runs what is selected, one workload after the other, and hands each outcome to `report`.
    ///
    /// # Errors
    ///
    /// Those of [`measure`].
    pub(crate) fn run(&self, mut report: impl FnMut(&Outcome)) -> Result<()> {
        self.tables(&Map::W1, &mut report)?;
        self.tables(&Map::W2A, &mut report)?;
        self.tables(&Map::W2B, &mut report)?;
        self.tables(&Unmap, &mut report)?;
        self.tables(&Protect, &mut report)?;
        self.tables(&Translate::new(), &mut report)?;
        self.tables(&SinglePages::new(), &mut report)?;
        self.tables(&Fill::new(), &mut report)?;
        self.tables(&Split, &mut report)
    }

    /// Runs one workload on all selected tables.
    fn tables<W: Floor>(&self, workload: &W, report: &mut impl FnMut(&Outcome)) -> Result<()> {
        let name = workload.name();
        if !self.has_workload(name) {
            return Ok(());
        }
        let mut trials: Vec<Box<dyn Trial + '_>> = vec![Box::new(FloorTrial::new(workload))];
        self.add::<W, Nested<Ept>>(workload, &mut trials);
        self.add::<W, Nested<Stage2>>(workload, &mut trials);
        self.add::<W, Nested<GStage>>(workload, &mut trials);
        let mut contenders = measure(&mut trials, self.rounds).context(name)?;
        let floor = contenders.remove(0);
        report(&Outcome {
            workload: name,
            units: workload.units(),
            floor,
            contenders,
        });
        Ok(())
    }

    fn add<'w, W: Floor, T: PageTable + 'w>(
        &self,
        workload: &'w W,
        trials: &mut Vec<Box<dyn Trial + 'w>>,
    ) {
        if self.has_contender(T::NAME) {
            trials.push(Box::new(TableTrial::<W, T>::new(workload)));
        }
    }

    fn has_workload(&self, name: &str) -> bool {
        let is_name = |wanted: &String| wanted.eq_ignore_ascii_case(name);
        self.workloads.is_empty() || self.workloads.iter().any(is_name)
    }

    fn has_contender(&self, name: &str) -> bool {
        let is_part = |part: &String| name.contains(part.as_str());
        self.contenders.is_empty() || self.contenders.iter().any(is_part)
    }
}
