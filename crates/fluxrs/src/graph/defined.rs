//! The gradients that the caller defined in what a node keeps alive: its tracked history, and the losses that guard it. Functions of
//! the caller hold objects that may hold the node's tensor in turn, so a garbage collector has to see which tensors reach which.
//!
//! A union shares its parts, as guards do: n nodes in a chain take n small unions.

use super::{Piece, let_go};
use crate::ops::Pullback;
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

    pub fn own(&self) -> Option<&Arc<dyn Pullback>> {
        self.own.as_ref()
    }

    pub fn parts(&self) -> &[Arc<Defined>] {
        &self.parts
    }
}

impl Drop for Defined {
    fn drop(&mut self) {
        let_go(self.own.take().map(Piece::Pullback).into_iter().chain(self.parts.drain(..).map(Piece::Defined)));
    }
}
