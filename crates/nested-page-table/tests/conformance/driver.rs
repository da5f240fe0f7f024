//! Runs the steps of a case and judges the table after each.

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Level, MapError, ProtectError, UnmapError, UnmappedLeaf};
use simulated_host::{Failure, Violation};

use crate::model::{Model, Stretch, normal};
use crate::operation::{Operation, Step};
use crate::reference::ACCESSES;
use crate::variant::{Operations, Table, Variant};

/// What an operation came to, whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Unaligned,
    GuestTooWide,
    HostTooWide,
    Flags,
    NotAPermission,
    Leaf,
    Conflict,
    OutOfMemory,
}

pub(crate) fn run(variant: Variant, steps: &[Step]) {
    let host = variant.host;
    host.simulated_frames().fail_at(1, Failure::Once);
    assert!(
        (variant.new_table)(host).is_none(),
        "a table without a root"
    );
    let table = (variant.new_table)(host).expect("a table");
    let mut world = World {
        table,
        variant,
        model: Model::default(),
        touched: Vec::new(),
    };
    world.judge();
    for step in steps {
        world.step(step);
        world.judge();
    }
    world.end();
}

/// The table comes first: it is dropped before the host that it borrows.
struct World {
    table: Box<dyn Table>,
    variant: Variant,
    model: Model,
    /// Pages that the guest has accessed, and whether it wrote.
    touched: Vec<(u64, bool)>,
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Single(operation) => self.single(operation),
            Step::Batch(operations) => self.batch(operations),
            Step::Direct(operations) => self.direct(operations),
            Step::Touch { pick, write } => self.touch(*pick, *write),
        }
    }

    /// One operation; each of its allocations fails once, and then nothing must have changed.
    fn single(&mut self, operation: &Operation) {
        let expected = self.expect(operation);
        let frames = self.variant.host.simulated_frames();
        for k in 1.. {
            let before = frames.snapshot();
            let requests = self.variant.host.requests().len();
            frames.fail_at(k, Failure::Once);
            let mut came_to = (Verdict::Done, Vec::new());
            self.table
                .edit(&mut |edit| came_to = perform(edit, operation, &mut || ()));
            frames.fail_at(0, Failure::Once);
            let (verdict, reported) = came_to;
            if verdict == Verdict::OutOfMemory {
                assert_eq!(expected, Verdict::Done, "{operation:x?}");
                assert_eq!(before.differences(&frames.snapshot()), []);
                assert_eq!(
                    self.variant.host.requests().len(),
                    requests,
                    "nothing changed"
                );
                continue;
            }
            assert_eq!(verdict, expected, "{operation:x?}");
            if verdict != Verdict::Done {
                assert_eq!(before.differences(&frames.snapshot()), []);
            }
            self.check_reported(operation, verdict, reported);
            break;
        }
        if expected == Verdict::Done {
            self.apply(operation);
            self.check_shape(operation);
        }
    }

    /// New leaves are as large as they may be, and no table is left that an unmapped range covers.
    fn check_shape(&self, operation: &Operation) {
        match *operation {
            Operation::Map {
                guest,
                size,
                host,
                flags,
            } => {
                let mut at = guest;
                while at < guest + size {
                    let level =
                        self.largest_leaf(at, guest + size - at, host + (at - guest), flags);
                    let leaf = self
                        .table
                        .translate(GuestPhysAddr::new(at))
                        .expect("was mapped");
                    assert_eq!(
                        (leaf.guest.start().as_u64(), leaf.level),
                        (at, level),
                        "{leaf}"
                    );
                    at += leaf.guest.size();
                }
            }
            Operation::Unmap { guest, size } | Operation::UnmapReporting { guest, size } => {
                let range = GuestPhysRange::from_start_size(GuestPhysAddr::new(guest), size);
                let left = self.table.tables().into_iter();
                let covered = left.filter(|table| range.unwrap().contains_range(table));
                assert_eq!(covered.collect::<Vec<_>>(), []);
            }
            _ => {}
        }
    }

    /// The largest leaf at a guest address with this much left to map.
    fn largest_leaf(&self, guest: u64, left: u64, host: u64, flags: MappingFlags) -> Level {
        let cap = self.variant.policy.largest_for(flags);
        let cap = cap.min(self.variant.geometry.largest_leaf());
        let fits = |level: &Level| {
            let size = 0x1000_u64 << (9 * u32::from(level.number()));
            guest.is_multiple_of(size) && host.is_multiple_of(size) && size <= left
        };
        cap.up_to().rev().find(fits).expect("a page always fits")
    }

    /// Several operations whose invalidation is gathered: in one edit, or each in one that is leaked,
    /// which the next has to make up for. The first allocation of each operation fails once.
    fn batch(&mut self, operations: &[Operation]) {
        let (variant, table) = (&self.variant, &mut self.table);
        let mut model = self.model.clone();
        let mut done = Vec::new();
        let mut step = |edit: &mut dyn Operations, operation: &Operation| {
            let verdict = perform_at_second_try(variant, edit, operation);
            assert_eq!(
                verdict,
                expect(variant, &model, operation),
                "{operation:x?}"
            );
            if verdict == Verdict::Done {
                apply(&mut model, operation);
                done.push(operation.clone());
            }
        };
        if operations.len().is_multiple_of(2) {
            table.edit(&mut |edit| {
                operations
                    .iter()
                    .for_each(|operation| step(edit, operation))
            });
        } else {
            for operation in operations {
                table.leaked_edit(&mut |edit| step(edit, operation));
            }
            table.edit(&mut |_| ());
        }
        for operation in &done {
            self.apply(operation);
        }
    }

    /// Several operations, each an edit of its own, after which no CPU may remember anything else.
    /// The first allocation of each operation fails once.
    fn direct(&mut self, operations: &[Operation]) {
        for operation in operations {
            let expected = self.expect(operation);
            let verdict = perform_at_second_try(&self.variant, self.table.direct(), operation);
            assert_eq!(verdict, expected, "{operation:x?}");
            self.variant.host.machine().check();
            if verdict == Verdict::Done {
                self.apply(operation);
                self.check_shape(operation);
            }
        }
    }

    fn touch(&mut self, pick: usize, write: bool) {
        let stretches = self.model.normal();
        if stretches.is_empty() {
            return;
        }
        let stretch = stretches[pick % stretches.len()];
        let gpa = stretch.guest + (pick as u64).wrapping_mul(0x9e37_79b9_7f4a_7000) % stretch.size;
        let gpa = gpa & !0xfff;
        let memory = self.variant.host.memory();
        let register = self.table.root_register();
        if self.variant.reference.touch(memory, register, gpa, write) {
            self.touched.push((gpa, write));
        }
    }

    fn expect(&self, operation: &Operation) -> Verdict {
        expect(&self.variant, &self.model, operation)
    }

    fn apply(&mut self, operation: &Operation) {
        apply(&mut self.model, operation);
        let model = &self.model;
        self.touched
            .retain(|(gpa, _)| !model.within(*gpa, 0x1000).is_empty());
    }

    /// What was reported is what was mapped, to the page.
    fn check_reported(&self, operation: &Operation, verdict: Verdict, reported: Vec<UnmappedLeaf>) {
        let Operation::UnmapReporting { guest, size } = *operation else {
            return;
        };
        let leaves = |leaf: &UnmappedLeaf| Stretch {
            guest: leaf.guest.start().as_u64(),
            size: leaf.guest.size(),
            host: leaf.host.as_u64(),
            flags: MappingFlags::empty(),
        };
        let plain = |stretch: Stretch| Stretch {
            flags: MappingFlags::empty(),
            ..stretch
        };
        let mut expected = Vec::new();
        if verdict == Verdict::Done {
            expected = self
                .model
                .within(guest, size)
                .into_iter()
                .map(plain)
                .collect();
        }
        assert_eq!(
            normal(reported.iter().map(leaves).collect()),
            normal(expected)
        );
        for (gpa, write) in &self.touched {
            let address = GuestPhysAddr::new(*gpa);
            if let Some(leaf) = reported.iter().find(|leaf| leaf.guest.contains(address)) {
                assert!(leaf.accessed && (leaf.dirty || !write), "{leaf:?} was used");
            }
        }
    }

    fn judge(&mut self) {
        let host = self.variant.host;
        let register = self.table.root_register();
        host.machine().check();
        assert_eq!(self.violations(), []);
        let expected = self.model.normal();
        self.judge_by_reference(&expected, register);
        self.judge_by_table(&expected);
        for (gpa, write) in &self.touched {
            let (accessed, dirty) = self.variant.reference.state(host.memory(), register, *gpa);
            assert!(accessed && (dirty || !write), "state of {gpa:#x} was lost");
        }
        assert_eq!(self.notes(), [], "the invalidation has completed");
        host.machine().touch_all(register);
        assert_eq!(self.violations(), []);
    }

    /// The words of tables that no hardware takes for present, and are not what an absent entry contains.
    /// Present are those with one of the bits 0, 1, 2 and 10, on any of the architectures.
    fn notes(&self) -> Vec<HostPhysAddr> {
        const PRESENT: u64 = 0b111 | 1 << 10;
        let memory = self.variant.host.memory();
        let frames = self.variant.host.simulated_frames().outstanding();
        let words = frames.into_iter().flat_map(|frame| {
            let words = (frame.as_u64()..).step_by(8).take(512);
            words.map(HostPhysAddr::new)
        });
        let is_note = |word: &HostPhysAddr| {
            let bits = memory.read(*word).expect("a frame is memory");
            bits != self.variant.absent && bits & PRESENT == 0
        };
        words.filter(is_note).collect()
    }

    /// What went wrong. Guests map host pages at random here, the table's own included, so that a
    /// mapped page which is given back says nothing.
    fn violations(&self) -> Vec<Violation> {
        let mut violations = self.variant.host.take_violations();
        violations.retain(|violation| !matches!(violation, Violation::FreedWhileMapped { .. }));
        violations
    }

    /// A complete walk by the reference MMU sees what the model says.
    fn judge_by_reference(&self, expected: &[Stretch], register: u64) {
        let reference = &self.variant.reference;
        let leaves = reference.leaves(self.variant.host.memory(), register);
        let mut leaves = leaves.iter().peekable();
        for stretch in expected {
            let (permissions, kind) = reference.expected(stretch.flags);
            let mut covered = 0;
            while covered < stretch.size {
                let leaf = leaves
                    .next()
                    .unwrap_or_else(|| panic!("{stretch:x?} is not mapped"));
                assert_eq!(
                    leaf.guest,
                    stretch.guest + covered,
                    "{leaf:x?} {stretch:x?}"
                );
                assert_eq!(leaf.host, stretch.host + covered, "{leaf:x?} {stretch:x?}");
                assert_eq!(
                    (leaf.permissions, leaf.kind),
                    (permissions, kind),
                    "{leaf:x?}"
                );
                covered += leaf.size;
            }
            assert_eq!(covered, stretch.size, "{stretch:x?}");
            for gpa in [stretch.guest, stretch.guest + stretch.size - 1] {
                let usable = reference.usable(self.variant.host.memory(), register, gpa);
                assert_eq!(
                    usable,
                    ACCESSES.map(|access| permissions.allow(access)),
                    "{gpa:#x}"
                );
            }
        }
        assert_eq!(leaves.next(), None, "more is mapped than should be");
    }

    /// The table's own view, which also has what no hardware sees.
    fn judge_by_table(&self, expected: &[Stretch]) {
        let mappings = self.table.mappings();
        let seen = mappings.iter().map(|mapping| Stretch {
            guest: mapping.guest.start().as_u64(),
            size: mapping.guest.size(),
            host: mapping.host.as_u64(),
            flags: mapping.flags,
        });
        assert_eq!(normal(seen.collect()), expected);
        for mapping in &mappings {
            assert_eq!(self.table.translate(mapping.guest.start()), Some(*mapping));
            assert_eq!(self.table.translate(mapping.guest.last()), Some(*mapping));
        }
        for stretch in expected {
            let after = GuestPhysAddr::new(stretch.guest + stretch.size);
            let mapped = !self.model.within(after.as_u64(), 0x1000).is_empty();
            assert_eq!(self.table.translate(after).is_some(), mapped, "{after}");
        }
    }

    /// Drops the table while the CPUs still have its root in their registers: they walk it again as
    /// soon as they have forgotten. They must find nothing below the root, which alone is theirs.
    fn end(self) {
        let host = self.variant.host;
        drop(self.table);
        let early = |violation: &Violation| {
            !matches!(
                violation,
                Violation::FreedWhileMapped { .. } | Violation::FreedWhileRoot { .. }
            )
        };
        let violations = host.take_violations();
        assert!(!violations.iter().any(early), "{violations:?}");
        assert_eq!(host.simulated_frames().outstanding(), []);
        drop(self.variant.owner);
    }
}

