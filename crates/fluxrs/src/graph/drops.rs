//! Dropping what a dropped node referred to: a chain of a million nodes in a loop, not by a million nested calls.

use super::{Defined, Node, Tensor};
use crate::guards::Guards;
use crate::ops::{Pullback, Scan};
use smallvec::{Array, SmallVec};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// The depth to which drops may nest before they are queued: each takes about 400 bytes of a stack that may be small.
const NESTED_DROPS: u32 = 16;

struct Drops {
    depth: Cell<u32>,
    /// True if something may be in the queue.
    queued: Cell<bool>,
}

thread_local! {
    static DROPS: Drops = const { Drops { depth: Cell::new(0), queued: Cell::new(false) } };
    static QUEUE: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) };
}

/// The parts of a dropped node, perhaps the last references to them.
#[expect(dead_code, reason = "held to be dropped")]
pub(crate) enum Piece {
    Node(Tensor),
    Guards(Arc<Guards>),
    Defined(Arc<Defined>),
    /// With it goes what Python's functions hold.
    Pullback(Arc<dyn Pullback>),
    Scan(Arc<Scan>),
}

/// Drops parts there and then, or queues them where drops nest deeply.
#[derive(Clone, Copy)]
pub(crate) struct LetGo {
    queues: bool,
}

impl LetGo {
    #[inline]
    pub fn one(self, piece: Piece) {
        if self.queues { queue(piece) } else { drop(piece) }
    }

    #[inline]
    pub fn all<A: Array>(self, list: &mut SmallVec<A>, piece: fn(A::Item) -> Piece) {
        match self.queues {
            true => list.drain(..).for_each(|x| queue(piece(x))),
            false => list.clear(),
        }
    }
}

#[cold]
fn queue(piece: Piece) {
    // A thread that is ending has no queue any more; nesting is all that is left then.
    let _ = QUEUE.try_with(|queue| queue.borrow_mut().push(piece));
    DROPS.with(|drops| drops.queued.set(true));
}

/// Drops the parts that `take_apart` gives.
#[inline]
pub(crate) fn let_go(take_apart: impl FnOnce(LetGo)) {
    DROPS.with(|drops| {
        let depth = drops.depth.get();
        if depth >= NESTED_DROPS {
            return take_apart(LetGo { queues: true });
        }
        drops.depth.set(depth + 1);
        take_apart(LetGo { queues: false });
        if depth == 0 && drops.queued.get() {
            drop_queued();
            drops.queued.set(false);
        }
        drops.depth.set(depth);
    });
}

#[cold]
fn drop_queued() {
    while let Ok(Some(next)) = QUEUE.try_with(|queue| queue.borrow_mut().pop()) {
        drop(next);
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        let (guards, defined) = (self.guards.take(), self.defined.take());
        let own = self.op.take_held();
        let srcs = self.srcs.get_mut_owned();
        if srcs.is_empty() && guards.is_none() && defined.is_none() && own.is_none() {
            return;
        }
        let_go(|parts| {
            parts.all(srcs, Piece::Node);
            own.into_iter().for_each(|piece| parts.one(piece));
            guards.into_iter().for_each(|guards| parts.one(Piece::Guards(guards)));
            defined.into_iter().for_each(|defined| parts.one(Piece::Defined(defined)));
        });
    }
}
