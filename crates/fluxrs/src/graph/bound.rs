//! The nodes a thread has made since it evaluated last: a loop that reads nothing is evaluated now and then.

use std::cell::Cell;

/// Nodes made on a thread before everything pending there is evaluated.
const MAX_PENDING_NODES: u32 = 1 << 17;
/// Bytes of data brought in on a thread before everything pending there is evaluated.
const MAX_PINNED_BYTES: usize = 1 << 30;

thread_local! {
    static MADE: Cell<u32> = const { Cell::new(0) };
    static PINNED: Cell<usize> = const { Cell::new(0) };
    static BOUNDED: Cell<bool> = const { Cell::new(true) };
}

/// Called for every node made.
#[inline]
pub(super) fn count_node() {
    MADE.set(MADE.get() + 1);
    if MADE.get() >= MAX_PENDING_NODES && BOUNDED.get() {
        crate::ENGINE.at_bound();
    }
}

/// Called for every buffer that enters a graph: unread data stays pinned until what uses it is evaluated.
pub(super) fn count_bytes(bytes: usize) {
    PINNED.set(PINNED.get().saturating_add(bytes));
    if PINNED.get() >= MAX_PINNED_BYTES && BOUNDED.get() {
        crate::ENGINE.at_bound();
    }
}

/// Nodes that an evaluation itself makes start no other.
pub(crate) fn unbounded<R>(f: impl FnOnce() -> R) -> R {
    struct Restart(bool);
    impl Drop for Restart {
        fn drop(&mut self) {
            BOUNDED.set(self.0);
        }
    }
    let _restart = Restart(BOUNDED.replace(false));
    f()
}

/// Called by every evaluation.
pub(crate) fn restart_count() {
    MADE.set(0);
    PINNED.set(0);
}