fn apply(model: &mut Model, operation: &Operation) {
    match *operation {
        Operation::Map {
            guest,
            size,
            host,
            flags,
        } => {
            model.map(Stretch {
                guest,
                size,
                host,
                flags,
            });
        }
        Operation::Unmap { guest, size } | Operation::UnmapReporting { guest, size } => {
            model.unmap(guest, size);
        }
        Operation::Protect { guest, size, flags } => model.protect(guest, size, flags),
        Operation::ReclaimEmpty => {}
    }
}

/// What the rules say about an operation, in the order in which they are checked.
fn expect(variant: &Variant, model: &Model, operation: &Operation) -> Verdict {
    let fits =
        |start: u64, size: u64, bits: u32| u128::from(start) + u128::from(size) <= 1_u128 << bits;
    let odd = |number: u64| !number.is_multiple_of(0x1000);
    let geometry = &variant.geometry;
    let input = |guest, size| match () {
        () if odd(guest) || odd(size) => Verdict::Unaligned,
        () if !fits(guest, size, geometry.input_bits()) => Verdict::GuestTooWide,
        () => Verdict::Done,
    };
    match *operation {
        Operation::ReclaimEmpty => Verdict::Done,
        Operation::Map { guest, size, .. }
        | Operation::Unmap { guest, size }
        | Operation::UnmapReporting { guest, size }
        | Operation::Protect { guest, size, .. }
            if size == 0 || !fits(guest, size, 64) =>
        {
            // No range: the operation cannot even be asked for.
            Verdict::Unaligned
        }
        Operation::Map { host, .. } if odd(host) => Verdict::Unaligned,
        Operation::Map {
            guest,
            size,
            host,
            flags,
        } => match input(guest, size) {
            Verdict::Done if !fits(host, size, geometry.output_bits()) => Verdict::HostTooWide,
            Verdict::Done if (variant.check_flags)(flags).is_err() => Verdict::Flags,
            Verdict::Done if !model.within(guest, size).is_empty() => Verdict::Conflict,
            other => other,
        },
        Operation::Unmap { guest, size } | Operation::UnmapReporting { guest, size } => {
            input(guest, size)
        }
        Operation::Protect { guest, size, flags } => match input(guest, size) {
            Verdict::Done if !MappingFlags::PERMISSIONS.contains(flags) => Verdict::NotAPermission,
            Verdict::Done if (variant.check_flags)(flags).is_err() => Verdict::Flags,
            Verdict::Done if refuses(variant, model, guest, size, flags) => Verdict::Leaf,
            other => other,
        },
    }
}

