//! The page tables as a walker finds them, in runs of equal leaves.

use std::fmt::Display;
use std::io::{self, Write};
use std::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use reference_mmu::{MemoryKind, NestedMmu, Permissions, Region, Translation};

use crate::architecture::with_format;
use crate::build::Built;
use crate::hardware_walk::{Walkable, WalkerMemory};
use crate::host::Host;
use crate::plan::Planned;
use crate::problem::{Failure, Problem};
use crate::report::size::size;
use crate::report::words::{count, memory};
use crate::report::wrap::Paragraph;
use crate::session::Machine;

/// Prints the tables by level, then the leaves.
pub(crate) fn dump(machine: &Machine<'_>, output: &mut impl Write) -> Result<(), Failure> {
    let planned = &machine.planned;
    let host = Host::new(planned.hardware.geometry().output_bits());
    let file = machine.file;
    with_format!(planned.hardware, format => dump_tables(planned, file, format, &host, output))
}

fn dump_tables<F: Walkable>(
    planned: &Planned<'_, '_>,
    file: &str,
    format: F,
    host: &Host,
    output: &mut impl Write,
) -> Result<(), Failure> {
    let refuse = |text| Failure::from(Problem::of_file(file, text));
    let built = Built::new(planned, format, 1, host).map_err(refuse)?;
    let config = planned.config;
    let register = built.vm.address_space_id().root_register;
    let mut paragraph = Paragraph::new(output, &format!("VM {}", config.id))?;
    paragraph.add_words(&format!("{:?},", config.name))?;
    paragraph.add_words(&format!(
        "{} {}: root register {register:#x}; host addresses that the hypervisor chooses are made up",
        planned.mode.architecture(),
        planned.mode,
    ))?;
    paragraph.end()?;
    writeln!(output)?;
    write_tables(&built, output)?;
    let mut run: Option<Run<_>> = None;
    let memory = WalkerMemory(host.memory());
    let walk = built.mmu.try_for_each_region(&memory, |region| {
        let next = match Run::new(&region) {
            Ok(next) => next,
            Err(text) => return ControlFlow::Break(refuse(text)),
        };
        if run.as_mut().is_some_and(|run| run.absorb(&next)) {
            return ControlFlow::Continue(());
        }
        match run.replace(next).map(|run| run.write(output)) {
            Some(Err(error)) => ControlFlow::Break(error.into()),
            _ => ControlFlow::Continue(()),
        }
    });
    if let ControlFlow::Break(failure) = walk {
        return Err(failure);
    }
    if let Some(run) = run {
        run.write(output)?;
    }
    Ok(())
}

/// How many tables there are, from the root down.
fn write_tables<F: Walkable>(built: &Built<'_, F>, output: &mut impl Write) -> io::Result<()> {
    let statistics = built.vm.statistics();
    let levels = ["4 KiB", "2 MiB", "1 GiB", "512 GiB", "256 TiB"];
    let rows = levels
        .into_iter()
        .zip(statistics.tables)
        .zip(statistics.leaves);
    for ((entry, tables), leaves) in rows.rev().filter(|((_, tables), _)| *tables > 0) {
        writeln!(
            output,
            "{} of {entry} entries, {leaves} of them leaves",
            count(tables, "table"),
        )?;
    }
    let (guest, host) = ("guest", "host");
    writeln!(
        output,
        "\n{guest:25}  {host:12}  access, leaves, memory type"
    )
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

    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let last = self.start.as_u64() + (self.bytes() - 1);
        let letter = |allowed, letter| if allowed { letter } else { '-' };
        let Permissions {
            read,
            write,
            execute_supervisor: execute,
            ..
        } = self.permissions;
        let range = format!("{:#012x}-{last:#012x}", self.start.as_u64());
        let (leaves, leaf) = (self.count, size(self.leaf_size));
        let mut paragraph = Paragraph::new(
            output,
            &format!(
                "{range}  {:#012x}  {}{}{} ",
                self.host.as_u64(),
                letter(read, 'r'),
                letter(write, 'w'),
                letter(execute, 'x'),
            ),
        )?;
        paragraph.add("", &format!("{leaves} of {leaf},"))?;
        paragraph.add("", &format!("level {},", self.level))?;
        paragraph.add("", memory(self.kind))?;
        paragraph.end()
    }
}
