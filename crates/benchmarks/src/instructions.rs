//! One run of each of some workloads by one contender, for a tool that counts instructions.

use anyhow::{Context, Result, bail};

use crate::contender::PageTable;
use crate::contender::nested::{Backend, CountingHost, Ept, EptOrNpt, GStage, Nested, Stage2};
use crate::envelope::{self, ByRange, CellTrial, Work};
use crate::frames;
use crate::trial::{TableTrial, Trial};
use crate::workload::SinglePages;

/// Fewer operations than a clock needs: a counter is exact.
const OPERATIONS: u64 = 20_000;

/// The options of `instructions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// W6, or cells of the envelope, in the order in which they are run
    #[arg(long, value_delimiter = ',', required = true)]
    workloads: Vec<String>,
    /// One of this project's tables
    #[arg(long)]
    contender: String,
}

/// Runs each workload once. [`counted`] is what to count.
///
/// # Errors
///
/// When there is no such workload or contender, or a run fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let run: fn(&str) -> Result<()> = match options.contender.as_str() {
        Ept::NAME => workload::<Ept>,
        EptOrNpt::NAME => workload::<EptOrNpt>,
        Stage2::NAME => workload::<Stage2>,
        GStage::NAME => workload::<GStage>,
        other => bail!("{other} is not a table of this project"),
    };
    let mut names = options.workloads.iter();
    names.try_for_each(|name| run(name).with_context(|| name.clone()))
}

fn workload<B: Backend>(name: &str) -> Result<()>
where
    Nested<B, CountingHost>: PageTable,
{
    if name == "W6" {
        let pages = <SinglePages>::new(OPERATIONS);
        return once(TableTrial::<_, Nested<B>>::new(&pages));
    }
    let work = Work::new(envelope::cell(name)?)?;
    once(CellTrial::<Nested<B>, ByRange>::new(&work))
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
