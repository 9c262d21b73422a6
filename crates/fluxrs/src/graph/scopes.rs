//! Scopes of a thread: without gradients, with them again, of a checkpoint, and of a function that a scan runs.

use super::thread::THREAD;

/// The number of scopes a thread is in: those without gradients, from `CHECKPOINT` on those of checkpoints, and from
/// `LEVEL` on those of functions that scans run.
#[derive(Clone, Copy)]
pub(super) struct Scopes(pub u64);

const CHECKPOINT: u64 = 1 << 16;
const LEVEL: u64 = 1 << 32;

impl Scopes {
    pub fn now() -> Scopes {
        Scopes(THREAD.with(|thread| thread.scopes.get()))
    }

    /// True if results can be differentiated.
    #[inline]
    pub fn tracking(self) -> bool {
        self.0.is_multiple_of(CHECKPOINT)
    }

    /// True in a checkpoint.
    #[inline]
    pub fn passing(self) -> bool {
        self.0 % LEVEL >= CHECKPOINT
    }

    /// The number of functions of scans inside each other.
    #[inline]
    pub fn level(self) -> u32 {
        (self.0 / LEVEL) as u32
    }
}

#[inline]
fn enter(scopes: u64) {
    THREAD.with(|thread| thread.scopes.set(thread.scopes.get() + scopes));
}

#[inline]
fn leave(scopes: u64) {
    THREAD.with(|thread| thread.scopes.set(thread.scopes.get() - scopes));
}

/// Runs `f` so that nothing it makes can be differentiated.
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _scope = NoGrad::enter();
    f()
}

/// While it lives, results on this thread are not tracked.
pub struct NoGrad(());

impl NoGrad {
    pub fn enter() -> NoGrad {
        enter(1);
        NoGrad(())
    }
}

impl Drop for NoGrad {
    fn drop(&mut self) {
        leave(1);
    }
}

/// While it lives, results on this thread are tracked, whatever was switched off around it.
pub struct Tracking(u64);

impl Tracking {
    pub fn enter() -> Tracking {
        Tracking(THREAD.with(|thread| thread.scopes.replace(thread.scopes.get() / LEVEL * LEVEL)))
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.scopes.set(self.0));
    }
}

pub fn tracking() -> bool {
    Scopes::now().tracking()
}

/// While it lives, what this thread makes runs again in the backward pass: none of its values are kept for that.
pub struct Checkpoint(());

impl Checkpoint {
    pub fn enter() -> Checkpoint {
        enter(CHECKPOINT);
        Checkpoint(())
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        leave(CHECKPOINT);
    }
}

/// While it lives, what this thread makes of a scan's arguments belongs to the function that the scan runs.
pub struct Tracing(u64);

impl Tracing {
    /// `level` functions inside each other.
    pub fn enter(level: u32) -> Tracing {
        Tracing(THREAD.with(|thread| thread.scopes.replace(thread.scopes.get() % LEVEL + level as u64 * LEVEL)))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.scopes.set(self.0));
    }
}

/// The number of functions of scans inside each other that this thread is in.
pub fn level() -> u32 {
    Scopes::now().level()
}
