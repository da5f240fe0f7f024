//! Which workloads and contenders a run is about.

use std::cell::LazyCell;

use anyhow::{Context, Result};

use crate::contender::nested::{Ept, GStage, Nested, Stage2};
use crate::contender::{Aarch64Paging, Generic, Multiarch, PageTable, X86};
use crate::floor::{Floor, FloorTable, FloorTrial, Walker};
use crate::machine::{
    self, CopyFloor, CopySmall, Create, CreateLarge, Direction, HandleFaults, MachineConfig,
    MachinePages, ReadMemory, SmallCopies, TranslateOnly, ZeroAndMap,
};
use crate::measurement::{Measurement, measure};
use crate::planner::{Planner, REGIONS, Regions, SortFloor};
use crate::remote::{INVALIDATIONS, Invalidate, TenExchanges};
use crate::trial::{TableTrial, Trial};
use crate::workload::{
    Answer, Fill, Map, OPERATIONS, PAGES, Protect, SinglePages, Split, Translate, Unmap,
};

/// The name of the floor.
const FLOOR: &str = FloorTable::NAME;

/// What is run, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The names of the workloads; none stands for all.
    pub(crate) workloads: Vec<String>,
    /// Parts of the names of contenders; none stands for all. The floor is always there.
    pub(crate) contenders: Vec<String>,
    /// How many rounds are timed.
    pub(crate) rounds: usize,
}

/// A contender that cannot do a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// The name of the contender.
    pub(crate) contender: &'static str,
    /// Why it cannot.
    pub(crate) reason: &'static str,
}

/// What was measured in one workload.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The name of the workload.
    pub(crate) workload: &'static str,
    /// How many units a round did.
    pub(crate) units: u64,
    /// Each contender, the floor first where there is one.
    pub(crate) measurements: Vec<Measurement>,
    /// The contenders that cannot do it.
    pub(crate) refusals: Vec<Refusal>,
}

/// The contenders of one workload.
struct Field<'w, W> {
    selection: &'w Selection,
    workload: &'w W,
    trials: Vec<Box<dyn Trial + 'w>>,
    refusals: Vec<Refusal>,
}

impl Outcome {
    /// The floor.
    pub(crate) fn floor(&self) -> Option<&Measurement> {
        self.measurements
            .first()
            .filter(|first| first.contender == FLOOR)
    }
}

impl<'w, W: Floor> Field<'w, W> {
    fn new(selection: &'w Selection, workload: &'w W) -> Self {
        Self {
            selection,
            workload,
            trials: vec![Box::new(FloorTrial::new(workload))],
            refusals: Vec::new(),
        }
    }