/// Whether something in the range cannot have the permissions because of its memory type.
fn refuses(variant: &Variant, model: &Model, guest: u64, size: u64, flags: MappingFlags) -> bool {
    model.within(guest, size).iter().any(|stretch| {
        let kept = stretch.flags & MappingFlags::MEMORY_TYPE;
        (variant.check_flags)(kept | flags).is_err()
    })
}

/// Performs the operation with its first allocation failing, and once more if that was one too many.
fn perform_at_second_try(
    variant: &Variant,
    edit: &mut dyn Operations,
    operation: &Operation,
) -> Verdict {
    let frames = variant.host.simulated_frames();
    let mut settled = || variant.host.machine().check();
    frames.fail_at(1, Failure::Once);
    let (verdict, _) = perform(edit, operation, &mut settled);
    frames.fail_at(0, Failure::Once);
    match verdict {
        Verdict::OutOfMemory => perform(edit, operation, &mut settled).0,
        other => other,
    }
}

/// Performs the operation. `settled` is called when the first leaf is reported, which is when no CPU
/// may believe in any of them.
fn perform(
    edit: &mut dyn Operations,
    operation: &Operation,
    settled: &mut dyn FnMut(),
) -> (Verdict, Vec<UnmappedLeaf>) {
    let range = |guest, size| GuestPhysRange::from_start_size(GuestPhysAddr::new(guest), size).ok();
    let mut reported = Vec::new();
    let verdict = match *operation {
        Operation::Map {
            guest,
            size,
            host,
            flags,
        } => range(guest, size)
            .map(|guest| map_verdict(edit.map(guest, HostPhysAddr::new(host), flags), guest)),
        Operation::Unmap { guest, size } => {
            range(guest, size).map(|guest| unmap_verdict(edit.unmap(guest)))
        }
        Operation::UnmapReporting { guest, size } => range(guest, size).map(|guest| {
            unmap_verdict(edit.unmap_reporting(guest, &mut |leaf| {
                if reported.is_empty() {
                    settled();
                }
                reported.push(leaf);
            }))
        }),
        Operation::Protect { guest, size, flags } => {
            range(guest, size).map(|guest| protect_verdict(edit.protect(guest, flags)))
        }
        Operation::ReclaimEmpty => {
            edit.try_reclaim_empty().unwrap();
            Some(Verdict::Done)
        }
    };
    (verdict.unwrap_or(Verdict::Unaligned), reported)
}

