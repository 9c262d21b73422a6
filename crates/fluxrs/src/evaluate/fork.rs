//! The state of a forked child: values as between two evaluations, every lock free, and no thread but its own.
//!
//! Threads of the parent are not in the child: a lock that another one holds at the fork would stay locked there, and what it was
//! evaluating half done. So the thread that forks waits for the evaluation under way and has all locks while it forks.

use super::run::Runner;
use super::turn::{self, EVALUATING};
use crate::graph::{self, Graph};
use crate::{debug, leaf, ops, pool};
use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

/// Locks that are held for a moment, in the order in which they may be nested.
type Short = (turn::Gate, MutexGuard<'static, Graph>, leaf::Locked, ops::random::Locked, debug::Locked);

thread_local! {
    static EVALUATION: RefCell<Option<MutexGuard<'static, Runner>>> = const { RefCell::new(None) };
    static SHORT: RefCell<Option<Short>> = const { RefCell::new(None) };
}

/// In a child: another thread of the parent was evaluating, and the fork had not waited for it.
static HALF_DONE: AtomicBool = AtomicBool::new(false);

/// Waits for the evaluation under way; no other thread begins one until this one has forked. To be
/// called shortly before a fork, without locks that an evaluation may wait for.
pub fn before_fork() {
    if !EVALUATING.get() && EVALUATION.with_borrow(Option::is_none) {
        EVALUATION.set(Some(turn::lock_runner()));
    }
}

/// Lets others evaluate again. A fork does so by itself.
pub fn after_fork() {
    EVALUATION.take();
}

/// True where the parent's evaluation is lost.
pub(super) fn is_half_done() -> bool {
    HALF_DONE.load(Ordering::Relaxed)
}

/// The turn of a thread that is about to fork, to evaluate within.
pub(super) fn kept_turn() -> Option<MutexGuard<'static, Runner>> {
    EVALUATION.take()
}

pub(super) fn keep_turn(turn: Option<MutexGuard<'static, Runner>>) {
    EVALUATION.set(turn);
}

extern "C" fn prepare() {
    if !EVALUATING.get() && EVALUATION.with_borrow(Option::is_none) {
        // Not waited for: who evaluates may wait for something that this thread has.
        EVALUATION.set(turn::try_runner());
    }
    SHORT.set(Some((turn::gate(), graph::lock(), leaf::lock(), ops::random::lock(), debug::lock())));
}

extern "C" fn in_parent() {
    SHORT.take();
    EVALUATION.take();
}

extern "C" fn in_child() {
    pool::forget_threads();
    SHORT.take();
    if EVALUATION.take().is_none() && !EVALUATING.get() {
        HALF_DONE.store(true, Ordering::Relaxed);
    }
}

#[cfg(unix)]
pub(super) fn register() {
    type Handler = extern "C" fn();
    unsafe extern "C" {
        fn pthread_atfork(prepare: Option<Handler>, in_parent: Option<Handler>, in_child: Option<Handler>) -> c_int;
    }
    // Miri has no processes.
    if !cfg!(miri) {
        // SAFETY: the handlers are there as long as the process. Without room for them a child is on its own.
        unsafe { pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    }
}
