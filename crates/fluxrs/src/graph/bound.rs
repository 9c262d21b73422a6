//! The nodes a thread has made since it evaluated last: a loop that reads nothing is evaluated now and then.

use super::scopes::Scopes;
use super::thread::THREAD;

/// Nodes made on a thread before everything pending there is evaluated.
const MAX_PENDING_NODES: u32 = 1 << 17;
/// Bytes of data brought in on a thread before everything pending there is evaluated.
const MAX_PINNED_BYTES: usize = 1 << 30;

/// Called for every node made; returns the scopes that it is made in.
#[inline]
pub(super) fn count_node() -> Scopes {
    let (scopes, at_bound) = THREAD.with(|thread| {
        let made = thread.made.get() + 1;
        thread.made.set(made);
        (
            Scopes(thread.scopes.get()),
            made >= MAX_PENDING_NODES && thread.bounded.get() && Scopes(thread.scopes.get()).level() == 0,
        )
    });
    if at_bound {
        crate::ENGINE.at_bound();
    }
    scopes
}

/// Called for every buffer that enters a graph: unread data stays pinned until what uses it is evaluated.
pub(super) fn count_bytes(bytes: usize) {
    let at_bound = THREAD.with(|thread| {
        let pinned = thread.pinned.get().saturating_add(bytes);
        thread.pinned.set(pinned);
        pinned >= MAX_PINNED_BYTES && thread.bounded.get() && Scopes(thread.scopes.get()).level() == 0
    });
    if at_bound {
        crate::ENGINE.at_bound();
    }
}

/// Nodes that an evaluation itself makes start no other.
pub(crate) fn unbounded<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.bounded.set(self.0));
        }
    }
    let _restore = Restore(THREAD.with(|thread| thread.bounded.replace(false)));
    f()
}

/// Called by every evaluation.
pub(crate) fn restart_count() {
    THREAD.with(|thread| {
        thread.made.set(0);
        thread.pinned.set(0);
    });
}
