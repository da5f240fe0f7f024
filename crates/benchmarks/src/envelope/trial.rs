//! A cell, done by one contender.

use std::hint::black_box;
use std::marker::PhantomData;

use anyhow::{Context, Result, ensure};
use nested_paging::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};

use crate::contender::{Leaf, PageTable};
use crate::envelope::cell::Operation;
use crate::envelope::work::{Piece, Work};
use crate::floor::FloorTable;
use crate::trial::Trial;

/// What was shown, reported or translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    leaves: u64,
    targets: u64,
    bytes: u64,
    flags: u64,
}

impl Found {
    #[inline(always)]
    fn add(&mut self, leaf: Leaf) {
        self.leaves += 1;
        self.targets = self.targets.wrapping_add(leaf.host.as_u64());
        self.bytes = self.bytes.wrapping_add(leaf.bytes);
        self.flags = self.flags.wrapping_add(leaf.flags);
    }
}

/// How the calls are made.
pub(crate) trait Calls<T> {
    fn map(table: &mut T, piece: &Piece, work: &Work) -> Result<()>;
    fn unmap(table: &mut T, piece: &Piece, work: &Work) -> Result<()>;
    fn unmap_reporting(
        table: &mut T,
        piece: &Piece,
        work: &Work,
        report: impl FnMut(Leaf),
    ) -> Result<()>;
    fn protect(table: &mut T, piece: &Piece, work: &Work) -> Result<()>;
    fn translate(table: &T, address: GuestPhysAddr, work: &Work) -> Option<Leaf>;
    fn visit(table: &T, piece: &Piece, work: &Work, visitor: impl FnMut(Leaf)) -> Result<()>;
    /// What is timed.
    fn calls(work: &Work) -> &[Piece];
}

/// A call for each range.
pub(crate) struct ByRange;

/// A call for each leaf, where the contender has such calls.
pub(crate) struct ByLeaf;

/// The stores and loads alone.
pub(crate) struct ByHand;

impl<T: PageTable> Calls<T> for ByRange {
    #[inline(always)]
    fn map(table: &mut T, piece: &Piece, _work: &Work) -> Result<()> {
        table.map(piece.guest, piece.host, piece.access)
    }

    #[inline(always)]
    fn unmap(table: &mut T, piece: &Piece, _work: &Work) -> Result<()> {
        table.unmap(piece.guest)
    }

    #[inline(always)]
    fn unmap_reporting(
        table: &mut T,
        piece: &Piece,
        _work: &Work,
        report: impl FnMut(Leaf),
    ) -> Result<()> {
        table.unmap_reporting(piece.guest, report)
    }

    #[inline(always)]
    fn protect(table: &mut T, piece: &Piece, _work: &Work) -> Result<()> {
        table.protect(piece.guest, piece.access)
    }

    #[inline(always)]
    fn translate(table: &T, address: GuestPhysAddr, _work: &Work) -> Option<Leaf> {
        table.translate(address)
    }

    #[inline(always)]
    fn visit(table: &T, piece: &Piece, _work: &Work, visitor: impl FnMut(Leaf)) -> Result<()> {
        table.visit(piece.guest, visitor)
    }

    fn calls(work: &Work) -> &[Piece] {
        &work.calls
    }
}

/// Calls `change` with each leaf of `piece`.
#[inline(always)]
fn each_leaf(
    piece: &Piece,
    work: &Work,
    mut change: impl FnMut(GuestPhysRange, HostPhysAddr) -> Result<()>,
) -> Result<()> {
    let bytes = work.cell.leaf.bytes();
    let mut done = 0;
    while done < piece.guest.size() {
        let start = piece.guest.start().checked_add(done);
        let host = piece.host.checked_add(done).context("past the end")?;
        let leaf = GuestPhysRange::from_start_size(start.context("past the end")?, bytes)?;
        change(leaf, host)?;
        done += bytes;
    }
    Ok(())
}

