//! The gradients that the caller defined in what a node keeps alive: its tracked history, and the losses that guard it. Functions of
//! the caller hold objects that may hold the node's tensor in turn, so a garbage collector has to see which tensors reach which.
//!
//! A union shares its parts, as guards do: n nodes in a chain take n small unions.

use super::{Piece, Tensor, let_go, lock};
use crate::ops::Pullback;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

pub struct Defined {
    own: Option<Arc<dyn Pullback>>,
    parts: SmallVec<[Arc<Defined>; 2]>,
    /// Where the caller's object for this lies, if there is one.
    pub object: AtomicPtr<c_void>,
}

impl Defined {
    fn new(own: Option<Arc<dyn Pullback>>, parts: SmallVec<[Arc<Defined>; 2]>) -> Arc<Defined> {
        Arc::new(Defined { own, parts, object: AtomicPtr::default() })
    }

    /// A gradient, and those in the history of its node's operands.
    pub(super) fn with(own: &Arc<dyn Pullback>, history: Option<Arc<Defined>>) -> Arc<Defined> {
        Defined::new(Some(own.clone()), history.into_iter().collect())
    }

    pub(crate) fn union(a: Option<Arc<Defined>>, b: Option<&Arc<Defined>>) -> Option<Arc<Defined>> {
        let (Some(a), Some(b)) = (&a, b) else { return a.or_else(|| b.cloned()) };
        let includes = |all: &Arc<Defined>, one| Arc::ptr_eq(all, one) || all.parts.iter().any(|p| Arc::ptr_eq(p, one));
        Some(match (includes(a, b), includes(b, a)) {
            (true, _) => a.clone(),
            (_, true) => b.clone(),
            _ => Defined::new(None, [a, b].map(Arc::clone).into_iter().collect()),
        })
    }

    /// Those of both.
    pub fn and(self: Arc<Self>, other: &Arc<Defined>) -> Arc<Defined> {
        Defined::union(Some(self.clone()), Some(other)).unwrap_or(self)
    }

    pub fn own(&self) -> Option<&Arc<dyn Pullback>> {
        self.own.as_ref()
    }

    pub fn parts(&self) -> &[Arc<Defined>] {
        &self.parts
    }
}

/// The gradients that the caller defined in what each of these tensors keeps alive now: those of its history, and those of its
/// operands for as long as it is to be computed.
pub fn kept_until_computed(tensors: &[Tensor]) -> Vec<Option<Arc<Defined>>> {
    let g = lock();
    let mut known: FxHashMap<u64, Option<Arc<Defined>>> = FxHashMap::default();
    let mut stack: Vec<(&Tensor, bool)> = tensors.iter().map(|t| (t, false)).collect();
    while let Some((t, operands_are_known)) = stack.pop() {
        if known.contains_key(&t.0.id) {
            continue;
        }
        let operands: &[Tensor] = if t.0.late { t.0.srcs.get(&g) } else { &[] };
        if !operands_are_known && !operands.is_empty() {
            stack.push((t, true));
            stack.extend(operands.iter().map(|s| (s, false)));
            continue;
        }
        let parts = operands.iter().filter_map(|s| known.get(&s.0.id).and_then(Option::as_ref));
        let all = parts.fold(t.0.defined.clone(), |all, one| Defined::union(all, Some(one)));
        known.insert(t.0.id, all);
    }
    tensors.iter().map(|t| known.get(&t.0.id).cloned().flatten()).collect()
}

impl Drop for Defined {
    fn drop(&mut self) {
        let own = self.own.take();
        let_go(|parts| {
            own.into_iter().for_each(|own| parts.one(Piece::Pullback(own)));
            parts.all(&mut self.parts, Piece::Defined);
        });
    }
}
