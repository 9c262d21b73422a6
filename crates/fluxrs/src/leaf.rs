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

/// Calls of `back` that accumulate before the total is computed.
const MAX_ACCUMULATED: usize = 256;

/// What `back` has accumulated since it was last zeroed.
#[derive(Default)]
pub(crate) struct Grad {
    /// Held like a result in somebody's hands: it is computed before what it needs is overwritten.
    total: Option<Handle>,
    /// Each `back` with its loss and the total before it: what a bad loss is undone to. Not those whose loss is known to be finite.
    before: Vec<(Tensor, Option<Tensor>)>,
    /// How many calls of `back` are in it.
    calls: usize,
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
        let calls = before.len();
        let new = Grad { total: grad.map(Handle::new), before, calls };
        let old = self.grad.set(&mut graph::lock(), new);
        drop(old);
        Ok(())
    }

    /// Adds what `back` of `loss` found.
    pub fn accumulate(&self, part: Tensor, loss: &Tensor) {
        self.shorten_history();
        let mut added = false;
        while !added {
            let old = self.grad();
            let total = old.as_ref().map_or_else(|| part.clone(), |old| graph::no_grad(|| old + &part));
            let mut slot = Some(Handle::new(total));
            let mut g = graph::lock();
            let mut grad = self.grad.set(&mut g, Grad::default());
            // Unless another thread has added to it, or taken it, meanwhile.
            added = same(grad.total.as_ref().map(Handle::tensor), old.as_ref());
            if added {
                std::mem::swap(&mut grad.total, &mut slot);
                grad.before.push((loss.clone(), old));
                grad.calls += 1;
            }
            self.grad.set(&mut g, grad);
        }
    }

    /// Forgets how the gradient was before losses that are known to be finite. What nobody asks for is computed now and then, so
    /// that no chain grows for ever.
    fn shorten_history(&self) {
        let (known, many) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            let known = grad.before.first().is_some_and(|(loss, _)| evaluate::has_value(&g, loss));
            (known, grad.calls > 0 && grad.calls.is_multiple_of(MAX_ACCUMULATED))
        };
        if many {
            evaluate::evaluate_at_bound();
        }
        if known || many {
            self.forget_finite();
        }
    }

    fn forget_finite(&self) {
        let (old, mut before, calls) = {
            let g = graph::lock();
            let grad = self.grad.get(&g);
            (grad.total.as_ref().map(|t| t.tensor().clone()), grad.before.clone(), grad.calls)
        };
        let known = before.len();
        before.retain(|(loss, _)| evaluate::known_finite(loss) != Some(true));
        // Everything goes back to before the first loss that is bad; what came after is no matter.
        if let Some(bad) = before.iter().position(|(loss, _)| evaluate::known_finite(loss) == Some(false)) {
            before.truncate(bad + 1);
        }
        // A total without history derives from no loss any more.
        let total = if before.is_empty() { old.as_ref().map(evaluate::without_guards) } else { old.clone() };
        let mut slot = Some(Grad { total: total.map(Handle::new), before, calls });
        let mut g = graph::lock();
        let now = self.grad.get(&g);
        let unchanged = now.before.len() == known;
        if unchanged && same(now.total.as_ref().map(Handle::tensor), old.as_ref()) {
            let gone = self.grad.set(&mut g, slot.take().expect("made above"));
            slot = Some(gone);
        }
        drop(g);
        drop(slot);
    }

    /// Puts a gradient back that an update took which came to nothing, unless there is a newer one.
    pub(crate) fn restore_grad(&self, g: &mut Graph, update: &Update) {
        if update.spends && self.grad.get(g).total.is_none() {
            let Spent { total, before } = update.spent.clone();
            let calls = before.len();
            let total = total.map(|t| Handle::within(g, t));
            self.grad.set(g, Grad { total, before, calls });
        }
    }

    /// Takes back an update that a device did not make after all; what that leaves is to be dropped after the lock. The memory is as
    /// it was, so that both values are.
    pub(crate) fn set_back(&self, g: &mut Graph, update: &Update, values: Option<&(Tensor, Tensor)>) -> Grad {
        if let Some((old, new)) = values.filter(|(_, new)| self.current.get(g).ptr_eq(new)) {
            let value = new.0.value.get(g).clone();
            old.0.value.set(g, value);
            self.current.set(g, old.clone());
        }
        if !update.spends {
            return Grad::default();
        }
        let gone = self.grad.set(g, Grad::default());
        self.restore_grad(g, update);
        gone
    }

    /// Takes back everything since the first `back` of one of these losses; all, where somebody has written a gradient made of it.
    /// What that leaves is to be dropped after the lock.
    pub(crate) fn undo_grad(&self, g: &mut Graph, bad: &[Tensor]) -> Option<Grad> {
        let Grad { total, before, .. } = self.grad.get(g);
        let is_bad = |loss: &Tensor| bad.iter().any(|b| b.ptr_eq(loss));
        let kept = match before.iter().position(|(loss, _)| is_bad(loss)) {
            Some(first) => {
                let (total, before) = (before[first].1.clone(), before[..first].to_vec());
                Grad { total: total.map(|t| Handle::within(g, t)), before, calls: first }
            }
            None if total.as_ref()?.tensor().0.guards.as_ref()?.0.iter().any(is_bad) => Grad::default(),
            None => return None,
        };
        Some(self.grad.set(g, kept))
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

fn same(a: Option<&Tensor>, b: Option<&Tensor>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.ptr_eq(b),
        (a, b) => a.is_none() && b.is_none(),
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
    let spent = Spent { total: grad.total.as_ref().map(|t| t.tensor().clone()), before: grad.before };
    queue.updates.lock().unwrap_or_else(|e| e.into_inner()).push(Update { leaf: leaf.clone(), value, spends, spent });
    leaf.queue.set(&mut g, Some(queue));
    leaf.queued.store(true, Ordering::Release);
    drop(g);
    drop(grad.total);
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
    type Before = Vec<(Tensor, Option<Tensor>)>;
    let now: Vec<(Option<Tensor>, Before)> = {
        let g = graph::lock();
        let grads = leaves.iter().map(|l| l.grad.get(&g));
        grads.map(|grad| (grad.total.as_ref().map(|t| t.tensor().clone()), grad.before.clone())).collect()
    };
    let mut losses: Vec<&Tensor> = Vec::new();
    for (loss, _) in now.iter().flat_map(|(_, before)| before) {
        if !losses.iter().any(|l| l.ptr_eq(loss)) {
            losses.push(loss);
        }
    }
    for ((leaf, (total, before)), grad) in leaves.iter().zip(&now).zip(grads) {
        let mut before = before.clone();
        for &loss in &losses {
            if !before.iter().any(|(l, _)| l.ptr_eq(loss)) {
                before.push((loss.clone(), total.clone()));
            }
        }
        leaf.put_grad(Some(grad), before)?;
    }
    Ok(())
}

/// Takes back what `back` of this loss, and those after it, added to the gradients of its leaves.
pub fn forget(loss: &Tensor) {
    for leaf in crate::tape::leaves(loss).into_iter().filter_map(by_number) {
        let gone = leaf.undo_grad(&mut graph::lock(), std::slice::from_ref(loss));
        drop(gone);
    }
}