impl<T: PageTable> Calls<T> for ByLeaf {
    #[inline(always)]
    fn map(table: &mut T, piece: &Piece, work: &Work) -> Result<()> {
        each_leaf(piece, work, |guest, host| {
            table.map_leaf(guest, host, piece.access)
        })
    }

    #[inline(always)]
    fn unmap(table: &mut T, piece: &Piece, work: &Work) -> Result<()> {
        each_leaf(piece, work, |guest, _| table.unmap_leaf(guest))
    }

    #[inline(always)]
    fn unmap_reporting(
        table: &mut T,
        piece: &Piece,
        _work: &Work,
        report: impl FnMut(Leaf),
    ) -> Result<()> {
        table.unmap_reporting(piece.guest, report)
    }

    #[inline(always)]
    fn protect(table: &mut T, piece: &Piece, work: &Work) -> Result<()> {
        each_leaf(piece, work, |guest, _| {
            table.protect_leaf(guest, piece.access)
        })
    }

    #[inline(always)]
    fn translate(table: &T, address: GuestPhysAddr, _work: &Work) -> Option<Leaf> {
        table.translate(address)
    }

    #[inline(always)]
    fn visit(table: &T, piece: &Piece, _work: &Work, visitor: impl FnMut(Leaf)) -> Result<()> {
        table.visit(piece.guest, visitor)
    }

    fn calls(work: &Work) -> &[Piece] {
        &work.calls
    }
}

#[expect(
    unsafe_code,
    reason = "a floor checks nothing: the trial has prepared what it relies upon"
)]
impl Calls<FloorTable> for ByHand {
    #[inline(always)]
    fn map(table: &mut FloorTable, piece: &Piece, work: &Work) -> Result<()> {
        let shift = work.cell.leaf.shift();
        // SAFETY: the pieces of a cell begin and end at leaves, and what is mapped was absent.
        unsafe { table.map_leaves(piece.guest, piece.host, piece.access, shift) }
    }

    #[inline(always)]
    fn unmap(table: &mut FloorTable, piece: &Piece, work: &Work) -> Result<()> {
        // SAFETY: the trial has filled the tables that the pieces lie in.
        unsafe { table.unmap_leaves(piece.guest, work.cell.leaf.shift()) };
        Ok(())
    }

    #[inline(always)]
    fn unmap_reporting(
        table: &mut FloorTable,
        piece: &Piece,
        work: &Work,
        report: impl FnMut(Leaf),
    ) -> Result<()> {
        // SAFETY: the trial has filled the tables that the pieces lie in.
        unsafe { table.take_leaves(piece.guest, work.cell.leaf.shift(), report) };
        Ok(())
    }

    #[inline(always)]
    fn protect(table: &mut FloorTable, piece: &Piece, work: &Work) -> Result<()> {
        // SAFETY: the trial has filled the tables that the pieces lie in.
        unsafe { table.protect_leaves(piece.guest, piece.access, work.cell.leaf.shift()) };
        Ok(())
    }

    #[inline(always)]
    fn translate(table: &FloorTable, address: GuestPhysAddr, work: &Work) -> Option<Leaf> {
        // SAFETY: the trial has filled the tables that the addresses lie in.
        unsafe { table.find_leaf(address, work.cell.leaf.shift()) }
    }

    #[inline(always)]
    fn visit(
        table: &FloorTable,
        piece: &Piece,
        work: &Work,
        visitor: impl FnMut(Leaf),
    ) -> Result<()> {
        // SAFETY: the trial has filled the tables that the pieces lie in.
        unsafe { table.visit_leaves(piece.guest, work.cell.leaf.shift(), visitor) };
        Ok(())
    }

    fn calls(work: &Work) -> &[Piece] {
        &work.floor_calls
    }
}

/// The table `T` in a cell, with the calls of `C`.
pub(crate) struct CellTrial<'w, T, C> {
    work: &'w Work,
    tables: Vec<T>,
    found: Found,
    calls: PhantomData<C>,
}

impl<'w, T: PageTable, C: Calls<T>> CellTrial<'w, T, C> {
    /// The trial, with nothing prepared.
    pub(crate) fn new(work: &'w Work) -> Self {
        Self {
            work,
            tables: Vec::new(),
            found: Found::default(),
            calls: PhantomData,
        }
    }

