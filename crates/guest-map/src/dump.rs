//! The page tables as a walker finds them, in runs of equal leaves.

use std::fmt::Display;
use std::io::{self, Write};
use std::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{MemoryKind, NestedMmu, Permissions, Region, Translation};
use serde::Serialize;

use crate::architecture::with_format;
use crate::build::Built;
use crate::hardware_walk::{Walkable, WalkerMemory};
use crate::host::Host;
use crate::plan::Planned;
use crate::problem::{Failure, Problem};
use crate::report::Answer;
use crate::report::json::{Hexadecimal, Vm, hexadecimal};
use crate::report::progress::Progress;
use crate::report::size::size;
use crate::report::words::{count, memory};
use crate::report::wrap::Paragraph;
use crate::session::Machine;

/// The page tables of a machine.
#[derive(Debug, Serialize)]
pub(crate) struct Dump<'p> {
    vm: Vm<'p>,
    arch: String,
    mode: String,
    root_register: Hexadecimal,
    tables: Vec<Level>,
    leaves: Vec<Leaves>,
}

/// The tables whose entries cover so many bytes.
#[derive(Debug, Serialize)]
struct Level {
    entry_size: Hexadecimal,
    tables: u64,
    leaves: u64,
}

impl<'p> Dump<'p> {
    /// Builds the tables, and walks them.
    ///
    /// # Errors
    ///
    /// They cannot be built, or a walk faults.
    pub(crate) fn new(machine: &'p Machine<'_>) -> Result<Self, Failure> {
        let planned = &machine.planned;
        let host = Host::new(planned.hardware.geometry().output_bits());
        let dump = with_format!(planned.hardware, format => Self::build(planned, format, &host));
        dump.map_err(|text| Problem::of_file(machine.file, text).into())
    }

    fn build<F: Walkable>(
        planned: &'p Planned<'_, '_>,
        format: F,
        host: &Host,
    ) -> Result<Self, String> {
        let built = Built::new(planned, format, 1, host)?;
        Ok(Self {
            vm: Vm::of(planned),
            arch: planned.mode.architecture().to_string(),
            mode: planned.mode.to_string(),
            root_register: Hexadecimal(built.vm.address_space_id().root_register),
            tables: levels(&built),
            leaves: leaves(&built, host)?,
        })
    }
}

impl Answer for Dump<'_> {
    /// The tables by level, then the leaves.
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        let Vm { id, name } = self.vm;
        let (arch, mode, register) = (&self.arch, &self.mode, self.root_register.0);
        let heading = format!(
            "VM {id} {name:?}, {arch} {mode}: root register {register:#x}; host addresses that the \
             hypervisor chooses are made up"
        );
        Paragraph::write(&heading, output)?;
        writeln!(output)?;
        for level in &self.tables {
            let (tables, entry) = (count(level.tables, "table"), size(level.entry_size.0));
            let leaves = level.leaves;
            writeln!(
                output,
                "{tables} of {entry} entries, {leaves} of them leaves"
            )?;
        }
        let (guest, host) = ("guest", "host");
        writeln!(
            output,
            "\n{guest:25}  {host:12}  access, leaves, memory type"
        )?;
        self.leaves
            .iter()
            .try_for_each(|leaves| leaves.write(output))
    }
}

/// How many tables there are, from the root down.
fn levels<F: Walkable>(built: &Built<'_, F>) -> Vec<Level> {
    let statistics = built.vm.statistics();
    let levels = (0..).zip(statistics.tables).zip(statistics.leaves);
    let mut levels: Vec<_> = levels
        .filter(|((_, tables), _)| *tables > 0)
        .map(|((level, tables), leaves)| Level {
            entry_size: Hexadecimal(0x1000 << (9 * level)),
            tables,
            leaves,
        })
        .collect();
    levels.reverse();
    levels
}