    /// Adds the table `T`, if it is selected and can do the workload.
    fn with<T: PageTable + 'w>(mut self) -> Self {
        if !self.selection.has_contender(T::NAME) {
            return self;
        }
        match T::refuses(self.workload.name()) {
            None => self
                .trials
                .push(Box::new(TableTrial::<W, T>::new(self.workload))),
            Some(reason) => self.refusals.push(Refusal {
                contender: T::NAME,
                reason,
            }),
        }
        self
    }
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
        self.tables(&Protect::W4, &mut report)?;
        self.tables(&Protect::W4X, &mut report)?;
        self.tables(&Translate::new(Answer::Leaf), &mut report)?;
        self.tables(&Translate::new(Answer::Host), &mut report)?;
        self.tables(&<SinglePages>::new(OPERATIONS), &mut report)?;
        self.tables(&SinglePages::<true, false>::new(OPERATIONS), &mut report)?;
        self.tables(&SinglePages::<false, true>::new(OPERATIONS), &mut report)?;
        let pages = PAGES as usize;
        self.tables(&<Fill>::new(pages), &mut report)?;
        self.tables(&Fill::<true, false>::new(pages), &mut report)?;
        self.tables(&Fill::<false, true>::new(pages), &mut report)?;
        self.tables(&Split, &mut report)?;
        self.others("W9", Create::UNITS, &mut report, || {
            vec![Box::new(Create::default())]
        })?;
        for (name, devices) in [("W9k", 1_000), ("W9m", 10_000)] {
            self.others(name, devices, &mut report, || {
                vec![Box::new(CreateLarge::new(devices))]
            })?;
        }
        let regions = LazyCell::new(Regions::new);
        self.others("W10", REGIONS, &mut report, || {
            let floor = Box::new(SortFloor::new(&regions));
            vec![floor, Box::new(Planner::new(&regions))]
        })?;
        self.others("W11", ReadMemory::UNITS, &mut report, || {
            vec![Box::new(CopyFloor::new()), Box::new(ReadMemory::new())]
        })?;
        let copies = LazyCell::new(SmallCopies::new);
        for (name, direction) in [("W11r", Direction::Read), ("W11w", Direction::Write)] {
            self.others(name, OPERATIONS, &mut report, || {
                let floor = Box::new(TranslateOnly::new(&copies));
                vec![floor, Box::new(CopySmall::new(&copies, direction))]
            })?;
        }
        let pages = LazyCell::new(|| <SinglePages>::new(OPERATIONS));
        let machines: [(&str, MachineConfig); 3] = [
            ("W12", machine::some_around),
            ("W12b", machine::some_below),
            ("W12m", machine::many_around),
        ];
        for (name, config) in machines {
            self.others(name, OPERATIONS, &mut report, || {
                let floor = Box::new(FloorTrial::new(&*pages));
                let table = Box::new(TableTrial::<_, Nested<Ept>>::new(&*pages));
                vec![floor, table, Box::new(MachinePages::new(&pages, config))]
            })?;
        }
        self.others("W13", HandleFaults::UNITS, &mut report, || {
            let floor = Box::new(ZeroAndMap::new());
            vec![floor, Box::new(HandleFaults::new())]
        })?;
        let invalidations = [
            ("W16", Invalidate::new(0)),
            ("W16o", Invalidate::new(1)),
            ("W16a", Invalidate::all()),
        ];
        for (name, invalidate) in invalidations {
            self.others(name, INVALIDATIONS, &mut report, || {
                vec![Box::new(TenExchanges::default()), Box::new(invalidate)]
            })?;
        }
        Ok(())
    }

    /// Runs one workload that is not for tables: the `trials`, the floor first.
    fn others<'w>(
        &self,
        workload: &'static str,
        units: u64,
        report: &mut impl FnMut(&Outcome),
        trials: impl FnOnce() -> Vec<Box<dyn Trial + 'w>>,
    ) -> Result<()> {
        if !self.has_workload(workload) {
            return Ok(());
        }
        let mut trials = trials();
        trials.retain(|trial| trial.contender() == FLOOR || self.has_contender(trial.contender()));
        report(&Outcome {
            workload,
            units,
            measurements: measure(&mut trials, self.rounds).context(workload)?,
            refusals: Vec::new(),
        });
        Ok(())
    }

    /// Runs one workload on all tables.
    fn tables<W: Floor>(&self, workload: &W, report: &mut impl FnMut(&Outcome)) -> Result<()> {
        let name = workload.name();
        if !self.has_workload(name) {
            return Ok(());
        }
        let mut field = Field::new(self, workload)
            .with::<Nested<Ept>>()
            .with::<Nested<Stage2>>()
            .with::<Nested<GStage>>()
            .with::<Multiarch>()
            .with::<Generic>()
            .with::<Aarch64Paging<false>>()
            .with::<Aarch64Paging<true>>()
            .with::<X86>()
            .with::<Walker>();
        report(&Outcome {
            workload: name,
            units: workload.units(),
            measurements: measure(&mut field.trials, self.rounds).context(name)?,
            refusals: field.refusals,
        });
        Ok(())
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
