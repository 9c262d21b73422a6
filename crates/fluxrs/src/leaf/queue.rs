//! Updates wait in a queue of their thread and are committed together, as one plan.

use super::Leaf;
use super::grad::Spent;
use crate::bail;
use crate::error::{Error, Result};
use crate::graph::{self, Claim, Graph, Guarded, Handle, Tensor};
use crate::ops::Elementwise;
use crate::small_map::SmallMap;
use smallvec::{SmallVec, smallvec};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Updates of one thread that will be committed together. All under the graph lock, which a thread that forks has: no thread that
/// is missing in the child can have locked them there.
#[derive(Default)]
pub struct Queue {
    waiting: Guarded<Waiting>,
    /// The error of another thread's attempt to commit them.
    failure: Guarded<Option<Error>>,
    /// True once the thread has ended: no later call on it returns an error.
    orphaned: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    list: Vec<Wait>,
    /// The number of updates that were here before and have been taken to be committed.
    taken: usize,
}

/// A leaf, the value that it is to take, and the gradient that this took away.
struct Wait {
    /// Weak: the leaf refers to the queue, and an update of a dropped leaf changes nothing.
    leaf: Weak<Leaf>,
    number: u64,
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
    static QUEUE: Own = Own::default();
}

/// A thread's queue, for as long as the thread runs.
#[derive(Default)]
struct Own(Arc<Queue>);

impl Deref for Own {
    type Target = Arc<Queue>;
    fn deref(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.orphaned.store(true, Ordering::Release);
    }
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

    /// As `wait`, and releases what that evaluation may wait for until it is done.
    fn stand_by(&self) -> Result<()>;
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
            // That thread raises the error of its step; if it has ended, this one does.
            if waits && let Err(error) = crate::COMMITTER.commit(&queue) {
                if queue.orphaned.load(Ordering::Acquire) {
                    return Err(error);
                }
                queue.failure.set(&mut graph::lock(), Some(error));
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
    Ok(queue(smallvec![Change::added(leaf, now, delta)?]))
}

/// Queues p ← value; the gradient stays.
pub fn assign(leaf: &Arc<Leaf>, value: &Tensor) -> Result<()> {
    change(&[], &[(leaf.clone(), value.clone())])
}

/// Queues p ← p + Δ for some and p ← value for others, all together: no other thread commits a part of them.
pub fn change(added: &[(Arc<Leaf>, Tensor)], given: &[(Arc<Leaf>, Tensor)]) -> Result<()> {
    let held = |of: &[(Arc<Leaf>, Tensor)]| of.iter().map(|(leaf, _)| leaf.held()).collect::<Result<Vec<Handle>>>();
    loop {
        let (first, second) = (held(added)?, held(given)?);
        let added = added.iter().zip(&first).map(|((leaf, delta), now)| Change::added(leaf, now, delta));
        let given = given.iter().zip(&second).map(|((leaf, value), now)| Change::given(leaf, now, value));
        if queue(added.chain(given).collect::<Result<_>>()?) {
            return Ok(());
        }
    }
}

/// An error in a function that a scan runs: it is traced once, so that a write there would happen once.
pub(super) fn no_scan(op: &str) -> Result<()> {
    match graph::level() {
        0 => Ok(()),
        _ => bail!(
            Value,
            "{op}: a parameter or a layer's running statistics cannot be written in the function of a scan, which is traced once for all steps: make it a part of the state, or put layers such as BatchNorm into testing mode"
        ),
    }
}

impl<'a> Change<'a> {
    fn added(leaf: &'a Arc<Leaf>, now: &'a Handle, delta: &Tensor) -> Result<Change<'a>> {
        no_scan("update")?;
        let made_of = now.tensor();
        if !delta.is_number() {
            super::check("update", made_of, delta)?;
        }
        let delta = if delta.is_number() { delta.clone() } else { delta.cast(made_of.dtype()) };
        let value = graph::no_grad(|| Elementwise::add.apply(&[made_of, &delta]))?;
        Ok(Change { leaf, made_of, value, spends: true })
    }

    fn given(leaf: &'a Arc<Leaf>, now: &'a Handle, value: &Tensor) -> Result<Change<'a>> {
        no_scan("data")?;
        let made_of = now.tensor();
        super::check("assign", made_of, value)?;
        // A leaf never shares the value's memory, which may be seen from elsewhere: it gets a computed copy.
        let value = graph::no_grad(|| value.cast(made_of.dtype()).copied());
        Ok(Change { leaf, made_of, value, spends: false })
    }
}

