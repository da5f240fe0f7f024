//! One run of a scenario on one machine.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{Due, FillOutcome, RaiseOutcome, SplitOutcome};
use simulated_host::{Access, Permissions, SimulatedHost};

use crate::judge::{Facts, Judge};
use crate::model::Model;
use crate::operation::{Event, Leaf, Operation, Outcome};
use crate::order::History;
use crate::reference::Enumerate;
use crate::turns::{self, Choice, Chooser, Turns};
use crate::variant::{Shared, Table, Variant};

const PAGE: u64 = 0x1000;

thread_local! {
    /// Whether the next invalidation of this actor fails.
    static FAILS: Cell<bool> = const { Cell::new(false) };
}

/// What is mapped, and who does what to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Mapped before.
    pub(crate) leaves: &'static [Leaf],
    /// What each actor does.
    pub(crate) actors: &'static [&'static [Operation]],
}

/// A run that went wrong.
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) schedule: Vec<usize>,
}

/// What the actors of a run share.
struct Stage<'t> {
    table: &'t dyn Shared,
    host: &'static SimulatedHost,
    reference: &'t dyn Enumerate,
    register: u64,
    turns: Arc<Turns>,
    judge: Arc<Mutex<Judge>>,
    events: Mutex<Vec<Event>>,
}

/// Runs `scenario` on `variant`, and returns what was chosen.
pub(crate) fn run(
    scenario: &Scenario,
    variant: &Variant,
    choose: Chooser,
) -> Result<Vec<Choice>, Failure> {
    let mut table = (variant.new_table)(variant.host).expect("a table");
    let model = set_up(scenario, variant, &mut *table);
    let facts = Facts {
        host: variant.host,
        geometry: variant.geometry,
        absent: variant.absent,
        decode: Arc::clone(&variant.decode),
    };
    let judge = Arc::new(Mutex::new(Judge::new(&facts, table.root())));
    let (judged, host) = (Arc::clone(&judge), variant.host);
    let turns = Turns::new(
        scenario.actors.len(),
        choose,
        Box::new(move |actor, access, now| {
            locked(&judged).see(&facts, actor, access, now);
        }),
        Box::new(move |actor| {
            host.run_on(actor % host.machine().cpus());
            host.fail_invalidations(usize::from(FAILS.get()));
        }),
    );
    let stage = Stage {
        register: table.root_register(),
        table: &*table,
        host,
        reference: &*variant.reference,
        turns: Arc::clone(&turns),
        judge: Arc::clone(&judge),
        events: Mutex::default(),
    };
    let panics = stage.act(scenario);
    let events = stage
        .events
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let choices = turns.choices();
    let why = match panics.first() {
        Some(why) => Err(why.clone()),
        None => {
            let frozen = locked(&judge).frozen.clone();
            let history = History { events, frozen };
            let tables = locked(&judge).tables();
            let check = || check(scenario, variant, &*table, &model, &history, tables);
            catch_unwind(AssertUnwindSafe(check)).map_err(|panic| message(&*panic))
        }
    };
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        // No CPU enters the guest any more.
        host.machine().retire(table.root_register());
        drop(table);
        assert_eq!(host.take_violations(), []);
        let out = host.simulated_frames().outstanding_count();
        assert_eq!(out, 0, "frames are lost");
    }));
    why.and(dropped.map_err(|panic| message(&*panic)))
        .map_err(|why| Failure {
            why,
            schedule: choices.iter().map(Choice::actor).collect(),
        })?;
    Ok(choices)
}

/// Maps what the scenario begins with.
fn set_up(scenario: &Scenario, variant: &Variant, table: &mut dyn Table) -> Model {
    let geometry = &variant.geometry;
    let levels = geometry.root_level().up_to();
    let mut model = Model::new(levels.map(|level| geometry.entry_size(level)).collect());
    for leaf in scenario.leaves {
        let to = HostPhysAddr::new(leaf.host);
        let guest = range(leaf.start, leaf.size);
        table.direct().map(guest, to, leaf.flags).unwrap();
        model.add(*leaf);
    }
    let mapped: Vec<Leaf> = table.mappings().into_iter().map(Leaf::from).collect();
    assert_eq!(
        mapped,
        model.leaves(),
        "the scenario does not suit the variant"
    );
    model
}

