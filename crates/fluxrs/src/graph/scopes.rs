//! Scopes of a thread: without gradients, with them again, and of a checkpoint.

use std::cell::Cell;

thread_local! {
    /// The number of scopes this thread is in: those without gradients, and from `CHECKPOINT` on those of checkpoints.
    static SCOPES: Cell<u32> = const { Cell::new(0) };
}

const CHECKPOINT: u32 = 1 << 16;

/// Runs `f` so that nothing it makes can be differentiated.
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    let _scope = NoGrad::enter();
    f()
}

/// While it lives, results on this thread are not tracked.
pub struct NoGrad(());

impl NoGrad {
    pub fn enter() -> NoGrad {
        SCOPES.set(SCOPES.get() + 1);
        NoGrad(())
    }
}

impl Drop for NoGrad {
    fn drop(&mut self) {
        SCOPES.set(SCOPES.get() - 1);
    }
}

/// While it lives, results on this thread are tracked, whatever was switched off around it.
pub struct Tracking(u32);

impl Tracking {
    pub fn enter() -> Tracking {
        Tracking(SCOPES.replace(0))
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        SCOPES.set(self.0);
    }
}

pub fn tracking() -> bool {
    SCOPES.get().is_multiple_of(CHECKPOINT)
}

/// While it lives, what this thread makes runs again in the backward pass: none of its values are kept for that.
pub struct Checkpoint(());

impl Checkpoint {
    pub fn enter() -> Checkpoint {
        SCOPES.set(SCOPES.get() + CHECKPOINT);
        Checkpoint(())
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        SCOPES.set(SCOPES.get() - CHECKPOINT);
    }
}

/// True if this thread is in a checkpoint.
pub(super) fn passing() -> bool {
    SCOPES.get() >= CHECKPOINT
}
