//! What somebody outside the graph holds.

use super::base_node;
use crate::graph::{self, Graph, Node, Tensor, Value};
use crate::ops::Op;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// No place in the list.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Nodes that have a handle and had no value of their own when they got it.
pub(crate) struct Held(Vec<Entry>);

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
}

/// This thread's number.
fn thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

/// A tensor held from outside the graph: evaluations that compute it keep its value.
pub struct Handle(Tensor);

/// Whether a node never has to be computed: then its handles are only counted.
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
        Handle::within(&mut graph::lock(), tensor)
    }

    /// As `new`, for the holder of the graph lock.
    pub(crate) fn within(g: &mut Graph, tensor: Tensor) -> Handle {
        let base = base_node(&tensor);
        if is_given(base) {
            base.handles.fetch_add(1, Ordering::Relaxed);
            return Handle(tensor);
        }
        // Counted under the lock, here and where it is dropped.
        base.handles.store(base.handles.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if *base.place.get(g) == NOWHERE && !is_settled(base.value.get(g)) {
            let place = g.held.0.len() as u32;
            let node = NonNull::new(Arc::as_ptr(base).cast_mut()).expect("an Arc points somewhere");
            g.held.0.push(Entry { node, thread: thread() });
            base.place.set(g, place);
        }
        Handle(tensor)
    }

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
            // What was made of it under other handles is known to whoever sees that it is gone.
            base.handles.fetch_sub(1, Ordering::Release);
            return;
        }
        let mut g = graph::lock();
        let left = base.handles.load(Ordering::Relaxed) - 1;
        base.handles.store(left, Ordering::Release);
        if left == 0 && *base.place.get(&g) != NOWHERE {
            let place = base.place.set(&mut g, NOWHERE);
            remove(&mut g, place);
        }
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

/// The nodes that callers on this thread, or on all of them, hold and that have no value yet.
pub(super) fn held_and_pending(g: &mut Graph, everywhere: bool) -> Vec<Tensor> {
    let (mut held, mut i, own) = (Vec::new(), 0, thread());
    while let Some(entry) = g.held.0.get(i) {
        let (node, own) = (entry.node, everywhere || entry.thread == own);
        // SAFETY: listed, hence alive.
        let at = unsafe { node.as_ref() };
        if is_settled(at.value.get(g)) {
            at.place.set(g, NOWHERE);
            remove(g, i as u32);
            continue;
        }
        if own && matches!(at.value.get(g), Value::Pending) {
            // SAFETY: the pointer came from an Arc that is alive; this is one more reference to it.
            held.push(Tensor(unsafe {
                Arc::increment_strong_count(node.as_ptr());
                Arc::from_raw(node.as_ptr())
            }));
        }
        i += 1;
    }
    held
}
