//! Stopping an evaluation: a flag that kernels poll before each piece of their work. The thread that called for it looks for
//! signals while it polls, so that none is missed where no other thread can be had.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Asked every 20 ms while a long plan runs: whether to stop it.
pub type InterruptCheck = fn() -> bool;
static CHECK: OnceLock<InterruptCheck> = OnceLock::new();

/// The longest time that a signal may wait for its handler.
pub const HEARD_WITHIN: Duration = Duration::from_millis(20);

pub fn set_interrupt_check(check: InterruptCheck) {
    let _ = CHECK.set(check);
}

/// True if the caller should stop: for devices that wait for their own work.
pub fn interrupted() -> bool {
    CHECK.get().is_some_and(|check| check())
}

#[derive(Clone, Copy)]
struct Watch {
    stop: *const AtomicBool,
    due: Instant,
}

/// Nodes between two polls of a pass over a graph.
pub const NODES: usize = 1 << 10;

/// For work that cannot be stopped.
pub static NEVER: AtomicBool = AtomicBool::new(false);

/// The number of threads that look for signals.
static WATCHES: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Set on a thread that looks for signals, for as long as the flag lives.
    static WATCH: Cell<Option<Watch>> = const { Cell::new(None) };
}

/// Runs `f`; what it polls on this thread looks for signals, and sets `stop` when one asks for it.
pub fn watch<R>(stop: &AtomicBool, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Watch>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WATCH.set(self.0);
            WATCHES.fetch_sub(1, Ordering::Relaxed);
        }
    }
    WATCHES.fetch_add(1, Ordering::Relaxed);
    let _restore = Restore(WATCH.replace(Some(Watch { stop, due: Instant::now() + HEARD_WITHIN })));
    f()
}

/// Looks for signals, if this thread does and it is time.
#[inline]
pub fn look() {
    if WATCHES.load(Ordering::Relaxed) > 0 {
        look_now();
    }
}

fn look_now() {
    let Some(watch) = WATCH.get() else { return };
    if Instant::now() < watch.due {
        return;
    }
    // The handler of a signal may poll as well: it must not look again.
    WATCH.set(None);
    let asked = interrupted();
    WATCH.set(Some(Watch { due: Instant::now() + HEARD_WITHIN, ..watch }));
    if asked {
        // SAFETY: `watch` has a reference to the flag for as long as the cell has its address.
        unsafe { (*watch.stop).store(true, Ordering::Relaxed) };
    }
}

/// An error if this thread looks for signals and one asked it to stop: for passes over graphs and plans, at their i-th node. Not
/// called under a lock, since a signal's handler may be any Python.
#[inline]
pub fn go_on(i: usize) -> Result<()> {
    if i.is_multiple_of(NODES) && WATCHES.load(Ordering::Relaxed) > 0 {
        look_now();
        // SAFETY: as in `look_now`.
        if WATCH.get().is_some_and(|watch| unsafe { &*watch.stop }.load(Ordering::Relaxed)) {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

/// An error if a signal asks this thread to stop, whether it looks for signals otherwise or not. Not called under a lock.
pub fn hear() -> Result<()> {
    // As above: its handler must not look again.
    let watch = WATCH.take();
    let asked = interrupted();
    WATCH.set(watch);
    if asked { Err(Error::Interrupted) } else { Ok(()) }
}

/// True if the work that polls `stop` is to end.
#[inline]
pub fn stopped(stop: &AtomicBool) -> bool {
    if !stop.load(Ordering::Relaxed) {
        look();
    }
    stop.load(Ordering::Relaxed)
}
