//! References to nodes from outside the graph. A [`Handle`] is a result in a caller's hands: an evaluation that computes it, or
//! something that it depends on, keeps its value. A [`Claim`] is a node that may be needed later, such as a queued update: it is
//! computed no earlier than what it needs is about to be overwritten.

use super::{Graph, Node, Tensor, Value, base_node, lock, thread};
use crate::ops::Op;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// No place in the list.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Nodes that have a handle or a claim and had no value of their own when they got it.
pub(super) struct Held(Vec<Entry>);

struct Entry {
    node: NonNull<Node>,
    /// The thread that held it first.
    thread: u32,
}

// SAFETY: a handle keeps the node alive as long as it is listed, and the list is looked at under the graph lock alone.
unsafe impl Send for Entry {}

impl Held {
    pub const fn new() -> Held {
        Held(Vec::new())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A tensor held from outside the graph: evaluations that compute it keep its value.
pub struct Handle(Tensor);

/// A tensor that is computed only before what it needs is overwritten.
pub(crate) struct Claim(Tensor);

/// True if a node never has to be computed.
fn is_given(node: &Node) -> bool {
    matches!(node.op, Op::Data | Op::Number(_))
}

impl Handle {
    pub fn new(tensor: Tensor) -> Handle {
        let base = base_node(&tensor);
        if is_given(base) {
            base.handles.fetch_add(1, Ordering::Relaxed);
            return Handle(tensor);
        }
        Handle::within(&mut lock(), tensor)
    }

    /// As `new`, for the holder of the graph lock.
    pub(crate) fn within(g: &mut Graph, tensor: Tensor) -> Handle {
        let base = base_node(&tensor);
        if is_given(base) {
            base.handles.fetch_add(1, Ordering::Relaxed);
        } else {
            enter(g, &tensor, &base.handles);
        }
        Handle(tensor)
    }

    #[inline]
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        Handle::new(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let base = base_node(&self.0);
        if is_given(base) {
            // Nodes made of it under other handles are known to the evaluation that sees that it is gone.
            base.handles.fetch_sub(1, Ordering::Release);
            return;
        }
        leave(&mut lock(), &self.0, &base.handles);
    }
}

impl Claim {
    /// For the holder of the graph lock; a claim is never dropped under it.
    pub fn new(g: &mut Graph, tensor: Tensor) -> Claim {
        let base = base_node(&tensor);
        if !is_given(base) {
            enter(g, &tensor, &base.claims);
        }
        Claim(tensor)
    }

    #[inline]
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The tensor, which is claimed no more.
    pub fn release(self, g: &mut Graph) -> Tensor {
        let claim = ManuallyDrop::new(self);
        let base = base_node(&claim.0);
        if !is_given(base) {
            leave(g, &claim.0, &base.claims);
        }
        // SAFETY: the claim is neither used nor dropped after this.
        unsafe { std::ptr::read(&claim.0) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let base = base_node(&self.0);
        if !is_given(base) {
            leave(&mut lock(), &self.0, &base.claims);
        }
    }
}

/// Counts one more reference, under the lock as in `leave`, and lists a node that has no value.
fn enter(g: &mut Graph, tensor: &Tensor, count: &AtomicU32) {
    let node = base_node(tensor);
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if matches!(tensor.op(), Op::View(_)) {
        node.shown.fetch_add(1, Ordering::Relaxed);
        tensor.0.shown.fetch_add(1, Ordering::Relaxed);
    }
    if *node.place.get(g) == NOWHERE && !is_settled(node.value.get(g)) {
        let place = g.held.0.len() as u32;
        let pointer = NonNull::new(Arc::as_ptr(node).cast_mut()).expect("an Arc points somewhere");
        g.held.0.push(Entry { node: pointer, thread: thread() });
        node.place.set(g, place);
    }
}

fn leave(g: &mut Graph, tensor: &Tensor, count: &AtomicU32) {
    let node = base_node(tensor);
    count.store(count.load(Ordering::Relaxed) - 1, Ordering::Release);
    if matches!(tensor.op(), Op::View(_)) {
        node.shown.fetch_sub(1, Ordering::Relaxed);
        tensor.0.shown.fetch_sub(1, Ordering::Relaxed);
    }
    let left = node.handles.load(Ordering::Relaxed) + node.claims.load(Ordering::Relaxed);
    if left == 0 && *node.place.get(g) != NOWHERE {
        let place = node.place.set(g, NOWHERE);
        remove(g, place);
    }
}

/// Takes an entry out; the last one takes its place.
fn remove(g: &mut Graph, place: u32) {
    g.held.0.swap_remove(place as usize);
    if let Some(moved) = g.held.0.get(place as usize) {
        // SAFETY: listed, hence alive.
        let moved = unsafe { moved.node.as_ref() };
        moved.place.set(g, place);
    }
}

/// Values that stay: a kept one goes with the backward pass.
fn is_settled(value: &Value) -> bool {
    matches!(value, Value::Ready(_) | Value::Overwritten)
}

impl Node {
    /// True if an evaluation that computes this node keeps the value; with `claims`, also for those who may need it later.
    /// Handles and claims to this very node, not to a view of it. Not of a value that was given, whose handles are not counted
    /// under the lock.
    pub(crate) fn own_holders(&self, _: &Graph) -> u32 {
        let [handles, claims, shown] = [&self.handles, &self.claims, &self.shown].map(|n| n.load(Ordering::Relaxed));
        match self.op {
            Op::View(_) => shown,
            _ => handles + claims - shown,
        }
    }

    pub(crate) fn is_held(&self, claims: bool) -> bool {
        self.handles.load(Ordering::Acquire) > 0 || claims && self.claims.load(Ordering::Relaxed) > 0
    }
}

/// The number of nodes without a value that have handles or claims, about.
pub(crate) fn held_count(g: &Graph) -> usize {
    g.held.len()
}

/// True if a node that has a handle and no value is late: see `Tensor::is_late`.
pub fn has_late() -> bool {
    let g = super::lock();
    // SAFETY: listed, hence alive.
    g.held.0.iter().any(|entry| unsafe { entry.node.as_ref() }.late)
}

/// The nodes without a value that have handles on this thread; with `everywhere`, those with a handle or claim on any thread.
pub(crate) fn held_and_pending(g: &mut Graph, everywhere: bool) -> Vec<Tensor> {
    let mut held = Vec::new();
    for_each_held(g, everywhere, |_, node| {
        // SAFETY: the pointer came from an Arc that is alive; this is one more reference to it.
        held.push(Tensor(unsafe {
            Arc::increment_strong_count(node.as_ptr());
            Arc::from_raw(node.as_ptr())
        }));
        true
    });
    held
}

/// True if this holds of one of those nodes.
pub(crate) fn is_any_held(g: &mut Graph, everywhere: bool, is_such: impl Fn(&Graph, &Node) -> bool) -> bool {
    let mut found = false;
    for_each_held(g, everywhere, |g, node| {
        // SAFETY: listed, hence alive.
        found = is_such(g, unsafe { node.as_ref() });
        !found
    });
    found
}

/// Goes through them until `each` gives false, and takes those that have a value by now from the list.
fn for_each_held(g: &mut Graph, everywhere: bool, mut each: impl FnMut(&Graph, NonNull<Node>) -> bool) {
    let (mut i, own) = (0, thread());
    crate::work::count(g.held.len());
    while let Some(entry) = g.held.0.get(i) {
        let (node, own) = (entry.node, entry.thread == own);
        // SAFETY: listed, hence alive.
        let at = unsafe { node.as_ref() };
        if is_settled(at.value.get(g)) {
            at.place.set(g, NOWHERE);
            remove(g, i as u32);
            continue;
        }
        let wanted = (everywhere || own && at.is_held(false)) && at.level == 0 && matches!(at.value.get(g), Value::Pending);
        if wanted && !each(g, node) {
            return;
        }
        i += 1;
    }
}
