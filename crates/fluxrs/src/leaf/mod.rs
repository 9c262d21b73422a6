//! Leaves: parameters and optimiser state. A leaf is an identity whose value is replaced by updates.

mod grad;

pub(crate) use grad::Bad;
pub use grad::{back, forget, replace_grads};

use crate::bail;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::evaluate::{self, Handle};
use crate::graph::{self, Graph, Guarded, Tensor, next_id};
use crate::shape::show;
use crate::small_map::SmallMap;
use grad::{Grad, Spent};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

pub struct Leaf {
    number: u64,
    tracked: bool,
    /// The value after the last committed update: always a node whose buffer is there.
    current: Guarded<Tensor>,
    /// The queue that holds an update of this leaf, if one does.
    queue: Guarded<Option<Arc<Queue>>>,
    queued: AtomicBool,
    grad: Guarded<Grad>,
}

/// Updates of one thread that will be committed together.
#[derive(Default)]
pub struct Queue {
    updates: Mutex<Vec<Update>>,
    /// What went wrong when another thread committed them.
    failure: Mutex<Option<Error>>,
}

/// A leaf and the value it is to take.
#[derive(Clone)]
pub struct Update {
    pub leaf: Arc<Leaf>,
    pub value: Tensor,
    /// Whether it took the gradient away.
    spends: bool,
    spent: Spent,
}

thread_local! {
    static QUEUE: Arc<Queue> = Arc::default();
}

/// Tracked leaves that are alive, by number: how `back` finds them.
static LEAVES: RwLock<FxHashMap<u64, Weak<Leaf>>> = RwLock::new(FxHashMap::with_hasher(FxBuildHasher));

/// The leaf of this number, if anybody still has it.
pub fn by_number(number: u64) -> Option<Arc<Leaf>> {
    LEAVES.read().unwrap_or_else(|e| e.into_inner()).get(&number).and_then(Weak::upgrade)
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if self.tracked {
            LEAVES.write().unwrap_or_else(|e| e.into_inner()).remove(&self.number);
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
            queue: Guarded::new(None),
            queued: AtomicBool::new(false),
            grad: Guarded::default(),
        });
        if tracked {
            LEAVES.write().unwrap_or_else(|e| e.into_inner()).insert(number, Arc::downgrade(&leaf));
        }
        leaf
    }

    /// A leaf with a copy of a tensor's value.
    pub fn of(x: &Tensor, tracked: bool) -> Result<Arc<Leaf>> {
        let (buffer, device) = evaluate::own_copy(x)?;
        Ok(Leaf::new(buffer, x.shape(), x.dtype(), device, tracked))
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

    /// As `value`, held from the start: no update of another thread can overwrite it before it has been used.
    pub fn held(&self) -> Result<Handle> {
        self.settled(|now| Handle::new(now.clone()))
    }

    /// As `held`, if no update of it waits or is under way.
    pub fn try_held(&self) -> Option<Handle> {
        let g = graph::lock();
        self.queue.get(&g).is_none().then(|| Handle::new(self.current.get(&g).clone()))
    }

    /// The node of the present value, if no update of it waits or is under way; without a lock.
    ///
    /// # Safety
    /// No other thread evaluates anything during the call.
    pub unsafe fn value_alone(&self) -> Option<Tensor> {
        // SAFETY: only an evaluation replaces the value, and this thread is not in one.
        (!self.is_queued()).then(|| unsafe { self.current.lasting() }.clone())
    }

    /// What `take` makes of the present value, while no update of it waits or is under way.
    fn settled<R>(&self, take: impl Fn(&Tensor) -> R) -> Result<R> {
        loop {
            let queue = {
                let g = graph::lock();
                match self.queue.get(&g) {
                    None => return Ok(take(self.current.get(&g))),
                    Some(queue) => queue.clone(),
                }
            };
            if QUEUE.with(|own| Arc::ptr_eq(own, &queue)) {
                flush()?;
                continue;
            }
            // A step of another thread that is being committed is waited for; only what still waits then is committed here.
            evaluate::wait()?;
            let waits = self.queue.get(&graph::lock()).is_some();
            // That thread hears of what goes wrong with its step.
            if waits && let Err(error) = evaluate::commit(&queue) {
                *queue.failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        }
    }

    pub fn device(&self) -> Device {
        self.current.get(&graph::lock()).device()
    }

    /// Whether an update of it waits: reading its value runs a plan then.
    pub fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Acquire)
    }

    /// The node of the last committed value.
    pub fn peek(&self) -> Tensor {
        self.current.get(&graph::lock()).clone()
    }

    pub(crate) fn current<'a>(&'a self, g: &'a Graph) -> &'a Tensor {
        self.current.get(g)
    }

    pub(crate) fn replace(&self, g: &mut Graph, buffer: Buffer) -> Tensor {
        let old = self.current.get(g);
        let new = Tensor::leaf_value(buffer, old.shape(), old.dtype(), old.device(), self.tracked, self.number);
        self.current.set(g, new)
    }

    /// Moves the leaf, with its gradient, to a value of another device.
    pub fn relocate(&self, buffer: Buffer, device: Device, dtype: DType) {
        // What is let go goes after the lock, here as below: with it may go a graph, and what Python runs when that does.
        let gone = {
            let mut g = graph::lock();
            let shape = self.current.get(&g).shape().to_vec();
            let new = Tensor::leaf_value(buffer, &shape, dtype, device, self.tracked, self.number);
            (self.current.set(&mut g, new), self.grad.set(&mut g, Grad::default()))
        };
        drop(gone);
    }

    fn check(&self, op: &str, value: &Tensor) -> Result<()> {
        let now = self.peek();
        if value.shape() != now.shape() {
            bail!(Shape, "{op}: a parameter of shape {} cannot take a value of shape {}", show(now.shape()), show(value.shape()));
        }
        if value.device() != now.device() && !value.is_number() {
            bail!(Device, "{op}: the parameter lives on {}, the value on {}", now.device(), value.device());
        }
        Ok(())
    }
}

