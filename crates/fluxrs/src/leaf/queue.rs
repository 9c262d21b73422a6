//! Updates wait in a queue of their thread and are committed together, as one plan.

use super::Leaf;
use super::grad::Spent;
use crate::error::{Error, Result};
use crate::graph::{self, Claim, Graph, Handle, Tensor};
use crate::ops::Elementwise;
use crate::small_map::SmallMap;
use smallvec::{SmallVec, smallvec};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

/// Updates of one thread that will be committed together.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    /// The error of another thread's attempt to commit them.
    failure: Mutex<Option<Error>>,
}

/// A leaf, the value that it is to take, and the gradient that this took away.
struct Waiting {
    leaf: Arc<Leaf>,
    value: Claim,
    spent: Option<Spent<Claim>>,
}

/// An update that is being committed.
#[derive(Clone)]
pub struct Update {
    pub leaf: Arc<Leaf>,
    pub value: Tensor,
    pub(super) spent: Option<Spent<Tensor>>,
}

impl Update {
    /// Every tensor it refers to.
    pub(crate) fn references(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.value).chain(self.spent.iter().flat_map(Spent::references))
    }
}

thread_local! {
    static QUEUE: Arc<Queue> = Arc::default();
}

/// A new value for a leaf, made of the value that it has.
pub struct Change<'a> {
    pub leaf: &'a Arc<Leaf>,
    pub made_of: &'a Tensor,
    pub value: Tensor,
    /// True if it takes the accumulated gradient away.
    pub spends: bool,
}

/// The evaluation that runs the plan of a queue.
pub trait Committer: Sync {
    /// Commits the updates of a queue; whatever happens, it is empty afterwards.
    fn commit(&self, queue: &Queue) -> Result<()>;

    /// Waits for the evaluation under way.
    fn wait(&self) -> Result<()>;
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Leaf {
    /// The result of `take` of the present value, while no update of it waits or is under way.
    pub(super) fn settled<R>(&self, take: impl Fn(&Tensor) -> R) -> Result<R> {
        loop {
            let queue = {
                let g = graph::lock();
                match self.queue.get(&g) {
                    None => return Ok(take(self.used(&g))),
                    Some(queue) => queue.clone(),
                }
            };
            if QUEUE.with(|own| Arc::ptr_eq(own, &queue)) {
                flush()?;
                continue;
            }
            // A step of another thread that is being committed is waited for; only what still waits then is committed here.
            crate::COMMITTER.wait()?;
            let waits = self.queue.get(&graph::lock()).is_some();
            // That thread hears of what goes wrong with its step.
            if waits && let Err(error) = crate::COMMITTER.commit(&queue) {
                *queue.failure() = Some(error);
            }
        }
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
    let made_of = now.tensor();
    let delta = if delta.is_number() { delta.clone() } else { delta.cast(made_of.dtype()) };
    let value = graph::no_grad(|| Elementwise::add.apply(&[made_of, &delta]))?;
    Ok(queue(smallvec![Change { leaf, made_of, value, spends: true }]))
}

/// Queues p ← value; the gradient stays.
pub fn assign(leaf: &Arc<Leaf>, value: &Tensor) -> Result<()> {
    loop {
        let now = leaf.held()?;
        let made_of = now.tensor();
        leaf.check("assign", value)?;
        // A leaf never shares the value's memory, which may be seen from elsewhere: it gets a computed copy.
        let value = graph::no_grad(|| value.cast(made_of.dtype()).copied());
        if queue(smallvec![Change { leaf, made_of, value, spends: false }]) {
            return Ok(());
        }
    }
}

/// Queues these values together; none of them, and false, if a leaf has another value by now than its new one was made of.
pub fn queue(changes: SmallVec<[Change<'_>; 4]>) -> bool {
    let queue = QUEUE.with(Arc::clone);
    let mut g = graph::lock();
    let outdated = |c: &Change<'_>| c.leaf.queue.get(&g).is_some() || !c.leaf.current.get(&g).ptr_eq(c.made_of);
    if changes.iter().any(outdated) {
        return false;
    }
    // Handles go after the lock.
    let mut gone: SmallVec<[Handle; 4]> = SmallVec::new();
    let mut waiting = queue.waiting();
    for Change { leaf, value, spends, .. } in changes {
        let spent = spends.then(|| leaf.take_grad(&mut g).spend(&mut g, &mut gone));
        waiting.push(Waiting { leaf: leaf.clone(), value: Claim::new(&mut g, value), spent });
        leaf.queue.set(&mut g, Some(queue.clone()));
        leaf.queued.store(true, Ordering::Release);
    }
    drop((waiting, g, gone));
    true
}

/// Commits everything this thread has queued, as one plan. Whatever happens, nothing is queued afterwards.
pub fn flush() -> Result<()> {
    let queue = QUEUE.with(Arc::clone);
    let result = crate::COMMITTER.commit(&queue);
    let failure = queue.failure().take();
    failure.map_or(result, Err)
}

/// Keeps an error that no caller could be told, for this thread's next `flush`.
pub(crate) fn fail(error: Error) {
    QUEUE.with(|queue| *queue.failure() = Some(error));
}

/// True if this thread has queued an update, or has to hear of one that another thread tried to commit.
pub fn has_queued() -> bool {
    QUEUE.with(|q| !q.waiting().is_empty() || q.failure().is_some())
}

/// The number of updates this thread has queued.
pub fn queued() -> usize {
    QUEUE.with(|q| q.waiting().len())
}

/// The updates that this thread has queued, which go on waiting.
pub(crate) fn queued_updates() -> Vec<Update> {
    let update = |w: &Waiting| Update { leaf: w.leaf.clone(), value: w.value.tensor().clone(), spent: None };
    QUEUE.with(|q| q.waiting().iter().map(update).collect())
}

/// Forgets what this thread has queued since there were `from` updates.
pub fn discard(from: usize) {
    QUEUE.with(|queue| {
        let mut g = graph::lock();
        let mut list = queue.waiting();
        let from = from.min(list.len());
        let rest = list.split_off(from);
        let updates: Vec<Update> = rest.into_iter().map(|w| w.taken(&mut g)).collect();
        let kept: SmallMap<u64> = list.iter().map(|w| w.leaf.number).collect();
        let mut gone = Vec::new();
        for u in &updates {
            if !kept.contains(&u.leaf.number) {
                release(&mut g, std::slice::from_ref(u));
                gone.extend(u.restore_grad(&mut g));
            }
        }
        drop((list, g, gone, updates));
    });
}

impl Waiting {
    /// Without claims: what it needs is not overwritten before it has been committed or has failed.
    fn taken(self, g: &mut Graph) -> Update {
        Update { leaf: self.leaf, value: self.value.release(g), spent: self.spent.map(|spent| spent.release(g)) }
    }
}

/// Takes a queue's updates: called by the evaluation that commits or discards them, which releases their leaves when it is done.
pub(crate) fn take_updates(g: &mut Graph, queue: &Queue) -> Vec<Update> {
    let waiting = std::mem::take(&mut *queue.waiting());
    waiting.into_iter().map(|w| w.taken(g)).collect()
}

/// Their leaves may be used again: until then other threads wait.
pub(crate) fn release(g: &mut Graph, updates: &[Update]) {
    for u in updates {
        u.leaf.queue.set(g, None);
        u.leaf.queued.store(false, Ordering::Release);
    }
}
