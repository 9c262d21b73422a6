//! Scopes of a thread: without gradients, with them again, and of a checkpoint.

use super::thread::THREAD;

/// The number of scopes a thread is in: those without gradients, and from `CHECKPOINT` on those of checkpoints.
#[derive(Clone, Copy)]
pub(super) struct Scopes(pub u32);

const CHECKPOINT: u32 = 1 << 16;

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
        self.0 >= CHECKPOINT
    }
}

#[inline]
fn enter(scopes: u32) {
    THREAD.with(|thread| thread.scopes.set(thread.scopes.get() + scopes));
}

#[inline]
fn leave(scopes: u32) {
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
pub struct Tracking(u32);

impl Tracking {
    pub fn enter() -> Tracking {
        Tracking(THREAD.with(|thread| thread.scopes.replace(0)))
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
