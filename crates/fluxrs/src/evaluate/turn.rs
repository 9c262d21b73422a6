//! A thread's turn: one evaluation at a time.

use super::run::Runner;
use crate::backend::backend;
use crate::bail;
use crate::device::Device;
use crate::error::Result;
use crate::stop::{HEARD_WITHIN, hear};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

static RUNNER: LazyLock<Mutex<Runner>> = LazyLock::new(|| {
    #[cfg(unix)]
    super::fork::register();
    Mutex::default()
});

/// A thread's turn to evaluate. A thread that is about to fork keeps it from before until it has forked, and evaluates within it.
pub(super) struct Turn {
    runner: Option<MutexGuard<'static, Runner>>,
    is_kept: bool,
}

/// The threads that wait for their turn.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static GATE: Mutex<()> = Mutex::new(());
static OPENS: Condvar = Condvar::new();

pub(super) type Gate = MutexGuard<'static, ()>;

pub(super) fn gate() -> Gate {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This thread's turn, which it waits for. Signals end that.
pub(super) fn runner() -> Result<Turn> {
    #[cfg(unix)]
    if let Some(kept) = super::fork::kept_turn() {
        return Ok(Turn { runner: Some(kept), is_kept: true });
    }
    if let Some(runner) = try_runner() {
        return Ok(Turn { runner: Some(runner), is_kept: false });
    }
    WAITING.fetch_add(1, Ordering::SeqCst);
    let turn = loop {
        let gate = gate();
        if let Some(runner) = try_runner() {
            break Ok(Turn { runner: Some(runner), is_kept: false });
        }
        drop(OPENS.wait_timeout(gate, HEARD_WITHIN).unwrap_or_else(PoisonError::into_inner));
        // A signal's handler may evaluate or fork: it is not within an evaluation of this thread's yet.
        let evaluating = EVALUATING.replace(false);
        let heard = hear();
        EVALUATING.set(evaluating);
        if let Err(interrupted) = heard {
            break Err(interrupted);
        }
    };
    WAITING.fetch_sub(1, Ordering::SeqCst);
    turn
}

pub(super) fn lock_runner() -> MutexGuard<'static, Runner> {
    RUNNER.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn try_runner() -> Option<MutexGuard<'static, Runner>> {
    match RUNNER.try_lock() {
        Ok(runner) => Some(runner),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let runner = self.runner.take();
        #[cfg(unix)]
        if self.is_kept {
            return super::fork::keep_turn(runner);
        }
        drop(runner);
        fence(Ordering::SeqCst);
        if WAITING.load(Ordering::SeqCst) > 0 {
            // Who has found the turn taken waits by the time that the gate is free.
            drop(gate());
            OPENS.notify_one();
        }
    }
}

impl Deref for Turn {
    type Target = Runner;
    fn deref(&self) -> &Runner {
        self.runner.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Runner {
        self.runner.as_mut().expect("there until it is dropped")
    }
}

/// Makes ready, once and by one thread, what a forked child could find half made.
pub fn prepare() {
    LazyLock::force(&RUNNER);
    crate::pool::threads();
    crate::simd::isa::level();
    backend(Device::CPU);
}

/// Stands between the caller and an evaluation that was not asked for; releases for its time what others may wait for.
pub type Bystander = fn(&mut (dyn FnMut() + Send));
static BYSTANDER: OnceLock<Bystander> = OnceLock::new();

pub fn set_bystander(bystander: Bystander) {
    let _ = BYSTANDER.set(bystander);
}

pub(super) fn bystander() -> Option<Bystander> {
    BYSTANDER.get().copied()
}

thread_local! {
    /// True while this thread is evaluating.
    pub(super) static EVALUATING: Cell<bool> = const { Cell::new(false) };
}

pub(super) struct Evaluating;

impl Evaluating {
    /// A signal handler that runs within an evaluation may ask for a value in turn: it would wait for itself.
    pub fn enter() -> Result<Evaluating> {
        if EVALUATING.replace(true) {
            bail!(
                Value,
                "a value is asked for while this thread computes another, as in a signal handler: ask when that is done"
            );
        }
        let evaluating = Evaluating;
        #[cfg(unix)]
        if super::fork::is_half_done() {
            bail!(
                Value,
                "the process was forked by native code while another thread computed a value: what that had begun is not here; fork with os.fork, or evaluate before"
            );
        }
        Ok(evaluating)
    }
}

impl Drop for Evaluating {
    fn drop(&mut self) {
        EVALUATING.set(false);
    }
}

/// Waits for the evaluation under way.
pub(super) fn wait() -> Result<()> {
    let _evaluating = Evaluating::enter()?;
    runner().map(drop)
}
