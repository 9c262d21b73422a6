//! Guards: the losses that a gradient derives from. No update made of it is committed when one of them is Inf or NaN.
//!
//! A union shares its parts, so that the sum of n gradients takes n small nodes rather than n lists of losses.

use crate::graph::{Defined, Node, Piece, Tensor, let_go};
use crate::small_map::SmallMap;
use crate::work;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Parts that are looked at to find out whether guards include others.
const LOOK: usize = 12;

pub struct Guards {
    /// None for a union.
    loss: Option<Tensor>,
    parts: SmallVec<[Arc<Guards>; 2]>,
    /// Those of the losses.
    defined: Option<Arc<Defined>>,
}

impl Guards {
    /// A loss, and the losses that it derives from: the gradient of a loss made of a gradient derives from both.
    pub fn of(loss: &Tensor) -> Arc<Guards> {
        let parts = loss.0.guards.iter().cloned().collect();
        Arc::new(Guards { loss: Some(loss.clone()), parts, defined: loss.defined().cloned() })
    }

    /// The guards of what is made of these tensors.
    #[inline]
    pub(crate) fn merge(srcs: &[Tensor]) -> Option<Arc<Guards>> {
        let mut all = srcs.iter().filter_map(|s| s.0.guards.as_ref());
        let first = all.next()?.clone();
        Some(all.fold(first, |all, one| if Arc::ptr_eq(&all, one) { all } else { Guards::union(all, one) }))
    }

    fn union(a: Arc<Guards>, b: &Arc<Guards>) -> Arc<Guards> {
        if a.includes(b) {
            return a;
        }
        match b.includes(&a) {
            true => b.clone(),
            false => {
                let defined = Defined::union(a.defined.clone(), b.defined.as_ref());
                Arc::new(Guards { loss: None, parts: smallvec![a, b.clone()], defined })
            }
        }
    }

    /// The gradients that the caller defined in the losses' histories.
    pub(crate) fn defined(&self) -> Option<&Arc<Defined>> {
        self.defined.as_ref()
    }

    /// True if one of the losses is such.
    pub(crate) fn any(&self, is_such: impl Fn(&Tensor) -> bool) -> bool {
        let mut found = false;
        Losses::default().add(self, |loss| found |= is_such(loss));
        found
    }

    /// True if the losses of `other` are known to be among these; a union that repeats some is right, too.
    fn includes(&self, other: &Guards) -> bool {
        let (mine, _) = self.look();
        if mine.iter().any(|&g| std::ptr::eq(g, other)) {
            return true;
        }
        let (theirs, all) = other.look();
        let here = |loss: &Tensor| mine.iter().filter_map(|g| g.loss.as_ref()).any(|l| l.ptr_eq(loss));
        all && theirs.iter().filter_map(|g| g.loss.as_ref()).all(here)
    }

    /// The first parts, and whether those are all.
    fn look(&self) -> (SmallVec<[&Guards; LOOK]>, bool) {
        let mut parts: SmallVec<[&Guards; LOOK]> = smallvec![self];
        let mut next = 0;
        while let Some(&g) = parts.get(next) {
            next += 1;
            if parts.len() + g.parts.len() > LOOK {
                return (parts, false);
            }
            parts.extend(g.parts.iter().map(|p| &**p));
        }
        (parts, true)
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        let (loss, defined) = (self.loss.take(), self.defined.take());
        let_go(|parts| {
            loss.into_iter().for_each(|loss| parts.one(Piece::Node(loss)));
            parts.all(&mut self.parts, Piece::Guards);
            defined.into_iter().for_each(|defined| parts.one(Piece::Defined(defined)));
        });
    }
}

/// The losses of many guards, each once, in the order in which they are met.
#[derive(Default)]
pub(crate) struct Losses {
    /// The guards that were added last: those of one step are mostly the same.
    last: Option<*const Guards>,
    seen: SmallMap<*const Guards>,
    losses: SmallMap<*const Node>,
    looks: usize,
}

impl Drop for Losses {
    fn drop(&mut self) {
        work::count(self.looks);
    }
}

impl Losses {
    /// Gives `each` the losses of these guards that it has not had yet.
    pub fn add(&mut self, guards: &Guards, mut each: impl FnMut(&Tensor)) {
        self.add_references(guards, |loss, is_new| {
            if is_new {
                each(loss);
            }
        });
    }

    /// The same of each reference that the guards hold to a loss, with whether the loss is new.
    pub fn add_references(&mut self, guards: &Guards, mut each: impl FnMut(&Tensor, bool)) {
        if self.last.replace(guards) == Some(guards) {
            self.looks += 1;
            return;
        }
        let mut stack: SmallVec<[&Guards; LOOK]> = smallvec![guards];
        while let Some(g) = stack.pop() {
            self.looks += 1;
            if !self.seen.insert(g, ()) {
                continue;
            }
            if let Some(loss) = &g.loss {
                each(loss, self.losses.insert(Arc::as_ptr(&loss.0), ()));
            }
            stack.extend(g.parts.iter().rev().map(|p| &**p));
        }
    }
}
