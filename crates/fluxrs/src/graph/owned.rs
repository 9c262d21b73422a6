//! The references that a tensor alone keeps alive, for a garbage collector that must be told of each just once.

use super::{GRAPH, Node, Tensor};
use crate::ops::{Op, Pullback};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A collector asks again and again, so a long history is not looked through to its end.
const MOST_NODES: usize = 1024;

impl Tensor {
    /// True if a gradient that the caller defined has a part in its history.
    pub fn has_pullbacks(&self) -> bool {
        self.0.pullbacks
    }

    /// Calls `visit` with the gradients defined by the caller that live as long as this one reference to the tensor and no longer. A
    /// node that anything else refers to is left out, with all behind it. While no graph changes, they are the same at every call.
    pub fn own_pullbacks(&self, visit: &mut dyn FnMut(&dyn Pullback)) {
        // Within the lock nothing is certain, and the collector may have been called there.
        let Ok(g) = GRAPH.try_lock() else { return };
        let mut references: FxHashMap<*const Node, usize> = FxHashMap::default();
        let mut stack: Vec<&Tensor> = Vec::new();
        let mut looked = 0;
        let mut arrive = |t: &'_ Tensor| -> bool {
            if !t.0.pullbacks {
                return false;
            }
            let count = references.entry(Arc::as_ptr(&t.0)).or_insert(0);
            *count += 1;
            *count == Arc::strong_count(&t.0)
        };
        if arrive(self) {
            stack.push(self);
        }
        while let Some(node) = stack.pop() {
            if let Op::Custom(pullback) = node.op()
                && Arc::strong_count(pullback) == 1
            {
                visit(&**pullback);
            }
            looked += 1;
            if looked == MOST_NODES {
                return;
            }
            let base = if let Op::View(view) = node.op() { Some(&view.base) } else { None };
            stack.extend(node.0.srcs.get(&g).iter().chain(base).filter(|src| arrive(src)));
        }
    }
}
