//! Who is called before each access.

use std::cell::RefCell;

use nested_page_table::watch::{self, Access};

type Turn = Box<dyn FnMut(&Access)>;

thread_local! {
    /// What this thread's tests do before each access.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// Calls `turn` before each access that `work` makes on this thread.
pub(crate) fn before_each(turn: impl FnMut(&Access) + 'static, work: impl FnOnce()) {
    watch::set(dispatch);
    TURN.set(Some(Box::new(turn)));
    work();
    TURN.take();
}

fn dispatch(access: &Access) {
    // Taken out meanwhile: what the turn itself does is not watched.
    if let Some(mut turn) = TURN.take() {
        turn(access);
        TURN.set(Some(turn));
    }
}
