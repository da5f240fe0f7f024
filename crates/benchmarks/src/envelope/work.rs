//! What a cell consists of: the leaves that are there before, and the calls.

use std::ops::Range;

use anyhow::{Context, Result};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Access, Leaves};
use crate::envelope::cell::{Call, Cell, Flags, LeafSize, Operation, Position, Spread, State};
use crate::workload::{BLOCK_2M, GIB, GUEST, HOST};

/// The most calls of one round: enough for the clock.
const MOST_CALLS: usize = 8192;
/// How many leaves the calls of one round cover, unless a call alone covers more.
const MOST_LEAVES: usize = 131_072;
/// How many leaves there are at least, in several tables if one has fewer.
const LEAST_LEAVES: u64 = 2048;
/// How far the tables of pages are apart, if they are spread.
const DISTANCE: u64 = 64 * BLOCK_2M;
/// Leaves in a table.
const ENTRIES: u64 = 512;

/// A call, or what one call makes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The guest range.
    pub(crate) guest: GuestPhysRange,
    /// Where it leads.
    pub(crate) host: HostPhysAddr,
    /// What the guest may do there: after the call.
    pub(crate) access: Access,
}

/// A cell, worked out.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) cell: Cell,
    /// How many tables it is done to, all alike.
    pub(crate) tables: usize,
    /// How each is filled.
    pub(crate) before: Vec<Piece>,
    /// Leaves that are mapped and unmapped again, so that their tables are there.
    pub(crate) touched: Vec<Piece>,
    /// What is timed.
    pub(crate) calls: Vec<Piece>,
    /// The same without what a floor knows to be empty.
    pub(crate) floor_calls: Vec<Piece>,
    /// Where each address that is translated lies in its piece.
    pub(crate) offset: u64,
    /// What every leaf should allow in the end, by its number; `None` where it is absent.
    expected: Vec<Option<Access>>,
}

/// Numbers of leaves.
type Numbers = Range<u64>;

impl Work {
    /// Works out `cell`.
    ///
    /// # Errors
    ///
    /// When an address does not exist, which is a mistake.
    pub(crate) fn new(cell: Cell) -> Result<Self> {
        let total = total(&cell);
        let calls = calls(&cell, total);
        let before = before(&cell, total);
        let mut work = Self {
            cell,
            tables: LEAST_LEAVES.div_ceil(total) as usize,
            before: Vec::new(),
            touched: Vec::new(),
            calls: Vec::new(),
            floor_calls: Vec::new(),
            offset: 0,
            expected: vec![None; usize::try_from(total)?],
        };
        for (numbers, access) in before {
            work.expect(&numbers, Some(access))?;
            work.before.push(piece(&cell, &numbers, access)?);
        }
        if cell.state == State::Tables {
            for first in (0..total).step_by(ENTRIES as usize) {
                let leaf = piece(&cell, &(first..first + 1), Access::ReadWrite)?;
                work.touched.push(leaf);
            }
        }
        if cell.operation == Operation::Translate {
            work.offset = cell.leaf.bytes() / 2 + 8;
        }
        for (turn, numbers) in calls.into_iter().enumerate() {
            work.add_call(turn, &numbers)?;
        }
        Ok(work)
    }

    fn add_call(&mut self, turn: usize, numbers: &Numbers) -> Result<()> {
        let access = access_after(&self.cell, turn);
        match self.cell.operation {
            Operation::Map => self.expect(numbers, Some(access))?,
            Operation::Unmap | Operation::UnmapReporting => self.expect(numbers, None)?,
            Operation::ProtectLess | Operation::ProtectMore => self.change(numbers, access)?,
            Operation::Translate | Operation::Visit => {}
        }
        let call = piece(&self.cell, numbers, access)?;
        self.calls.push(call);
        let is_sparse = self.cell.leaf == LeafSize::Page
            && self.cell.spread == Spread::SixtyFourGib
            && self.cell.call == Call::All;
        match is_sparse {
            true => {
                for first in (numbers.start..numbers.end).step_by(ENTRIES as usize) {
                    let part = piece(&self.cell, &(first..first + ENTRIES), access)?;
                    self.floor_calls.push(part);
                }
            }
            false => self.floor_calls.push(call),
        }
        Ok(())
    }

    fn range_mut(&mut self, numbers: &Numbers) -> Result<&mut [Option<Access>]> {
        let range = numbers.start as usize..numbers.end as usize;
        self.expected.get_mut(range).context("no such leaf")
    }

    fn expect(&mut self, numbers: &Numbers, access: Option<Access>) -> Result<()> {
        self.range_mut(numbers)?.fill(access);
        Ok(())
    }

    fn change(&mut self, numbers: &Numbers, access: Access) -> Result<()> {
        for leaf in self.range_mut(numbers)?.iter_mut().flatten() {
            *leaf = access;
        }
        Ok(())
    }

    /// The leaves that a table may make.
    pub(crate) const fn leaves(&self) -> Leaves {
        match self.cell.leaf {
            LeafSize::Page => Leaves::Pages,
            _ => Leaves::Largest,
        }
    }