    fn table(&self) -> Result<T> {
        let mut table = T::new(self.work.leaves())?;
        for piece in &self.work.before {
            table.map(piece.guest, piece.host, piece.access)?;
        }
        for leaf in &self.work.touched {
            table.map_leaf(leaf.guest, leaf.host, leaf.access)?;
            table.unmap_leaf(leaf.guest)?;
        }
        Ok(table)
    }

    /// Reports, in a function of its own, as translations and visits are: what one operation keeps in registers
    /// does not depend on how the others are compiled.
    #[inline(never)]
    fn unmap_reporting(&mut self) -> Result<Found> {
        let mut found = Found::default();
        self.each(|table, piece, work| {
            C::unmap_reporting(table, piece, work, |leaf| found.add(leaf))
        })?;
        Ok(found)
    }

    #[inline(never)]
    fn translate(&mut self) -> Result<Found> {
        let mut found = Found::default();
        let offset = self.work.offset;
        self.each(|table, piece, work| {
            let address = GuestPhysAddr::new(piece.guest.start().as_u64() + offset);
            if let Some(leaf) = C::translate(table, address, work) {
                found.add(leaf);
            }
            Ok(())
        })?;
        Ok(found)
    }

    #[inline(never)]
    fn visit(&mut self) -> Result<Found> {
        let mut found = Found::default();
        self.each(|table, piece, work| C::visit(table, piece, work, |leaf| found.add(leaf)))?;
        Ok(found)
    }

    #[inline(always)]
    fn each(&mut self, mut call: impl FnMut(&mut T, &Piece, &Work) -> Result<()>) -> Result<()> {
        for table in &mut self.tables {
            for piece in C::calls(self.work) {
                call(table, piece, self.work)?;
            }
        }
        Ok(())
    }
}

impl<T: PageTable, C: Calls<T>> Trial for CellTrial<'_, T, C> {
    fn contender(&self) -> &'static str {
        T::NAME
    }

    fn prepare(&mut self) -> Result<()> {
        self.found = Found::default();
        self.tables = (0..self.work.tables)
            .map(|_| self.table())
            .collect::<Result<_>>()?;
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut found = Found::default();
        match self.work.cell.operation {
            Operation::Map => self.each(C::map)?,
            Operation::Unmap => self.each(C::unmap)?,
            Operation::UnmapReporting => found = self.unmap_reporting()?,
            Operation::ProtectLess | Operation::ProtectMore => self.each(C::protect)?,
            Operation::Translate => found = self.translate()?,
            Operation::Visit => found = self.visit()?,
        }
        self.found = black_box(found);
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let bytes = self.work.cell.leaf.bytes();
        for table in &self.tables {
            for sample in self.work.samples() {
                let (leaf, expected) = sample?;
                let address = leaf.guest.start();
                let found = table.translate(address);
                let access = found.and_then(|found| T::access(found.flags));
                let place = found.map(|found| (found.host, found.bytes));
                let expected_place = expected.map(|_| (leaf.host, bytes));
                ensure!(
                    access == expected && place == expected_place,
                    "at {address}: found {found:?}, {access:?}, expected {expected:?}"
                );
            }
            for address in self.work.outside().into_iter().flatten() {
                ensure!(table.translate(address).is_none(), "{address} is mapped");
            }
        }
        let shows = [
            Operation::UnmapReporting,
            Operation::Translate,
            Operation::Visit,
        ];
        if shows.contains(&self.work.cell.operation) {
            let (leaves, targets) = self.work.found()?;
            let Found {
                leaves: found,
                targets: sum,
                bytes: size,
                ..
            } = self.found;
            ensure!(
                (found, sum, size) == (leaves, targets, leaves.wrapping_mul(bytes)),
                "{found} leaves of {leaves} were shown, or others"
            );
        }
        Ok(())
    }

    fn clean_up(&mut self) {
        self.tables.clear();
    }
}
