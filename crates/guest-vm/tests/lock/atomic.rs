//! Loom's atomics, in the place of `src/lock/atomic.rs`.

use std::cell::Cell;

pub(super) use loom::hint::spin_loop;
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

loom::thread_local! {
    /// Which slot the thread tries first.
    pub(super) static CPU: Cell<usize> = Cell::new(0);
}

/// Loom takes sequentially consistent accesses for acquire and release, but knows fences of that kind.
pub(super) fn order_accesses() {
    loom::sync::atomic::fence(Ordering::SeqCst);
}

pub(super) fn number_of_cpu() -> usize {
    CPU.with(Cell::get)
}