    /// How many leaves a round changes, shows or translates: what is a hole does not count.
    pub(crate) fn units(&self) -> u64 {
        let covered: u64 = self.floor_calls.iter().map(|call| call.guest.size()).sum();
        let leaves = covered >> self.cell.leaf.shift();
        let there = match self.cell.has_half_calls() && self.cell.operation != Operation::Translate
        {
            true => leaves.div_ceil(2),
            false => leaves,
        };
        there * self.tables as u64
    }

    /// Every address that is worth a look in the end, with what should be there: each leaf of some calls, their
    /// neighbours, and others at random.
    pub(crate) fn samples(&self) -> impl Iterator<Item = Result<(Piece, Option<Access>)>> {
        let step = (self.expected.len() / 1009).max(1);
        let spread = (0..self.expected.len()).step_by(step);
        let edges = [0, 1, 2, 511, 512, 513, self.expected.len() - 1];
        let numbers = spread
            .chain(edges)
            .filter(|number| *number < self.expected.len());
        numbers.map(|number| {
            let expected = self.expected.get(number).copied().flatten();
            let numbers = number as u64..number as u64 + 1;
            Ok((piece(&self.cell, &numbers, Access::Read)?, expected))
        })
    }

    /// Addresses just outside of everything.
    pub(crate) fn outside(&self) -> [Option<GuestPhysAddr>; 2] {
        let end = 64 * GIB + 2 * GIB;
        [GUEST.checked_sub(1), GUEST.checked_add(end)]
    }

    /// How many leaves one round has to show, and the sum of their targets.
    pub(crate) fn found(&self) -> Result<(u64, u64)> {
        let shift = self.cell.leaf.shift();
        let mut found = (0_u64, 0_u64);
        let before = self.filled()?;
        for call in &self.floor_calls {
            let first = number_of(&self.cell, call.guest.start());
            for number in first..first + (call.guest.size() >> shift) {
                if before.get(number as usize).copied().unwrap_or_default() {
                    let leaf = piece(&self.cell, &(number..number + 1), Access::Read)?;
                    let target = leaf.host.as_u64().wrapping_add(self.offset);
                    found = (found.0 + 1, found.1.wrapping_add(target));
                }
            }
        }
        let tables = self.tables as u64;
        Ok((found.0 * tables, found.1.wrapping_mul(tables)))
    }

    /// Which leaves are there before.
    fn filled(&self) -> Result<Vec<bool>> {
        let mut filled = vec![false; self.expected.len()];
        for piece in &self.before {
            let first = number_of(&self.cell, piece.guest.start()) as usize;
            let count = (piece.guest.size() >> self.cell.leaf.shift()) as usize;
            let range = filled.get_mut(first..first + count);
            range.context("no such leaf")?.fill(true);
        }
        Ok(filled)
    }
}

/// How many leaves there can be.
const fn total(cell: &Cell) -> u64 {
    match (cell.leaf, cell.spread) {
        (LeafSize::Page, _) => GIB / PAGE_SIZE_4K,
        (LeafSize::Block2M, Spread::OneGib) => GIB / BLOCK_2M,
        (LeafSize::Block2M, Spread::SixtyFourGib) => 64 * GIB / BLOCK_2M,
        (LeafSize::Block1G, _) => 64,
    }
}

/// Where leaf `number` begins, as an offset.
const fn offset_of(cell: &Cell, number: u64) -> u64 {
    match (cell.leaf, cell.spread) {
        (LeafSize::Page, Spread::SixtyFourGib) => {
            number / ENTRIES * DISTANCE + number % ENTRIES * PAGE_SIZE_4K
        }
        _ => number << cell.leaf.shift(),
    }
}

/// The number of the leaf at `address`.
const fn number_of(cell: &Cell, address: GuestPhysAddr) -> u64 {
    let offset = address.as_u64() - GUEST.as_u64();
    match (cell.leaf, cell.spread) {
        (LeafSize::Page, Spread::SixtyFourGib) => {
            offset / DISTANCE * ENTRIES + offset % DISTANCE / PAGE_SIZE_4K
        }
        _ => offset >> cell.leaf.shift(),
    }
}

/// The range from the first of `numbers` to the last.
fn piece(cell: &Cell, numbers: &Numbers, access: Access) -> Result<Piece> {
    let start = offset_of(cell, numbers.start);
    let end = offset_of(cell, numbers.end - 1) + cell.leaf.bytes();
    let guest = GUEST.checked_add(start).context("past the end")?;
    // Blocks of 2 MiB do not lead to a multiple of 1 GiB: there would be larger leaves.
    let base = match cell.leaf {
        LeafSize::Block2M => HOST.as_u64() + BLOCK_2M,
        _ => HOST.as_u64(),
    };
    Ok(Piece {
        guest: GuestPhysRange::from_start_size(guest, end - start)?,
        host: HostPhysAddr::new(base + start),
        access,
    })
}