/// Runs of equal leaves.
fn leaves<F: Walkable>(built: &Built<'_, F>, host: &Host) -> Result<Vec<Leaves>, String> {
    let mut runs: Vec<Run<_>> = Vec::new();
    let memory = WalkerMemory(host.memory());
    let total = built.vm.statistics().leaves.iter().sum();
    let mut progress = Progress::new("reading tables", total);
    let walk = built.mmu.try_for_each_region(&memory, |region| {
        progress.step();
        let next = match Run::new(&region) {
            Ok(next) => next,
            Err(text) => return ControlFlow::Break(text),
        };
        if !runs.last_mut().is_some_and(|run| run.absorb(&next)) {
            runs.push(next);
        }
        ControlFlow::Continue(())
    });
    match walk {
        ControlFlow::Break(text) => Err(text),
        ControlFlow::Continue(()) => Ok(runs.iter().map(Run::leaves).collect()),
    }
}

/// A run of equal leaves, in words.
#[derive(Debug, Serialize)]
struct Leaves {
    gpa: Hexadecimal,
    hpa: Hexadecimal,
    size: Hexadecimal,
    leaf_size: Hexadecimal,
    level: u8,
    count: u64,
    access: Vec<&'static str>,
    memory: &'static str,
    /// In the architecture's own terms.
    attributes: String,
}

impl Leaves {
    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let (start, host) = (self.gpa.0, self.hpa.0);
        let last = start + (self.size.0 - 1);
        let letter = |name, letter| {
            if self.access.contains(&name) {
                letter
            } else {
                '-'
            }
        };
        let columns = format!(
            "{start:#012x}-{last:#012x}  {host:#012x}  {}{}{} ",
            letter("read", 'r'),
            letter("write", 'w'),
            letter("execute", 'x'),
        );
        let mut paragraph = Paragraph::new(output, &columns)?;
        paragraph.add(
            "",
            &format!("{} of {},", self.count, size(self.leaf_size.0)),
        )?;
        paragraph.add("", &format!("level {},", self.level))?;
        paragraph.add("", self.memory)?;
        paragraph.end()
    }
}

/// Leaves of one level that follow each other in the guest and on the host, with the same attributes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run<A> {
    start: GuestPhysAddr,
    host: HostPhysAddr,
    level: u8,
    leaf_size: u64,
    /// How many leaves there are.
    count: u64,
    permissions: Permissions,
    kind: MemoryKind,
    attributes: A,
}

impl<A: Copy + Display + Eq> Run<A> {
    /// A run of one leaf.
    fn new<W: Display>(region: &Region<A, W>) -> Result<Self, String> {
        let start = region.start;
        let Translation {
            address,
            permissions,
            kind,
            attributes,
            ..
        } = match &region.outcome {
            Ok(leaf) => *leaf,
            Err(why) => return Err(format!("the entry for guest {start} faults: {why}")),
        };
        Ok(Self {
            start,
            host: address,
            level: region.level,
            leaf_size: region.size,
            count: 1,
            permissions,
            kind,
            attributes,
        })
    }

    const fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.leaf_size)
    }

    /// Takes in the next leaf if it goes on where the run ends.
    fn absorb(&mut self, next: &Self) -> bool {
        let start = self.start.checked_add(self.bytes());
        let host = self.host.checked_add(self.bytes());
        let expected = start.zip(host).map(|(start, host)| Self {
            start,
            host,
            count: 1,
            ..*self
        });
        let continues = expected == Some(*next);
        self.count += u64::from(continues);
        continues
    }

    fn leaves(&self) -> Leaves {
        let Permissions {
            read,
            write,
            execute_supervisor: execute,
            ..
        } = self.permissions;
        let access = [(read, "read"), (write, "write"), (execute, "execute")];
        let allowed = access.into_iter().filter(|(allowed, _)| *allowed);
        Leaves {
            gpa: hexadecimal(self.start),
            hpa: hexadecimal(self.host),
            size: Hexadecimal(self.bytes()),
            leaf_size: Hexadecimal(self.leaf_size),
            level: self.level,
            count: self.count,
            access: allowed.map(|(_, name)| name).collect(),
            memory: memory(self.kind),
            attributes: self.attributes.to_string(),
        }
    }
}
