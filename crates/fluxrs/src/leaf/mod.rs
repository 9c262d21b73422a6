//! Leaves: parameters and optimiser state. A leaf is an identity whose value is replaced by updates.

mod grad;
mod queue;

pub(crate) use grad::Bad;
pub use grad::{back, forget, replace_grads};
pub use queue::{
    Change, Committer, Queue, Update, assign, change, discard, flush, has_queued, position, queue, queued, try_update, update,
};
pub(crate) use queue::{fail, queued_updates, release, take_updates};

use crate::bail;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{self, Graph, Guarded, Handle, Tensor, next_id, thread};
use crate::shape::show;
use grad::Grad;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, RwLock, RwLockWriteGuard, Weak};

pub struct Leaf {
    number: u64,
    tracked: bool,
    /// The value after the last committed update: always a node whose buffer is there.
    current: Guarded<Tensor>,
    /// The thread that has asked for the present value: `NOBODY`, `SEVERAL`, or its number.
    user: AtomicU32,
    /// The queue that has an update of this leaf, if one does.
    queue: Guarded<Option<Arc<Queue>>>,
    queued: AtomicBool,
    grad: Guarded<Grad>,
}

const NOBODY: u32 = 0;
const SEVERAL: u32 = u32::MAX;

/// Tracked leaves that are alive, by number: how `back` finds them.
static LEAVES: RwLock<FxHashMap<u64, Weak<Leaf>>> = RwLock::new(FxHashMap::with_hasher(FxBuildHasher));

/// The lock over the leaves that are alive, for a thread that forks.
pub(crate) type Locked = RwLockWriteGuard<'static, FxHashMap<u64, Weak<Leaf>>>;

pub(crate) fn lock() -> Locked {
    LEAVES.write().unwrap_or_else(|e| e.into_inner())
}

/// The leaf of this number, if it is alive.
pub fn by_number(number: u64) -> Option<Arc<Leaf>> {
    LEAVES.read().unwrap_or_else(|e| e.into_inner()).get(&number).and_then(Weak::upgrade)
}

/// An error if an input of a custom gradient is a parameter that was updated since: what a pullback computes of it again would not
/// be the same.
pub fn inputs_are_current(out: &Tensor) -> Result<()> {
    let srcs = out.0.srcs.get(&graph::lock()).clone();
    for s in srcs.iter().skip(1).filter(|s| s.0.leaf != 0) {
        // One that is gone cannot have been updated since.
        let stale = by_number(s.0.leaf).is_some_and(|leaf| leaf.is_queued() || !leaf.peek().ptr_eq(s));
        if stale {
            return Err(graph::overwritten(&s.0));
        }
    }
    Ok(())
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if self.tracked {
            lock().remove(&self.number);
        }
    }
}

impl Leaf {
    /// A leaf with its own buffer.
    pub fn new(buffer: Buffer, shape: &[usize], dtype: DType, device: Device, tracked: bool) -> Arc<Leaf> {
        let number = next_id();
        let current = Tensor::leaf_value(buffer, shape, dtype, device, tracked, number);
        let leaf = Arc::new(Leaf {
            number,
            tracked,
            current: Guarded::new(current),
            user: AtomicU32::new(NOBODY),
            queue: Guarded::new(None),
            queued: AtomicBool::new(false),
            grad: Guarded::default(),
        });
        if tracked {
            lock().insert(number, Arc::downgrade(&leaf));
        }
        leaf
    }

    /// A leaf with a copy of a tensor's value.
    pub fn of(x: &Tensor, tracked: bool) -> Result<Arc<Leaf>> {
        let buffer = crate::ENGINE.own_copy(x)?;
        Ok(Leaf::new(buffer, x.shape(), x.dtype(), x.device(), tracked))
    }

    /// Its number, which the nodes of its values carry.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// The node of the present value. An update that waits is committed first.
    pub fn value(&self) -> Result<Tensor> {
        self.settled(Tensor::clone)
    }

    /// As `value`, with a handle: no update overwrites it before that is gone.
    pub fn held(&self) -> Result<Handle> {
        self.settled(|now| Handle::new(now.clone()))
    }

    /// As `held`, if no update of it waits or is under way.
    pub fn try_held(&self) -> Option<Handle> {
        let g = graph::lock();
        self.queue.get(&g).is_none().then(|| Handle::new(self.used(&g).clone()))
    }

    /// As `try_held`, without a lock.
    ///
    /// # Safety
    /// No other thread evaluates anything during the call.
    pub unsafe fn held_alone(&self) -> Option<Handle> {
        if self.is_queued() {
            return None;
        }
        self.note_user();
        // SAFETY: only an evaluation replaces the value, and this thread is not in one.
        Some(Handle::new(unsafe { self.current.lasting() }.clone()))
    }

    /// The present value for a use by this thread, under the lock.
    fn used<'a>(&'a self, g: &'a Graph) -> &'a Tensor {
        self.note_user();
        self.current.get(g)
    }

    /// Gives whether this thread was no user before.
    fn note_user(&self) -> bool {
        let (was, own) = (self.user.load(Ordering::Relaxed), thread());
        if was != own {
            self.user.store(if was == NOBODY { own } else { SEVERAL }, Ordering::Relaxed);
        }
        was != own && was != SEVERAL
    }

    /// True if no other thread has asked for the present value. Only then may an update of this thread be written over it: what
    /// other threads have made or are making of it may need it, now or for its gradient.
    pub(crate) fn is_this_threads_alone(&self) -> bool {
        self.user.load(Ordering::Relaxed) == thread()
    }

    pub fn device(&self) -> Device {
        self.current.get(&graph::lock()).device()
    }

    /// True if an update of it waits: reading its value runs a plan then.
    pub fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    /// The node of the last committed value, to be looked at and not to be computed with.
    pub fn peek(&self) -> Tensor {
        self.current.get(&graph::lock()).clone()
    }

    pub(crate) fn current<'a>(&'a self, g: &'a Graph) -> &'a Tensor {
        self.current.get(g)
    }

    pub(crate) fn replace(&self, g: &mut Graph, buffer: Buffer) -> Tensor {
        let old = self.current.get(g);
        let new = Tensor::leaf_value(buffer, old.shape(), old.dtype(), old.device(), self.tracked, self.number);
        self.user.store(NOBODY, Ordering::Relaxed);
        self.current.set(g, new)
    }

    /// Makes an earlier value the present one again, which others than this thread may have used.
    pub(crate) fn set_back(&self, g: &mut Graph, earlier: Tensor) -> Tensor {
        self.user.store(SEVERAL, Ordering::Relaxed);
        self.current.set(g, earlier)
    }
}

/// An error unless a leaf that is `now` can take the value.
fn check(op: &str, now: &Tensor, value: &Tensor) -> Result<()> {
    if value.shape() != now.shape() {
        bail!(Shape, "{op}: a parameter of shape {} cannot take a value of shape {}", show(now.shape()), show(value.shape()));
    }
    if value.device() != now.device() && !value.is_number() {
        bail!(Device, "{op}: the parameter lives on {}, the value on {}", now.device(), value.device());
    }
    Ok(())
}

impl<T: Default> Default for Guarded<T> {
    fn default() -> Self {
        Guarded::new(T::default())
    }
}
