//! All contenders in one cell.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::contender::nested::{Ept, GStage, Nested, Stage2};
use crate::contender::{Aarch64Paging, Generic, Multiarch, PageTable, Promises, X86};
use crate::envelope::bandwidth::{self, Bandwidth};
use crate::envelope::cell::{Call, Cell, Operation};
use crate::envelope::outcome::{CellOutcome, Kind, Time};
use crate::envelope::trial::{ByHand, ByLeaf, ByRange, Calls, CellTrial};
use crate::envelope::work::Work;
use crate::floor::{FloorTable, Walker};
use crate::frames;
use crate::measurement::{round, verified};
use crate::trial::Trial;

/// The longest call for which a call for each leaf may be the faster.
const MOST_BY_LEAF: u32 = 64;

/// A contender, with the calls that are its best.
struct Entrant<'w> {
    trial: Box<dyn Trial + 'w>,
    kind: Kind,
}

/// The contenders of one cell.
struct Field<'w> {
    work: &'w Work,
    entrants: Vec<Entrant<'w>>,
    refusals: Vec<(String, String)>,
}

impl<'w> Field<'w> {
    fn with<T: PageTable + 'w>(&mut self) -> Result<()> {
        let cell = self.work.cell;
        if cell.has_holes() && cell.call == Call::All && T::steps_through_holes(cell.operation) {
            // Half of a table is no long hole.
            if !cell.has_half_calls() || cell.spread == crate::envelope::cell::Spread::SixtyFourGib
            {
                self.refuse::<T>("steps through a hole page by page");
                return Ok(());
            }
        }
        let kind = match T::PROMISES {
            Promises::LiveAndAtomic => Kind::Ours,
            Promises::Live => Kind::Live,
            Promises::Unused => Kind::Unused,
            Promises::Bare => Kind::Bare,
        };
        let by_range: Box<dyn Trial + 'w> = Box::new(CellTrial::<T, ByRange>::new(self.work));
        let mut styles = vec![by_range];
        if T::HAS_LEAF_CALLS && may_go_by_leaf(&cell) {
            styles.push(Box::new(CellTrial::<T, ByLeaf>::new(self.work)));
        }
        match best(styles, kind)? {
            Ok(trial) => self.entrants.push(Entrant { trial, kind }),
            Err(reason) => self.refuse::<T>(&reason),
        }
        Ok(())
    }

    fn refuse<T: PageTable>(&mut self, reason: &str) {
        self.refusals.push((T::NAME.to_owned(), reason.to_owned()));
    }

    fn with_floor<C: Calls<FloorTable> + 'w>(&mut self) -> Result<()> {
        let trial: Box<dyn Trial + 'w> = Box::new(CellTrial::<FloorTable, C>::new(self.work));
        let kind = Kind::Floor;
        if let Ok(trial) = best(vec![trial], kind)? {
            self.entrants.push(Entrant { trial, kind });
        }
        Ok(())
    }

    fn with_bandwidth(&mut self) {
        let trial = Box::new(Bandwidth::new(self.work));
        let kind = Kind::Bandwidth;
        debug_assert_eq!(trial.contender(), bandwidth::NAME);
        self.entrants.push(Entrant { trial, kind });
    }
}

fn may_go_by_leaf(cell: &Cell) -> bool {
    let changes = !matches!(
        cell.operation,
        Operation::Translate | Operation::Visit | Operation::UnmapReporting
    );
    let is_short = matches!(cell.call, Call::Leaves(..=MOST_BY_LEAF));
    changes && (is_short || cell.has_half_calls())
}

/// Verifies each of the ways to make the calls, and keeps the fastest, or the reason why none works. Only a peer may fail.
fn best<'w>(
    styles: Vec<Box<dyn Trial + 'w>>,
    kind: Kind,
) -> Result<Result<Box<dyn Trial + 'w>, String>> {
    let has_choice = styles.len() > 1;
    let mut fastest: Option<(Duration, Box<dyn Trial + 'w>)> = None;
    let mut reason = String::new();
    for mut style in styles {
        if let Err(error) = verified(style.as_mut()) {
            let name = style.contender();
            style.clean_up();
            frames::restore_order().context(name)?;
            if !matches!(kind, Kind::Live | Kind::Unused | Kind::Bare) {
                return Err(error.context(name));
            }
            reason = format!("{error:#}");
            continue;
        }
        let time = match has_choice {
            true => round(style.as_mut())?.min(round(style.as_mut())?),
            false => Duration::ZERO,
        };
        if fastest.as_ref().is_none_or(|(best, _)| time < *best) {
            fastest = Some((time, style));
        }
    }
    Ok(fastest.map(|(_, style)| style).ok_or(reason))
}

/// Has every contender do `cell` in `rounds`, taking turns.
///
/// # Errors
///
/// When a table of this project or the floor fails, or leaves something else than it should.
pub(crate) fn measure(cell: Cell, rounds: usize) -> Result<CellOutcome> {
    let work = Work::new(cell)?;
    let mut field = Field {
        work: &work,
        entrants: Vec::new(),
        refusals: Vec::new(),
    };
    field.with_floor::<ByHand>()?;
    field.with::<Nested<Ept>>()?;
    field.with::<Nested<Stage2>>()?;
    field.with::<Nested<GStage>>()?;
    field.with::<Multiarch>()?;
    field.with::<Generic>()?;
    field.with::<Aarch64Paging<false>>()?;
    field.with::<Aarch64Paging<true>>()?;
    field.with::<X86>()?;
    field.with::<Walker>()?;
    if cell.is_memory_bound() {
        field.with_bandwidth();
    }
    let mut times = vec![Vec::with_capacity(rounds); field.entrants.len()];
    for _ in 0..rounds {
        for (entrant, times) in field.entrants.iter_mut().zip(&mut times) {
            let trial = entrant.trial.as_mut();
            times.push(round(trial).with_context(|| trial.contender())?);
        }
    }
    let units = work.units();
    let time = |(entrant, times): (&Entrant<'_>, Vec<Duration>)| {
        Time::new(entrant.trial.contender(), entrant.kind, times, units)
    };
    let times = field.entrants.iter().zip(times).map(time).collect();
    Ok(CellOutcome {
        name: cell.to_string(),
        cell,
        units,
        times,
        refusals: field.refusals,
    })
}
