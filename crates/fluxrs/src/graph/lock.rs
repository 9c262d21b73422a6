//! The one lock over what evaluation changes in a graph.

use super::handles;
use std::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard};

/// The proof that the one lock over what evaluation changes in a graph is held.
pub struct Graph {
    pub(crate) epoch: u32,
    /// Nodes that are referred to from outside and may have to be computed for that.
    pub(super) held: handles::Held,
}

static GRAPH: Mutex<Graph> = Mutex::new(Graph { epoch: 0, held: handles::Held::new() });

/// Takes the graph lock: short, and never held while Python code or a kernel runs.
pub fn lock() -> MutexGuard<'static, Graph> {
    GRAPH.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A cell that only the holder of the graph lock may look into: one lock for a whole pass over a
/// graph instead of one a node.
pub struct Guarded<T>(UnsafeCell<T>);

// SAFETY: every access borrows the `Graph` behind the one lock, shared for reading and mutable for
// writing, so that references from `get` and `get_mut` cannot overlap between threads.
unsafe impl<T: Send + Sync> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        Guarded(UnsafeCell::new(value))
    }

    pub fn get<'a>(&'a self, _: &'a Graph) -> &'a T {
        // SAFETY: the graph lock is held, and shared borrows of it allow reading only.
        unsafe { &*self.0.get() }
    }

    /// A reference that outlives the lock.
    ///
    /// # Safety
    /// `set` is not called on this cell while the reference is in use.
    pub(crate) unsafe fn lasting(&self) -> &T {
        // SAFETY: the caller's promise.
        unsafe { &*self.0.get() }
    }

    pub fn set(&self, _: &mut Graph, value: T) -> T {
        // SAFETY: the mutable borrow of the graph excludes every reference given out by `get`.
        unsafe { std::mem::replace(&mut *self.0.get(), value) }
    }

    pub(super) fn get_mut_owned(&mut self) -> &mut T {
        self.0.get_mut()
    }
}
