//! One contender in one workload.

use anyhow::Result;

use crate::contender::PageTable;
use crate::workload::Workload;

/// One contender in one workload, in the order of the methods, round by round.
pub(crate) trait Trial {
    /// The name of the contender.
    fn contender(&self) -> &'static str;

    /// Makes what the clock does not cover.
    fn prepare(&mut self) -> Result<()>;

    /// What the clock covers.
    fn run(&mut self) -> Result<()>;

    /// Compares, by samples, what the run has left with what it should have.
    fn verify(&self) -> Result<()>;

    /// Gives back everything.
    fn clean_up(&mut self);
}

/// The table `T` in the workload `W`.
pub(crate) struct TableTrial<'w, W, T> {
    workload: &'w W,
    tables: Vec<T>,
}

impl<'w, W, T> TableTrial<'w, W, T> {
    /// The trial, with nothing prepared.
    pub(crate) const fn new(workload: &'w W) -> Self {
        let tables = Vec::new();
        Self { workload, tables }
    }
}

impl<W: Workload, T: PageTable> Trial for TableTrial<'_, W, T> {
    fn contender(&self) -> &'static str {
        T::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.tables = self.workload.prepare()?;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.workload.run(&mut self.tables)
    }

    fn verify(&self) -> Result<()> {
        self.workload.verify(&self.tables)
    }

    fn clean_up(&mut self) {
        self.tables.clear();
    }
}
