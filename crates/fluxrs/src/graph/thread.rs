//! The state of a thread that builds a graph, in one place: a node that is made looks at most of it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

pub(super) struct Thread {
    /// From 1; 0 before it is asked for.
    number: Cell<u32>,
    /// See `scopes`.
    pub scopes: Cell<u64>,
    /// See `bound`: nodes made and bytes brought in since the last evaluation, and whether their number starts one.
    pub made: Cell<u32>,
    pub pinned: Cell<usize>,
    pub bounded: Cell<bool>,
}

thread_local! {
    pub(super) static THREAD: Thread = const {
        Thread { number: Cell::new(0), scopes: Cell::new(0), made: Cell::new(0), pinned: Cell::new(0), bounded: Cell::new(true) }
    };
}

/// This thread's number.
#[inline]
pub(crate) fn thread() -> u32 {
    match THREAD.with(|thread| thread.number.get()) {
        0 => number(),
        known => known,
    }
}

#[cold]
fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    THREAD.with(|thread| thread.number.set(number));
    number
}