fn map_verdict(result: Result<(), MapError>, asked: GuestPhysRange) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(MapError::Unaligned { .. }) => Verdict::Unaligned,
        Err(MapError::GuestTooWide { .. }) => Verdict::GuestTooWide,
        Err(MapError::HostTooWide { .. }) => Verdict::HostTooWide,
        Err(MapError::Flags(_)) => Verdict::Flags,
        Err(MapError::OutOfMemory { .. }) => Verdict::OutOfMemory,
        Err(MapError::Conflict { existing, .. }) => {
            assert!(
                existing.guest.overlaps(&asked),
                "{existing} is not in the way"
            );
            Verdict::Conflict
        }
        Err(other) => panic!("{other}"),
    }
}

fn unmap_verdict(result: Result<(), UnmapError>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(UnmapError::Unaligned { .. }) => Verdict::Unaligned,
        Err(UnmapError::GuestTooWide { .. }) => Verdict::GuestTooWide,
        Err(UnmapError::OutOfMemory { .. }) => Verdict::OutOfMemory,
        Err(other) => panic!("{other}"),
    }
}

fn protect_verdict(result: Result<(), ProtectError>) -> Verdict {
    match result {
        Ok(()) => Verdict::Done,
        Err(ProtectError::Unaligned { .. }) => Verdict::Unaligned,
        Err(ProtectError::GuestTooWide { .. }) => Verdict::GuestTooWide,
        Err(ProtectError::NotAPermission { .. }) => Verdict::NotAPermission,
        Err(ProtectError::Flags(_)) => Verdict::Flags,
        Err(ProtectError::Leaf { .. }) => Verdict::Leaf,
        Err(ProtectError::OutOfMemory { .. }) => Verdict::OutOfMemory,
        Err(other) => panic!("{other}"),
    }
}
