//! Random sequences of operations, after each of which the hardware, the reference and the table are
//! asked the same questions. Since all three read the same entries, their common answer is held
//! against a model of what was asked for.

use alloc::format;
use core::ops::Range;

use nested_paging::guest_addr::{GuestPhysAddr, PAGE_SIZE_4K};
use nested_paging::nested_page_table::Format;
use nested_paging::{HostPhysAddr, MappingFlags};

use crate::ensure;
use crate::guest::{Bench, Guest};
use crate::machine::Machine;
use crate::model::{Model, with_permissions};
use crate::options::Options;
use crate::println;
use crate::probe::{Action, Way};
use crate::random::Random;
use crate::report::{Failure, Report};
use crate::scenarios::{GIB_1, KIB_4, MIB_2, WINDOW};

/// How many GiB of guest-physical addresses the sequence plays in.
const WINDOWS: u64 = 3;
/// One of this many probes is done by a guest, the others by an instruction where there is one.
const GUEST_PROBES: u64 = 4;
/// One of this many operations begins with everything unmapped.
const CLEAR: u64 = 100;

const FLAGS: [MappingFlags; 10] = [
    MappingFlags::READ,
    MappingFlags::READ_WRITE,
    MappingFlags::READ.union(MappingFlags::EXECUTE),
    MappingFlags::ACCESS,
    MappingFlags::EXECUTE,
    MappingFlags::PASSTHROUGH,
    MappingFlags::READ.union(MappingFlags::UNCACHED),
    MappingFlags::READ_WRITE.union(MappingFlags::USER),
    MappingFlags::ACCESS.union(MappingFlags::UNCACHED),
    MappingFlags::EXECUTE.union(MappingFlags::USER),
];

/// One change of the table.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Map {
        gpa: u64,
        size: u64,
        hpa: HostPhysAddr,
        flags: MappingFlags,
    },
    Unmap {
        gpa: u64,
        size: u64,
    },
    Protect {
        gpa: u64,
        size: u64,
        flags: MappingFlags,
    },
}

impl Operation {
    /// Where it begins, and how many bytes it concerns.
    const fn range(self) -> (u64, u64) {
        match self {
            Self::Map { gpa, size, .. }
            | Self::Unmap { gpa, size }
            | Self::Protect { gpa, size, .. } => (gpa, size),
        }
    }
}

/// Runs one sequence as one test.
pub(crate) fn run<M: Machine>(
    bench: &Bench<'_, M>,
    options: &Options<'_>,
    report: &mut Report<'_>,
) {
    let name = bench.mode.name;
    let bits = bench.mode.format.geometry().input_bits();
    report.test(format_args!("{name}::differential"), || {
        let mut sequence = Sequence {
            bench,
            guest: bench.guest()?,
            model: Model::default(),
            // Another sequence in each mode, all of one seed.
            random: Random::new(options.seed ^ u64::from(bits) << 56),
            done: 0,
            reached: 0,
            faulted: 0,
        };
        for step in 0..options.steps {
            let operation = sequence.choose();
            sequence.step(operation, options.probes).map_err(|reason| {
                format!("seed {} step {step} {operation:x?}: {reason}", options.seed)
            })?;
        }
        let Sequence {
            done,
            reached,
            faulted,
            ..
        } = sequence;
        println!(
            "{name}: seed {}, {} operations of which {done} took effect, {} probes: {reached} went \
             through, {faulted} faulted",
            options.seed,
            options.steps,
            reached + faulted,
        );
        Ok(())
    });
}

struct Sequence<'a, 'm, M: Machine> {
    bench: &'a Bench<'m, M>,
    guest: Guest<'m, M>,
    model: Model,
    random: Random,
    done: u64,
    reached: u64,
    faulted: u64,
}

impl<M: Machine> Sequence<'_, '_, M> {
    fn choose(&mut self) -> Operation {
        if self.random.once_in(CLEAR) {
            return Operation::Unmap {
                gpa: WINDOW,
                size: WINDOWS * GIB_1,
            };
        }
        let size = self.size();
        let gpa = self.range_start(size);
        match self.random.below(10) {
            0..6 => self.map(gpa, size),
            6..8 => Operation::Protect {
                gpa,
                size,
                flags: self.random.pick(&FLAGS) & MappingFlags::PERMISSIONS,
            },
            _ => Operation::Unmap { gpa, size },
        }
    }

    /// Half of the mappings are as far out of step as their sizes allow for huge leaves.
    fn map(&mut self, gpa: u64, size: u64) -> Operation {
        let arena = self.bench.machine.arena();
        let room = arena.size().saturating_sub(size) / KIB_4 + 1;
        let mut offset = self.random.below(room) * KIB_4;
        for block in [GIB_1, MIB_2] {
            let aligned = gpa % block + offset / block * block;
            if aligned + size <= arena.size() && self.random.once_in(2) {
                offset = aligned;
            }
        }
        Operation::Map {
            gpa,
            size,
            hpa: HostPhysAddr::new(arena.start().as_u64() + offset),
            flags: self.random.pick(&FLAGS),
        }
    }

