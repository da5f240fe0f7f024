//! Whether the tables that are built are those that were planned.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::ops::ControlFlow;

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::Format;
use reference_mmu::{NestedMmu, Permissions, Region, Translation};
use region_planner::{LeafCounts, Mapping};
use serde::{Serialize, Serializer};

use crate::architecture::{Mode, with_format};
use crate::build::Built;
use crate::cli::Options;
use crate::hardware_walk::{Walkable, WalkerMemory};
use crate::host::Host;
use crate::loads::check_loads;
use crate::plan::Planned;
use crate::problem::{Failure, Problem, line_at};
use crate::report::Answer;
use crate::report::json::{Sequence, Tables, Vm, WarningObject};
use crate::report::progress::Progress;
use crate::report::table::write_warnings;
use crate::report::words::count;
use crate::report::wrap::Paragraph;
use crate::session::{Machine, refused_warning};
use crate::sharing::find_shared;
use crate::warning::Warning;

/// Machines that passed.
#[derive(Debug)]
pub(crate) struct Checked<'m, 's> {
    machines: &'m [Machine<'s>],
    options: &'m Options,
    /// What is about several machines.
    shared: Vec<Warning>,
}

impl<'m, 's> Checked<'m, 's> {
    /// Checks every machine, then what they share.
    ///
    /// # Errors
    ///
    /// Everything that fails.
    pub(crate) fn new(machines: &'m [Machine<'s>], options: &'m Options) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        for machine in machines {
            match vmid_of(machine) {
                Ok(vmid) => {
                    let built = check_machine(machine, vmid);
                    problems.extend(built.err().map(|text| Problem::of_file(machine.file, text)));
                }
                Err(problem) => problems.push(problem),
            }
            problems.extend(check_loads(machine));
        }
        problems.extend(equal_ids(machines));
        let shared = find_shared(machines);
        problems.extend(shared.ram);
        if options.strict {
            let refused = shared.devices.iter();
            let refused = refused.filter(|(_, warning)| !options.allows(warning));
            problems.extend(refused.map(|(file, warning)| refused_warning(file, warning)));
        }
        if !problems.is_empty() {
            return Err(Failure::Refused(problems));
        }
        let shared = shared.devices.into_iter();
        let shared = shared.map(|(_, warning)| warning).collect();
        Ok(Self {
            machines,
            options,
            shared,
        })
    }
}

impl Answer for Checked<'_, '_> {
    fn write_text(&self, output: &mut impl Write) -> io::Result<()> {
        let number = self.machines.len();
        for machine in self.machines {
            write_summary(machine, output)?;
            write_warnings(machine.planned.warnings(), self.options, output)?;
        }
        if number > 1 {
            writeln!(output, "{number} machines: no host page of RAM is shared")?;
        }
        write_warnings(self.shared.iter().cloned(), self.options, output)
    }
}

impl Serialize for Checked<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<M: Serialize, W: Serialize> {
            machines: M,
            warnings: W,
        }
        let document = Document {
            machines: Sequence(|| self.machines.iter().map(CheckedMachine)),
            warnings: Sequence(|| self.shared.iter().cloned().map(WarningObject)),
        };
        document.serialize(serializer)
    }
}

/// One of the machines.
struct CheckedMachine<'m, 's>(&'m Machine<'s>);

impl Serialize for CheckedMachine<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Object<'p, W: Serialize> {
            file: &'p str,
            vm: Vm<'p>,
            arch: String,
            mode: String,
            mappings: usize,
            tables: Tables,
            warnings: W,
        }
        let planned = &self.0.planned;
        let object = Object {
            file: self.0.file,
            vm: Vm::of(planned),
            arch: planned.mode.architecture().to_string(),
            mode: planned.mode.to_string(),
            mappings: planned.plan.mapping_count(),
            tables: Tables::of(planned),
            warnings: Sequence(|| planned.warnings().map(WarningObject)),
        };
        object.serialize(serializer)
    }
}

