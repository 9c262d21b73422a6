//! A thread's turn: one evaluation at a time.

use super::run::Runner;
use crate::backend::backend;
use crate::bail;
use crate::device::Device;
use crate::error::Result;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
#[cfg(unix)]
use std::sync::TryLockResult;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock};

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

pub(super) fn runner() -> Turn {
    #[cfg(unix)]
    if let Some(kept) = super::fork::kept_turn() {
        return Turn { runner: Some(kept), is_kept: true };
    }
    Turn { runner: Some(lock_runner()), is_kept: false }
}

pub(super) fn lock_runner() -> MutexGuard<'static, Runner> {
    RUNNER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for Turn {
    fn drop(&mut self) {
        #[cfg(unix)]
        if self.is_kept {
            super::fork::keep_turn(self.runner.take());
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

#[cfg(unix)]
pub(super) fn try_runner() -> TryLockResult<MutexGuard<'static, Runner>> {
    RUNNER.try_lock()
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
    drop(runner());
    Ok(())
}