    fn size(&mut self) -> u64 {
        let unit = self.random.pick(&[KIB_4, KIB_4, MIB_2, MIB_2, GIB_1]);
        let count = match unit {
            GIB_1 => 1,
            MIB_2 => 1 + self.random.below(4),
            _ => 1 + self.random.below(600),
        };
        (unit * count).min(self.bench.machine.arena().size())
    }

    /// A start such that `size` bytes fit the windows; half of them aligned to a block.
    fn range_start(&mut self, size: u64) -> u64 {
        let start = self.page();
        let start = match self.random.below(4) {
            0 => start & !(GIB_1 - 1),
            1 => start & !(MIB_2 - 1),
            _ => start,
        };
        start.min(WINDOW + WINDOWS * GIB_1 - size)
    }

    /// A page of the windows. Few blocks and few places in them, so that operations meet.
    fn page(&mut self) -> u64 {
        let window = self.random.below(WINDOWS) * GIB_1;
        let block = self.random.pick(&[0, 1, 2, 3, 255, 510, 511]) * MIB_2;
        let page = self
            .random
            .pick(&[0, 1, 2, 3, 8, 100, 255, 256, 509, 510, 511])
            * KIB_4;
        WINDOW + window + block + page
    }

    /// Half of the probes at the edges of what changes are made before, so that the hardware has
    /// something to forget, and no guest runs between those and the ones after.
    fn step(&mut self, operation: Operation, probes: u64) -> Result<(), Failure> {
        let (gpa, size) = operation.range();
        let edges = [
            gpa,
            gpa.wrapping_sub(PAGE_SIZE_4K),
            gpa + size - PAGE_SIZE_4K,
            gpa + size,
            gpa + self.random.below(size / PAGE_SIZE_4K) * PAGE_SIZE_4K,
        ];
        let edges = || edges.into_iter().take((probes / 2) as usize);
        for page in edges() {
            self.probe(page, Way::Instruction)?;
        }
        self.apply(operation)?;
        for page in edges() {
            self.probe(page, Way::Instruction)?;
        }
        for _ in 2 * edges().len() as u64..probes {
            let page = self.page();
            let way = match self.random.once_in(GUEST_PROBES) {
                true => Way::Guest,
                false => Way::Instruction,
            };
            self.probe(page, way)?;
        }
        Ok(())
    }

    /// Has the machine do `operation`, which must succeed exactly when it should, and the model.
    fn apply(&mut self, operation: Operation) -> Result<(), Failure> {
        let (result, legal) = match operation {
            Operation::Map {
                gpa,
                size,
                hpa,
                flags,
            } => {
                let is_free = self.model.parts(&(gpa..gpa + size)).is_empty();
                let legal = is_free && self.bench.accepts(flags);
                if legal {
                    self.model.map(gpa..gpa + size, hpa.as_u64(), flags);
                }
                (self.guest.map(gpa, hpa, size, flags), legal)
            }
            Operation::Unmap { gpa, size } => {
                self.model.unmap(&(gpa..gpa + size));
                (self.guest.unmap(gpa, size), true)
            }
            Operation::Protect { gpa, size, flags } => {
                let legal = self.may_protect(&(gpa..gpa + size), flags);
                if legal {
                    self.model.protect(&(gpa..gpa + size), flags);
                }
                (self.guest.protect(gpa, size, flags), legal)
            }
        };
        ensure!(
            result.is_ok() == legal,
            "the result is {result:?}, success should be {legal}"
        );
        self.done += u64::from(legal);
        Ok(())
    }

    fn may_protect(&self, range: &Range<u64>, flags: MappingFlags) -> bool {
        let parts = self.model.parts(range);
        let mut found = parts
            .iter()
            .map(|piece| with_permissions(piece.flags, flags));
        self.bench.accepts(flags) && found.all(|flags| self.bench.accepts(flags))
    }

    fn probe(&mut self, page: u64, way: Way) -> Result<(), Failure> {
        let action = match self.random.below(3) {
            0 => Action::Load,
            1 => Action::Store(self.random.next()),
            _ => Action::Execute,
        };
        let reached = self.guest.ask(GuestPhysAddr::new(page), action, way)?;
        let expected = self.model.at(page);
        let expected = expected.filter(|(_, flags)| flags.contains(action.flag()));
        let expected = expected.map(|(host, _)| HostPhysAddr::new(host));
        ensure!(
            reached == expected,
            "{action:x?} at {page:#x} by {way:?}: hardware, reference and table say {reached:x?}, \
             but {expected:x?} was asked for"
        );
        match reached {
            Some(_) => self.reached += 1,
            None => self.faulted += 1,
        }
        Ok(())
    }
}