/// What call number `turn` leaves, or what it maps.
const fn access_after(cell: &Cell, turn: usize) -> Access {
    let may_execute = match cell.flags {
        Flags::Rw => false,
        Flags::Rwx => true,
        Flags::Alternating => turn % 2 == 1,
    };
    let is_alternating = matches!(cell.flags, Flags::Alternating);
    match (cell.operation, may_execute) {
        (Operation::ProtectLess, false) => Access::Read,
        (Operation::ProtectLess, true) => Access::ReadExecute,
        // One call for leaves that may be executed and others must not take from either.
        (Operation::ProtectMore, _) if is_alternating && matches!(cell.call, Call::All) => {
            Access::ReadWriteExecute
        }
        (_, false) => Access::ReadWrite,
        (_, true) => Access::ReadWriteExecute,
    }
}

/// What is there before in part number `part`.
const fn access_before(cell: &Cell, part: u64) -> Access {
    let may_execute = match cell.flags {
        Flags::Rw => false,
        Flags::Rwx => true,
        Flags::Alternating => part % 2 == 1,
    };
    let is_target_alternating =
        matches!(cell.flags, Flags::Alternating) && !matches!(cell.call, Call::All);
    match (cell.operation, may_execute) {
        // Calls that alternate in what they leave only take, or only give.
        (Operation::ProtectLess, _) if is_target_alternating => Access::ReadWriteExecute,
        (Operation::ProtectMore, _) if is_target_alternating => Access::Read,
        (Operation::ProtectMore, false) => Access::Read,
        (Operation::ProtectMore, true) => Access::ReadExecute,
        (_, false) => Access::ReadWrite,
        (_, true) => Access::ReadWriteExecute,
    }
}

/// The leaves of each call, in their order.
fn calls(cell: &Cell, total: u64) -> Vec<Numbers> {
    let size = match cell.call {
        Call::Leaves(leaves) => u64::from(leaves),
        Call::All => return vec![everything(cell, total)],
    };
    let first = u64::from(cell.position == Position::OffByOne);
    let mut calls: Vec<Numbers> = (first..)
        .step_by(size as usize)
        .map(|start| start..start + size)
        .take_while(|numbers| numbers.end <= total)
        .filter(|numbers| !is_mapped_before(cell, numbers.start))
        .collect();
    let most = MOST_CALLS.min(MOST_LEAVES / size as usize);
    if cell.position == Position::Random {
        fastrand::Rng::with_seed(total).shuffle(&mut calls);
    } else if cell.spread == Spread::SixtyFourGib && calls.len() > most {
        // Some calls in each table, not all in the first.
        let tables = (total / ENTRIES).max(1);
        let of_table = (most as u64 / tables).max(1) * size;
        calls.retain(|numbers| numbers.start % ENTRIES < of_table);
    }
    calls.truncate(most);
    calls
}

/// What one call for everything covers.
fn everything(cell: &Cell, total: u64) -> Numbers {
    match cell.position {
        Position::OffByOne => 1..total - 1,
        _ => 0..total,
    }
}

/// The half of the table that is mapped before a map into a table that is half full: every other group.
const fn is_mapped_before(cell: &Cell, number: u64) -> bool {
    let is_map = matches!(cell.operation, Operation::Map);
    let first = matches!(cell.position, Position::OffByOne) as u64;
    is_map && matches!(cell.state, State::Half) && (number - first) / group(cell) % 2 == 1
}

/// How many neighbours are mapped or absent together in a table that is half full.
const fn group(cell: &Cell) -> u64 {
    let size = match (cell.call, cell.leaf) {
        (Call::Leaves(leaves), _) => leaves as u64,
        (Call::All, LeafSize::Block1G) => 64,
        (Call::All, _) => ENTRIES,
    };
    match cell.operation {
        // At least the call.
        Operation::Map if size < 16 => 16,
        Operation::Map => size,
        Operation::Translate => 16,
        // Half of the call.
        _ => size / 2,
    }
}

/// What is mapped before.
fn before(cell: &Cell, total: u64) -> Vec<(Numbers, Access)> {
    let part = match (cell.state, cell.flags, cell.call) {
        (State::Fresh | State::Tables, _, _) => return Vec::new(),
        (State::Half, _, _) => group(cell),
        (State::Full, Flags::Alternating, Call::All) => 1,
        (State::Full, Flags::Alternating, _) if cell.leaf == LeafSize::Block1G => 1,
        (State::Full, Flags::Alternating, _) => 256,
        (State::Full, _, _) if is_apart(cell) => ENTRIES,
        (State::Full, _, _) => total,
    };
    let shift = match cell.operation {
        // A call that begins one leaf above its multiple must find its range free.
        Operation::Map if cell.position == Position::OffByOne => 1,
        _ => 0,
    };
    let parts = (shift..total).step_by(part as usize).enumerate();
    let half = cell.state == State::Half;
    parts
        .filter(|(turn, _)| !half || turn % 2 == 1)
        .filter(|(_, start)| shift == 0 || start + part <= total)
        .map(|(turn, start)| {
            let number = if half { turn / 2 } else { turn };
            let access = access_before(cell, number as u64);
            (start..(start + part).min(total), access)
        })
        .collect()
}

/// Whether tables of pages are apart.
const fn is_apart(cell: &Cell) -> bool {
    matches!(
        (cell.leaf, cell.spread),
        (LeafSize::Page, Spread::SixtyFourGib)
    )
}
