//! Leaves: parameters and optimiser state. A leaf is an identity whose value is replaced by updates.

use crate::bail;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::evaluate::{self, Handle};
use crate::graph::{self, Graph, Guarded, Tensor, next_id};
use crate::shape::show;
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

/// What `back` has accumulated since it was last zeroed.
#[derive(Clone, Default)]
struct Grad {
    /// Held like a result in somebody's hands: it is computed before what it needs is overwritten.
    total: Option<Handle>,
    /// Each `back` with its loss and the total before it: what a bad loss is undone to.
    before: Vec<(Tensor, Option<Tensor>)>,
}

/// A gradient that an update has taken away, to be put back if the update comes to nothing.
#[derive(Clone, Default)]
struct Spent {
    total: Option<Tensor>,
    before: Vec<(Tensor, Option<Tensor>)>,
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
            evaluate::wait();
            let waits = self.queue.get(&graph::lock()).is_some();
            // That thread hears of what goes wrong with its step.
            if waits && let Err(error) = evaluate::commit(&queue) {
                *queue.failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        }
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
        let mut g = graph::lock();
        let shape = self.current.get(&g).shape().to_vec();
        let new = Tensor::leaf_value(buffer, &shape, dtype, device, self.tracked, self.number);
        self.current.set(&mut g, new);
        self.grad.set(&mut g, Grad::default());
    }

    /// The accumulated gradient; None before the first `back`.
    pub fn grad(&self) -> Option<Tensor> {
        self.grad.get(&graph::lock()).total.as_ref().map(|t| t.tensor().clone())
    }

    pub fn set_grad(&self, grad: Option<Tensor>) -> Result<()> {
        self.put_grad(grad, vec![])
    }

    fn put_grad(&self, grad: Option<Tensor>, before: Vec<(Tensor, Option<Tensor>)>) -> Result<()> {
        if let Some(g) = &grad {
            self.check("grad", g)?;
        }
        let new = Grad { total: grad.map(Handle::new), before };
        let old = self.grad.set(&mut graph::lock(), new);
        drop(old);
        Ok(())
    }

    /// Adds what `back` of `loss` found.
    pub fn accumulate(&self, part: Tensor, loss: &Tensor) {
        let mut new = self.grad.get(&graph::lock()).clone();
        let total = match &new.total {
            None => part,
            Some(old) => graph::no_grad(|| old.tensor() + part),
        };
        let old = new.total.replace(Handle::new(total));
        new.before.push((loss.clone(), old.map(|t| t.tensor().clone())));
        let old = self.grad.set(&mut graph::lock(), new);
        drop(old);
    }

    /// Puts a gradient back that an update took which came to nothing, unless there is a newer one.
    pub(crate) fn restore_grad(&self, g: &mut Graph, update: &Update) {
        if self.grad.get(g).total.is_none() {
            let Spent { total, before } = update.spent.clone();
            self.grad.set(g, Grad { total: total.map(Handle::new), before });
        }
    }

    /// Takes back everything since the first `back` of one of these losses.
    pub(crate) fn undo_grad(&self, g: &mut Graph, bad: &[Tensor]) {
        let mut grad = self.grad.get(g).clone();
        if let Some(first) = grad.before.iter().position(|(loss, _)| bad.iter().any(|b| b.ptr_eq(loss))) {
            grad.total = grad.before[first].1.clone().map(Handle::new);
            grad.before.truncate(first);
            self.grad.set(g, grad);
        }
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
    let now = leaf.value()?;
    if !delta.is_number() {
        leaf.check("update", delta)?;
    }
    let new = graph::no_grad(|| {
        crate::ops::Elementwise::add.apply(&[&now, &if delta.is_number() { delta.clone() } else { delta.cast(now.dtype()) }])
    })?;
    push(leaf, new, true)
}

/// Queues p ← value; the gradient stays.
pub fn assign(leaf: &Arc<Leaf>, value: &Tensor) -> Result<()> {
    let now = leaf.value()?;
    leaf.check("assign", value)?;
    let new = graph::no_grad(|| value.cast(now.dtype()));
    // A leaf never shares the value's memory, which somebody else may hold: it gets a computed copy.
    push(leaf, graph::no_grad(|| new.copied()), false)
}