/// The machine's id, which the hypervisor uses as the VMID.
fn vmid_of(machine: &Machine<'_>) -> Result<u16, Problem> {
    let planned = &machine.planned;
    let id = planned.config.id;
    let bits = with_format!(planned.hardware, format => format.vmid_bits());
    if let (0, Mode::Npt(mode)) = (id, planned.mode) {
        let text = format!("[base] id 0 is no VMID in mode {mode}: ASID 0 is the host's");
        return Err(machine.problem_at(planned.config.id_offset, text));
    }
    match u16::try_from(id) {
        Ok(vmid) if id < 1 << bits => Ok(vmid),
        _ => {
            let text = format!(
                "[base] id {id} is no VMID: they have {bits} bits on {} in mode {}, so that {} is the \
                 last",
                planned.mode.architecture(),
                planned.mode,
                (1_u64 << bits) - 1,
            );
            Err(machine.problem_at(planned.config.id_offset, text))
        }
    }
}

/// Each machine with the id of an earlier one.
fn equal_ids(machines: &[Machine<'_>]) -> Vec<Problem> {
    let mut first_with = HashMap::new();
    let mut problems = Vec::new();
    for machine in machines {
        let config = machine.planned.config;
        match first_with.entry(config.id) {
            Entry::Vacant(vacant) => drop(vacant.insert(machine)),
            Entry::Occupied(first) => {
                let first = first.get();
                let line = line_at(first.text, first.planned.config.id_offset);
                let text = format!(
                    "[base] id {} is that of VM {:?} too ({}:{line}): give each machine its own",
                    config.id, first.planned.config.name, first.file,
                );
                problems.push(machine.problem_at(config.id_offset, text));
            }
        }
    }
    problems
}

fn write_summary(machine: &Machine<'_>, output: &mut impl Write) -> io::Result<()> {
    let planned = &machine.planned;
    let (config, cost) = (planned.config, &planned.cost);
    let LeafCounts {
        size_4k,
        size_2m,
        size_1g,
    } = cost.leaves;
    let mut paragraph = Paragraph::new(output, &format!("{}: as planned:", machine.file))?;
    let text = format!(
        "VM {} {:?}, {} {}: {}, {} of tables, leaves {size_4k} of 4K, {size_2m} of 2M, {size_1g} of 1G",
        config.id,
        config.name,
        planned.mode.architecture(),
        planned.mode,
        count(planned.plan.mapping_count() as u64, "mapping"),
        count(cost.frames, "frame"),
    );
    paragraph.add_words(&text)?;
    paragraph.end()
}

fn check_machine(machine: &Machine<'_>, vmid: u16) -> Result<(), String> {
    let planned = &machine.planned;
    let host = Host::new(planned.hardware.geometry().output_bits());
    with_format!(planned.hardware, format => check_tables(planned, format, vmid, &host))?;
    let lost = host.frames_out();
    match host.violations().first() {
        Some(violation) => Err(format!("frames of tables were misused: {violation:?}")),
        None if lost > 0 => Err(format!("{lost} frames of tables were not given back")),
        None => Ok(()),
    }
}

/// Builds the tables, walks them, and compares what they map and cost with the plan.
fn check_tables<F: Walkable>(
    planned: &Planned<'_, '_>,
    format: F,
    vmid: u16,
    host: &Host,
) -> Result<(), String> {
    let built = Built::new(planned, format, vmid, host)?;
    let mut comparison = Comparison {
        built: &built,
        mappings: planned.plan.mappings(),
        current: None,
        leaves: LeafCounts::default(),
    };
    let memory = WalkerMemory(host.memory());
    let LeafCounts {
        size_4k,
        size_2m,
        size_1g,
    } = planned.cost.leaves;
    let total = size_4k.saturating_add(size_2m).saturating_add(size_1g);
    let mut progress = Progress::new("comparing", total);
    let walk = built.mmu.try_for_each_region(&memory, |region| {
        progress.step();
        comparison.see(&region)
    });
    drop(progress);
    if let ControlFlow::Break(difference) = walk {
        return Err(difference);
    }
    comparison.end()?;
    let (leaves, frames) = (comparison.leaves, built.frames);
    let cost = &planned.cost;
    if leaves != cost.leaves {
        return Err(format!(
            "the tables have {leaves:?}, planned were {:?}",
            cost.leaves
        ));
    }
    if frames != cost.frames {
        return Err(format!(
            "the tables take {frames} frames, planned were {}",
            cost.frames
        ));
    }
    Ok(())
}

/// Compares leaves with mappings, both in ascending order.
struct Comparison<'c, 'h, F: Walkable, I> {
    built: &'c Built<'h, F>,
    mappings: I,
    current: Option<Expected>,
    leaves: LeafCounts,
}

/// What a walk has to find from here on.
#[derive(Clone, Copy)]
struct Expected {
    guest: GuestPhysAddr,
    last: GuestPhysAddr,
    host: HostPhysAddr,
    flags: MappingFlags,
}

impl<'m, 'a: 'm, F: Walkable, I: Iterator<Item = Mapping<'m, 'a>>> Comparison<'_, '_, F, I> {
    fn see<A: std::fmt::Debug, W: std::fmt::Display>(
        &mut self,
        region: &Region<A, W>,
    ) -> ControlFlow<String> {
        let (start, size) = (region.start, region.size);
        let difference = match (&region.outcome, self.expected()) {
            (Err(why), _) => Some(format!("the entry for guest {start} faults: {why}")),
            (Ok(_), None) => Some(format!(
                "guest {start} + {size:#x} is mapped, and not planned"
            )),
            (Ok(leaf), Some(expected)) => self.compare(start, size, leaf, expected),
        };
        match difference {
            Some(difference) => ControlFlow::Break(difference),
            None => ControlFlow::Continue(()),
        }
    }

    /// The rest of the first mapping that was not walked to its end.
    fn expected(&mut self) -> Option<Expected> {
        if self.current.is_none() {
            let mapping = self.mappings.next()?;
            self.current = Some(Expected {
                guest: mapping.guest().start(),
                last: mapping.guest().last(),
                host: self.built.host_range(&mapping)?.start(),
                flags: mapping.flags(),
            });
        }
        self.current
    }

    fn compare<A: std::fmt::Debug>(
        &mut self,
        start: GuestPhysAddr,
        size: u64,
        leaf: &Translation<A>,
        expected: Expected,
    ) -> Option<String> {
        let Expected {
            guest,
            last,
            host,
            flags,
        } = expected;
        if start != guest {
            return Some(format!(
                "guest {guest} is planned, and the next leaf is at {start}"
            ));
        }
        if leaf.address != host {
            return Some(format!(
                "guest {start} leads to host {}, planned was {host}",
                leaf.address
            ));
        }
        if leaf.permissions != permissions(flags) || leaf.kind != self.built.memory_kind(flags) {
            let (found, kind) = (leaf.permissions, leaf.kind);
            return Some(format!(
                "guest {start} has {found:?} and {kind:?}, planned was {flags}"
            ));
        }
        self.count(size);
        let next = start.checked_add(size);
        self.current = match next {
            Some(next) if next <= last => Some(Expected {
                guest: next,
                host: host.checked_add(size)?,
                ..expected
            }),
            _ if start.checked_add(size - 1) != Some(last) => {
                return Some(format!("the leaf at guest {start} goes beyond {last}"));
            }
            _ => None,
        };
        None
    }

    fn count(&mut self, size: u64) {
        match size {
            0x1000 => self.leaves.size_4k += 1,
            0x20_0000 => self.leaves.size_2m += 1,
            0x4000_0000 => self.leaves.size_1g += 1,
            // The numbers differ then, which is the difference that is reported.
            _ => {}
        }
    }

    fn end(&mut self) -> Result<(), String> {
        match self.expected() {
            None => Ok(()),
            Some(expected) => Err(format!(
                "guest {} is planned, and not mapped",
                expected.guest
            )),
        }
    }
}

const fn permissions(flags: MappingFlags) -> Permissions {
    let execute = flags.contains(MappingFlags::EXECUTE);
    Permissions {
        read: flags.contains(MappingFlags::READ),
        write: flags.contains(MappingFlags::WRITE),
        execute_user: execute,
        execute_supervisor: execute,
    }
}
