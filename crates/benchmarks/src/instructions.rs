//! One run of one contender, for a tool that counts instructions.

use anyhow::{Context, Result, bail};

use crate::contender::PageTable;
use crate::contender::nested::{Ept, GStage, Nested, Stage2};
use crate::frames;
use crate::trial::{TableTrial, Trial};
use crate::workload::{Fill, Map, SinglePages, Unmap, Workload};

/// Fewer operations than a clock needs: a counter is exact.
const OPERATIONS: u64 = 20_000;

/// The options of `instructions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// W1, W3, W6 or W7
    #[arg(long)]
    workload: String,
    /// One of this project's tables
    #[arg(long)]
    contender: String,
}

/// Runs the workload once. [`counted`] is what to count.
///
/// # Errors
///
/// When there is no such workload or contender, or the run fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    match options.workload.as_str() {
        "W1" => contender(options, &Map::W1),
        "W3" => contender(options, &Unmap),
        "W6" => contender(options, &<SinglePages>::new(OPERATIONS)),
        "W7" => contender(options, &<Fill>::new(OPERATIONS as usize)),
        other => bail!("{other} is not counted: W1, W3, W6 and W7 are"),
    }
}

fn contender(options: &Options, workload: &impl Workload) -> Result<()> {
    match options.contender.as_str() {
        Nested::<Ept>::NAME => once(TableTrial::<_, Nested<Ept>>::new(workload)),
        Nested::<Stage2>::NAME => once(TableTrial::<_, Nested<Stage2>>::new(workload)),
        Nested::<GStage>::NAME => once(TableTrial::<_, Nested<GStage>>::new(workload)),
        other => bail!("{other} is not a table of this project"),
    }
}

fn once(mut trial: impl Trial) -> Result<()> {
    trial.prepare()?;
    counted(&mut trial)?;
    trial.clean_up();
    frames::restore_order().context("after the run")
}

/// What is counted: the tool knows this function by its name.
#[inline(never)]
fn counted(trial: &mut dyn Trial) -> Result<()> {
    trial.run()
}
