//! Threads that take turns: a schedule decides who runs until the next point.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use nested_page_table::watch::{self, Access};

use crate::strict;

/// Who may go on at a point, in the order in which an exhaustive search tries them, and whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// First whoever ran until now, if he can go on.
    pub(crate) order: Vec<usize>,
    pub(crate) taken: usize,
    /// Whoever ran until now could go on: to choose another is a preemption.
    pub(crate) preempts: bool,
}

impl Choice {
    pub(crate) fn actor(&self) -> usize {
        self.order[self.taken]
    }

    pub(crate) fn is_preemption(&self) -> bool {
        self.preempts && self.taken > 0
    }
}

/// How the next actor is chosen: a position in the order of the choice with this number.
pub(crate) type Chooser = Box<dyn FnMut(usize, &[usize]) -> usize + Send>;

/// Called for each access of an actor, just before it happens, with the number of choices so far.
pub(crate) type Observer = Box<dyn Fn(usize, &Access, usize) + Send + Sync>;

/// Called when an actor's turn begins.
pub(crate) type OnTurn = Box<dyn Fn(usize) + Send + Sync>;

pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
    observe: Observer,
    on_turn: OnTurn,
}

struct State {
    is_done: Vec<bool>,
    current: Option<usize>,
    choose: Chooser,
    choices: Vec<Choice>,
}

impl State {
    /// Chooses who goes on, after `from`: he himself first, or only where nobody else can if he `waits`.
    fn pass(&mut self, from: Option<usize>, waits: bool) {
        let can_go_on = |actor: &usize| !self.is_done[*actor];
        let others = (0..self.is_done.len()).filter(|actor| Some(*actor) != from);
        let others: Vec<_> = others.filter(can_go_on).collect();
        let may_stay = !waits || others.is_empty();
        let continues = from.filter(|actor| can_go_on(actor) && may_stay);
        let order: Vec<_> = continues.into_iter().chain(others).collect();
        if order.is_empty() {
            self.current = None;
            return;
        }
        let taken = (self.choose)(self.choices.len(), &order).min(order.len() - 1);
        let choice = Choice {
            order,
            taken,
            preempts: continues.is_some(),
        };
        self.current = Some(choice.actor());
        self.choices.push(choice);
    }
}

thread_local! {
    /// Which actor this thread is.
    static ACTOR: RefCell<Option<(usize, Arc<Turns>)>> = const { RefCell::new(None) };
}

impl Turns {
    pub(crate) fn new(
        actors: usize,
        choose: Chooser,
        observe: Observer,
        on_turn: OnTurn,
    ) -> Arc<Self> {
        watch::set(before_access);
        let mut state = State {
            is_done: vec![false; actors],
            current: None,
            choose,
            choices: Vec::new(),
        };
        state.pass(None, false);
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            observe,
            on_turn,
        })
    }

    /// What was chosen, and what could have been.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        self.state().choices.clone()
    }

    /// The number of choices so far: a clock.
    pub(crate) fn now(&self) -> usize {
        self.state().choices.len()
    }

    /// Runs `work` as `actor` on this thread, beginning with its first turn.
    pub(crate) fn act(self: &Arc<Self>, actor: usize, work: impl FnOnce()) {
        self.wait_for(actor, self.state());
        ACTOR.set(Some((actor, Arc::clone(self))));
        // Also where `work` unwinds: the others go on.
        let _end = End(self, actor);
        work();
    }

    fn end(&self, actor: usize) {
        ACTOR.set(None);
        let mut state = self.state();
        state.is_done[actor] = true;
        state.pass(Some(actor), false);
        self.changed.notify_all();
    }

    fn turn(&self, actor: usize, waits: bool) {
        let mut state = self.state();
        state.pass(Some(actor), waits);
        if state.current != Some(actor) {
            self.changed.notify_all();
            self.wait_for(actor, state);
        }
    }

    fn wait_for(&self, actor: usize, state: MutexGuard<'_, State>) {
        let waits = |state: &mut State| state.current != Some(actor);
        let waited = self.changed.wait_while(state, waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        (self.on_turn)(actor);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'t>(&'t Turns, usize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// A point at which another actor may have its turn, other than an access.
pub(crate) fn point() {
    let actor = ACTOR.with_borrow(Option::clone);
    if let Some((number, turns)) = actor.filter(|_| !thread::panicking()) {
        turns.turn(number, false);
    }
}

/// A point at which another actor must have its turn, if one can.
pub(crate) fn give_way() {
    let actor = ACTOR.with_borrow(Option::clone);
    if let Some((number, turns)) = actor {
        turns.turn(number, true);
    }
}

fn before_access(access: &Access) {
    let actor = ACTOR.with_borrow(Option::clone);
    let Some((number, turns)) = actor.filter(|_| !thread::panicking()) else {
        // What a mistake leads to while it unwinds is not judged: it would abort the test.
        return;
    };
    // Nobody else can see private words.
    if !matches!(access, Access::Private { .. }) {
        turns.turn(number, false);
    }
    (turns.observe)(number, access, turns.now());
}

/// From now on, publishing stores is a point on this thread.
pub(crate) fn publish_is_a_point() {
    strict::ON_PUBLISH.set(point);
}