/// Queues p ← value, a result made of p for this purpose.
pub(crate) fn replace(leaf: &Arc<Leaf>, value: Tensor) -> Result<()> {
    push(leaf, value, true)
}

/// Queues a new value, which takes the gradient away if it `spends` it.
fn push(leaf: &Arc<Leaf>, value: Tensor, spends: bool) -> Result<()> {
    let queue = QUEUE.with(Arc::clone);
    let mut g = graph::lock();
    let grad = if spends { leaf.grad.set(&mut g, Grad::default()) } else { Grad::default() };
    let spent = Spent { total: grad.total.as_ref().map(|t| t.tensor().clone()), before: grad.before };
    queue.updates.lock().unwrap_or_else(|e| e.into_inner()).push(Update { leaf: leaf.clone(), value, spent });
    leaf.queue.set(&mut g, Some(queue));
    leaf.queued.store(true, Ordering::Release);
    drop(g);
    drop(grad.total);
    Ok(())
}

/// Commits everything this thread has queued, as one plan. Whatever happens, nothing is queued afterwards.
pub fn flush() -> Result<()> {
    let queue = QUEUE.with(Arc::clone);
    let result = evaluate::commit(&queue);
    let failure = queue.failure.lock().unwrap_or_else(|e| e.into_inner()).take();
    failure.map_or(result, Err)
}

/// Whether this thread has queued something.
pub fn has_queued() -> bool {
    QUEUE.with(|q| !q.updates.lock().unwrap_or_else(|e| e.into_inner()).is_empty())
}

/// How many updates this thread has queued.
pub fn queued() -> usize {
    QUEUE.with(|q| q.updates.lock().unwrap_or_else(|e| e.into_inner()).len())
}

/// Forgets what this thread has queued since there were `from` updates.
pub fn discard(from: usize) {
    QUEUE.with(|queue| {
        let mut g = graph::lock();
        let mut list = queue.updates.lock().unwrap_or_else(|e| e.into_inner());
        let from = from.min(list.len());
        let gone = list.split_off(from);
        for u in &gone {
            if !list.iter().any(|kept| Arc::ptr_eq(&kept.leaf, &u.leaf)) {
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

/// Adds the gradient of `y` (weighted by `seed`) to the `.grad` of every leaf that it depends on; returns how many there are.
pub fn back(y: &Tensor, seed: Option<&Tensor>) -> Result<usize> {
    let y = &crate::tape::whole(y);
    let leaves: Vec<Arc<Leaf>> = crate::tape::leaves(y).into_iter().filter_map(by_number).collect();
    let targets: Vec<_> = leaves.iter().map(|l| crate::tape::Target::Leaf(l.number)).collect();
    let grads = crate::tape::gradient(y, seed, &targets, false)?;
    for (leaf, grad) in leaves.iter().zip(grads) {
        if let Some(grad) = grad {
            leaf.accumulate(grad, y);
        }
    }
    Ok(leaves.len())
}

/// Gradients made of all those that the leaves have, by a common norm for example: what a bad loss has spoilt is undone in all.
pub fn replace_grads(leaves: &[Arc<Leaf>], grads: Vec<Tensor>) -> Result<()> {
    let now: Vec<Grad> = leaves.iter().map(|l| l.grad.get(&graph::lock()).clone()).collect();
    let mut losses: Vec<&Tensor> = Vec::new();
    for (loss, _) in now.iter().flat_map(|g| &g.before) {
        if !losses.iter().any(|l| l.ptr_eq(loss)) {
            losses.push(loss);
        }
    }
    for ((leaf, old), grad) in leaves.iter().zip(&now).zip(grads) {
        let mut before = old.before.clone();
        for &loss in &losses {
            if !before.iter().any(|(l, _)| l.ptr_eq(loss)) {
                before.push((loss.clone(), old.total.as_ref().map(|t| t.tensor().clone())));
            }
        }
        leaf.put_grad(Some(grad), before)?;
    }
    Ok(())
}

/// Takes back what `back` of this loss, and those after it, added to the gradients of its leaves.
pub fn forget(loss: &Tensor) {
    for leaf in crate::tape::leaves(loss).into_iter().filter_map(by_number) {
        leaf.undo_grad(&mut graph::lock(), std::slice::from_ref(loss));
    }
}