impl Stage<'_> {
    /// Lets every actor do what it does. Returns why those panicked that did.
    fn act(&self, scenario: &Scenario) -> Vec<String> {
        let act = |number: usize, operations: &[Operation]| {
            turns::publish_is_a_point();
            self.turns.act(number, || {
                for operation in operations {
                    self.perform(number, *operation);
                }
            });
        };
        thread::scope(|scope| {
            let actors = scenario.actors.iter().enumerate();
            let threads: Vec<_> = actors
                .map(|(number, operations)| scope.spawn(move || act(number, operations)))
                .collect();
            let ended = threads.into_iter().filter_map(|thread| thread.join().err());
            ended.map(|panic| message(&*panic)).collect()
        })
    }

    /// Does `operation`, and notes what came of it.
    fn perform(&self, actor: usize, operation: Operation) -> Outcome {
        if let Operation::Access {
            address,
            host,
            flags,
            write,
        } = operation
        {
            self.access(actor, address, host, flags, write);
            return Outcome::Touched(true);
        }
        let began = self.turns.now();
        let (outcome, due) = self.call(operation);
        let ended = self.turns.now();
        locked(&self.events).push(Event {
            actor,
            operation,
            outcome,
            began,
            ended,
        });
        self.table.invalidate_due(due).unwrap();
        outcome
    }

    fn call(&self, operation: Operation) -> (Outcome, Due) {
        let at = GuestPhysAddr::new;
        match operation {
            Operation::Fill {
                start,
                size,
                host,
                flags,
            } => {
                let to = HostPhysAddr::new(host);
                let outcome = self.table.fill(range(start, size), to, flags).unwrap();
                let due = match outcome {
                    FillOutcome::Filled(due) => due,
                    FillOutcome::Present(leaf) => self.table.due_after_spurious_fault(&leaf),
                    _ => Due::Nothing,
                };
                (outcome.into(), due)
            }
            Operation::Raise {
                address,
                permissions,
            } => {
                let outcome = self.table.raise(at(address), permissions).unwrap();
                let due = match outcome {
                    RaiseOutcome::Raised { due, .. } => due,
                    RaiseOutcome::Unchanged(leaf) => self.table.due_after_spurious_fault(&leaf),
                    _ => Due::Nothing,
                };
                (outcome.into(), due)
            }
            Operation::Mark { address } => {
                (self.table.mark_accessed(at(address)).into(), Due::Nothing)
            }
            Operation::Split { address, largest } => {
                let outcome = self.table.split(at(address), largest);
                let due = match outcome {
                    Ok(SplitOutcome::Split(due)) => due,
                    _ => Due::Nothing,
                };
                (outcome.into(), due)
            }
            Operation::FailingSplit { address, largest } => {
                FAILS.set(true);
                self.host.fail_invalidations(1);
                let outcome = self.table.split(at(address), largest);
                FAILS.set(false);
                self.host.fail_invalidations(0);
                (outcome.into(), Due::Nothing)
            }
            Operation::Translate { address } => {
                let found = self.table.find(at(address));
                (Outcome::Found(found.map(Leaf::from)), Due::Nothing)
            }
            Operation::Touch { address, write } => {
                turns::point();
                let memory = self.host.memory();
                let reached = self.reference.touch(memory, self.register, address, write);
                (Outcome::Touched(reached), Due::Nothing)
            }
            Operation::Access { .. } => panic!("an access consists of other operations"),
        }
    }

    /// A guest on the CPU of `actor` accesses a page until it succeeds.
    fn access(&self, actor: usize, page: u64, to: u64, flags: MappingFlags, write: bool) {
        let (machine, gpa) = (self.host.machine(), GuestPhysAddr::new(page));
        let cpu = actor % machine.cpus();
        let needs = match write {
            true => Permissions::READ.with(Permissions::WRITE),
            false => Permissions::READ,
        };
        // What is there before is remembered, also that it is nothing.
        turns::point();
        machine.touch(cpu, self.register, gpa);
        let (mut faults, mut filled) = (0, false);
        loop {
            turns::point();
            // Until a frozen leaf is invalidated the CPU may use it, which the machine would take for a mistake. It may also
            // have forgotten it.
            let is_frozen = locked(&self.judge).is_any_frozen();
            if !is_frozen && let Access::Allowed(_) = machine.access(cpu, self.register, gpa, needs)
            {
                return;
            }
            assert!(!filled, "the CPU that filled {page:#x} faults again");
            assert!(faults < 3, "a fourth fault in a row");
            let fill = Operation::Fill {
                start: page,
                size: PAGE,
                host: to,
                flags,
            };
            faults += 1;
            match self.perform(actor, fill) {
                Outcome::Filled => filled = flags.contains(MappingFlags::WRITE) || !write,
                // This lasts as long as the other CPU's operation, and no longer.
                Outcome::Busy => {
                    faults = 0;
                    turns::give_way();
                }
                Outcome::Present(leaf) if write && !leaf.flags.contains(MappingFlags::WRITE) => {
                    let (address, permissions) = (page, MappingFlags::WRITE);
                    self.perform(
                        actor,
                        Operation::Raise {
                            address,
                            permissions,
                        },
                    );
                }
                // The fault was spurious, and what is due was carried out.
                Outcome::Present(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Checks what is there when all is over.
fn check(
    scenario: &Scenario,
    variant: &Variant,
    table: &dyn Table,
    before: &Model,
    history: &History,
    tables: usize,
) {
    let last: Vec<Leaf> = table.mappings().into_iter().map(Leaf::from).collect();
    let register = table.root_register();
    let memory = variant.host.memory();
    let walked = variant.reference.leaves(memory, register);
    let walked: Vec<_> = walked
        .iter()
        .map(|leaf| (leaf.guest, leaf.size, leaf.host))
        .collect();
    let listed: Vec<_> = last
        .iter()
        .map(|leaf| (leaf.start, leaf.size, leaf.host))
        .collect();
    assert_eq!(walked, listed, "a walker finds something else");
    assert!(
        history.is_explained(before, &last),
        "no order explains {:#x?} of {last:#x?}",
        history.events
    );
    let frames = table.statistics().table_frames;
    assert_eq!(frames, variant.geometry.root_frames() + tables as u64 - 1);
    let out = variant.host.simulated_frames().outstanding_count();
    assert_eq!(
        out as u64, frames,
        "frames are lost, or given back too often"
    );
    for event in &history.events {
        check_marks(variant, register, event);
    }
    let operations = scenario.actors.iter().copied().flatten();
    let raises = |operation: &Operation| {
        matches!(
            operation,
            Operation::Raise { .. } | Operation::Access { .. }
        )
    };
    if !operations.into_iter().any(raises) {
        // Where a raise invalidates on its own CPU alone, others may fault once more.
        variant.host.machine().check();
    }
    assert_eq!(variant.host.take_violations(), []);
}

/// No mark that the hardware made is lost.
fn check_marks(variant: &Variant, register: u64, event: &Event) {
    let memory = variant.host.memory();
    let state = |address| variant.reference.state(memory, register, address);
    match (event.operation, event.outcome) {
        (Operation::Touch { address, write }, Outcome::Touched(true)) => {
            let (accessed, dirty) = state(address);
            assert!(
                accessed && (dirty || !write),
                "a mark at {address:#x} is lost"
            );
        }
        (Operation::Mark { address }, Outcome::Marked(_)) => {
            assert!(state(address).0, "the mark at {address:#x} is lost");
        }
        _ => {}
    }
}

fn range(start: u64, size: u64) -> GuestPhysRange {
    GuestPhysRange::from_start_size(GuestPhysAddr::new(start), size).unwrap()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
