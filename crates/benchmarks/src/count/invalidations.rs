//! The instructions that one CPU executes for each workload.
#![expect(unsafe_code, reason = "vouches for a host without CPUs")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use nested_paging::nested_page_table::InvalidationFailed;
use nested_paging::{Invalidation, TableHost};

use crate::contender::nested::{Backend, BenchmarkHost, Ept, GStage, Nested, Stage2};
use crate::frames::StackFrames;
use crate::workload::{
    Answer, Fill, Map, OPERATIONS, PAGES, Protect, SinglePages, Split, Translate, Unmap, Workload,
};

type Counts = BTreeMap<&'static str, u64>;

/// Counts the requests and the instructions that each would take.
struct RecordingHost<B: Backend> {
    format: B::Format,
    counts: RefCell<Counts>,
}

impl<B: Backend> BenchmarkHost<B::Format> for RecordingHost<B> {
    fn new(format: B::Format) -> Self {
        let counts = RefCell::default();
        Self { format, counts }
    }
}

// SAFETY: the frames are one value, and no CPU walks the tables of a benchmark.
unsafe impl<B: Backend> TableHost for RecordingHost<B> {
    type Frames = StackFrames;

    fn frames(&self) -> &StackFrames {
        &StackFrames
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        let mut counts = self.counts.borrow_mut();
        for name in B::instructions(&self.format, request) {
            *counts.entry(name).or_default() += 1;
        }
        Ok(())
    }
}

/// What one run of `workload` takes, without what prepares it.
fn counts<W: Workload, B: Backend>(workload: &W) -> Result<Counts> {
    let mut tables: Vec<Nested<B, RecordingHost<B>>> = workload.prepare()?;
    for table in &tables {
        table.host().counts.take();
    }
    workload.run(&mut tables)?;
    let mut sum = Counts::new();
    for table in &tables {
        for (name, count) in table.host().counts.take() {
            *sum.entry(name).or_default() += count;
        }
    }
    Ok(sum)
}

/// A table: a row for each workload, a column for each backend.
///
/// # Errors
///
/// When a workload fails.
pub(super) fn markdown(text: &mut String) -> Result<()> {
    let names = [Ept::NAME, Stage2::NAME, GStage::NAME].join(" | ");
    writeln!(text, "| | units | {names} |\n|---|--:|---|---|---|")?;
    row(text, &Map::W1)?;
    row(text, &Map::W2A)?;
    row(text, &Map::W2B)?;
    row(text, &Unmap)?;
    row(text, &Protect::W4)?;
    row(text, &Translate::new(Answer::Leaf))?;
    row(text, &<SinglePages>::new(OPERATIONS))?;
    row(text, &<Fill>::new(PAGES as usize))?;
    row(text, &Split)
}

fn row<W: Workload>(text: &mut String, workload: &W) -> Result<()> {
    let (name, units) = (workload.name(), workload.units());
    let ept = cell(&counts::<W, Ept>(workload)?);
    let stage_2 = cell(&counts::<W, Stage2>(workload)?);
    let g_stage = cell(&counts::<W, GStage>(workload)?);
    writeln!(text, "| {name} | {units} | {ept} | {stage_2} | {g_stage} |")?;
    Ok(())
}

fn cell(counts: &Counts) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    parts.collect::<Vec<_>>().join(", ")
}