impl<T: Default> Default for Guarded<T> {
    fn default() -> Self {
        Guarded::new(T::default())
    }
}

/// Queues p ← p + Δ and zeroes p's gradient.
pub fn update(leaf: &Arc<Leaf>, delta: &Tensor) -> Result<()> {
    while !update_from(leaf, &leaf.held()?, delta)? {}
    Ok(())
}

/// As `update`, unless that would wait for an update that is queued or under way: then false, and nothing is done.
pub fn try_update(leaf: &Arc<Leaf>, delta: &Tensor) -> Result<bool> {
    leaf.try_held().map_or(Ok(false), |now| update_from(leaf, &now, delta))
}

fn update_from(leaf: &Arc<Leaf>, now: &Handle, delta: &Tensor) -> Result<bool> {
    if !delta.is_number() {
        leaf.check("update", delta)?;
    }
    let now = now.tensor();
    let delta = if delta.is_number() { delta.clone() } else { delta.cast(now.dtype()) };
    let new = graph::no_grad(|| crate::ops::Elementwise::add.apply(&[now, &delta]))?;
    Ok(push(leaf, new, Some(now), true))
}

/// Queues p ← value; the gradient stays.
pub fn assign(leaf: &Arc<Leaf>, value: &Tensor) -> Result<()> {
    queue_made_of(leaf, |now| {
        leaf.check("assign", value)?;
        // A leaf never shares the value's memory, which somebody else may hold: it gets a computed copy.
        Ok(value.cast(now.dtype()).copied())
    })
}

/// Queues what `make` makes of the present value; again if another thread was quicker with an update of its own.
fn queue_made_of(leaf: &Arc<Leaf>, make: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    loop {
        let now = leaf.held()?;
        let new = graph::no_grad(|| make(now.tensor()))?;
        if push(leaf, new, Some(now.tensor()), false) {
            return Ok(());
        }
    }
}

/// Queues p ← value, a result made of p for this purpose.
pub(crate) fn replace(leaf: &Arc<Leaf>, value: Tensor) -> Result<()> {
    push(leaf, value, None, true);
    Ok(())
}

/// Queues a value, which takes the gradient away if it `spends` it; not if it was made of another one than the leaf now has.
fn push(leaf: &Arc<Leaf>, value: Tensor, made_of: Option<&Tensor>, spends: bool) -> bool {
    let queue = QUEUE.with(Arc::clone);
    let mut g = graph::lock();
    if made_of.is_some_and(|now| leaf.queue.get(&g).is_some() || !leaf.current.get(&g).ptr_eq(now)) {
        return false;
    }
    let grad = if spends { leaf.grad.set(&mut g, Grad::default()) } else { Grad::default() };
    let (spent, gone) = grad.spend();
    queue.updates.lock().unwrap_or_else(|e| e.into_inner()).push(Update { leaf: leaf.clone(), value, spends, spent });
    leaf.queue.set(&mut g, Some(queue));
    leaf.queued.store(true, Ordering::Release);
    drop(g);
    drop(gone);
    true
}

/// Commits everything this thread has queued, as one plan. Whatever happens, nothing is queued afterwards.
pub fn flush() -> Result<()> {
    let queue = QUEUE.with(Arc::clone);
    let result = evaluate::commit(&queue);
    let failure = queue.failure.lock().unwrap_or_else(|e| e.into_inner()).take();
    failure.map_or(result, Err)
}

/// Keeps what went wrong where nobody could be told, for this thread's next `flush`.
pub(crate) fn fail(error: Error) {
    QUEUE.with(|queue| *queue.failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error));
}

/// Whether this thread has queued something.
pub fn has_queued() -> bool {
    QUEUE.with(|q| !q.updates.lock().unwrap_or_else(|e| e.into_inner()).is_empty())
}

/// How many updates this thread has queued.
pub fn queued() -> usize {
    QUEUE.with(|q| q.updates.lock().unwrap_or_else(|e| e.into_inner()).len())
}

/// What this thread has queued, as it waits.
pub(crate) fn queued_updates() -> Vec<Update> {
    QUEUE.with(|q| q.updates.lock().unwrap_or_else(|e| e.into_inner()).clone())
}

/// Forgets what this thread has queued since there were `from` updates.
pub fn discard(from: usize) {
    QUEUE.with(|queue| {
        let mut g = graph::lock();
        let mut list = queue.updates.lock().unwrap_or_else(|e| e.into_inner());
        let from = from.min(list.len());
        let gone = list.split_off(from);
        let kept: SmallMap<u64> = list.iter().map(|u| u.leaf.number).collect();
        for u in &gone {
            if !kept.contains(&u.leaf.number) {
                u.leaf.queue.set(&mut g, None);
                u.leaf.queued.store(false, Ordering::Release);
                u.leaf.restore_grad(&mut g, u);
            }
        }
        drop((list, g, gone));
    });
}

/// Takes a queue's updates: called by the evaluation that commits or discards them, which releases their leaves when it is done.
pub(crate) fn take_updates(queue: &Queue) -> Vec<Update> {
    std::mem::take(&mut *queue.updates.lock().unwrap_or_else(|e| e.into_inner()))
}

/// Their leaves may be used again: until then other threads wait.
pub(crate) fn release(g: &mut Graph, updates: &[Update]) {
    for u in updates {
        u.leaf.queue.set(g, None);
        u.leaf.queued.store(false, Ordering::Release);
    }
}