/// Queues these values together; none of them, and false, if a leaf has another value by now than its new one was made of.
pub fn queue(changes: SmallVec<[Change<'_>; 4]>) -> bool {
    let queue = QUEUE.with(|own| Arc::clone(own));
    let mut g = graph::lock();
    let outdated = |c: &Change<'_>| c.leaf.queue.get(&g).is_some() || !c.leaf.current.get(&g).ptr_eq(c.made_of);
    if changes.iter().any(outdated) {
        return false;
    }
    // Handles go after the lock.
    let mut gone: SmallVec<[Handle; 4]> = SmallVec::new();
    let mut waiting = queue.waiting.set(&mut g, Waiting::default());
    for Change { leaf, value, spends, .. } in changes {
        let spent = spends.then(|| leaf.take_grad(&mut g).spend(&mut g, &mut gone));
        let value = Claim::new(&mut g, value);
        waiting.list.push(Wait { leaf: Arc::downgrade(leaf), number: leaf.number, value, spent });
        leaf.queue.set(&mut g, Some(queue.clone()));
        leaf.queued.store(true, Ordering::Release);
    }
    queue.waiting.set(&mut g, waiting);
    drop((g, gone));
    true
}

/// Commits everything this thread has queued, as one plan. Whatever happens, nothing is queued afterwards.
pub fn flush() -> Result<()> {
    let queue = QUEUE.with(|own| Arc::clone(own));
    let result = crate::COMMITTER.commit(&queue);
    let failure = queue.failure.set(&mut graph::lock(), None);
    failure.map_or(result, Err)
}

/// Keeps an error that no caller could be told, for this thread's next `flush`.
pub(crate) fn fail(error: Error) {
    QUEUE.with(|queue| queue.failure.set(&mut graph::lock(), Some(error)));
}

/// True if this thread has queued an update, or has to hear of one that another thread tried to commit.
pub fn has_queued() -> bool {
    let g = graph::lock();
    QUEUE.with(|q| !q.waiting.get(&g).list.is_empty() || q.failure.get(&g).is_some())
}

/// The number of updates this thread has queued.
pub fn queued() -> usize {
    let g = graph::lock();
    QUEUE.with(|q| q.waiting.get(&g).list.len())
}

/// The number of updates this thread has ever queued: the place of the next one, for `discard`.
pub fn position() -> usize {
    let g = graph::lock();
    QUEUE.with(|q| {
        let waiting = q.waiting.get(&g);
        waiting.taken + waiting.list.len()
    })
}

/// The updates that this thread has queued, which go on waiting.
pub(crate) fn queued_updates() -> Vec<Update> {
    let update = |w: &Wait| Some(Update { leaf: w.leaf.upgrade()?, value: w.value.tensor().clone(), spent: None });
    let g = graph::lock();
    QUEUE.with(|q| q.waiting.get(&g).list.iter().filter_map(update).collect())
}

/// Drops the updates that this thread has queued from `position` on and that have not been committed.
pub fn discard(position: usize) {
    QUEUE.with(|queue| {
        let (mut updates, mut gone) = (Vec::new(), Vec::new());
        let mut g = graph::lock();
        let mut waiting = queue.waiting.set(&mut g, Waiting::default());
        let from = position.saturating_sub(waiting.taken).min(waiting.list.len());
        let rest = waiting.list.split_off(from);
        let lost: Vec<Wait> = rest.into_iter().filter_map(|w| w.taken(&mut g, &mut updates)).collect();
        let kept: SmallMap<u64> = waiting.list.iter().map(|w| w.number).collect();
        for u in &updates {
            if !kept.contains(&u.leaf.number) {
                release(&mut g, std::slice::from_ref(u));
                gone.extend(u.restore_grad(&mut g));
            }
        }
        queue.waiting.set(&mut g, waiting);
        drop((g, gone, updates, lost));
    });
}

impl Wait {
    /// Adds the update to `updates` without claims: its operands are not overwritten before it has been committed or has failed.
    /// If its leaf is gone it is returned, to be dropped after the lock.
    fn taken(self, g: &mut Graph, updates: &mut Vec<Update>) -> Option<Wait> {
        let Some(leaf) = self.leaf.upgrade() else { return Some(self) };
        updates.push(Update { leaf, value: self.value.release(g), spent: self.spent.map(|spent| spent.release(g)) });
        None
    }
}

/// Updates of leaves that are gone.
#[derive(Default)]
pub(crate) struct Lost(#[expect(dead_code, reason = "held to be dropped")] Vec<Wait>);

/// Takes a queue's updates: called by the evaluation that commits or discards them, which releases their leaves when it is done.
/// The caller drops the second result after the lock.
pub(crate) fn take_updates(g: &mut Graph, queue: &Queue) -> (Vec<Update>, Lost) {
    let mut waiting = queue.waiting.set(g, Waiting::default());
    waiting.taken += waiting.list.len();
    let mut updates = Vec::with_capacity(waiting.list.len());
    let mut lost = Vec::new();
    for w in waiting.list.drain(..) {
        lost.extend(w.taken(g, &mut updates));
    }
    queue.waiting.set(g, waiting);
    (updates, Lost(lost))
}

/// Their leaves may be used again: until then other threads wait.
pub(crate) fn release(g: &mut Graph, updates: &[Update]) {
    for u in updates {
        u.leaf.queue.set(g, None);
        u.leaf.queued.store(false, Ordering::Release);
    }
}
