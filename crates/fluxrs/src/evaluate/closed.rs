//! Tells whether what an evaluation computes or overwrites is referred to from elsewhere. Only then can a result that it does not
//! compute depend on it; and that is found out without looking at all results that callers hold.

use super::gather::{Gathered, Wanted};
use crate::graph::{Graph, Node, Tensor, base_node};
use crate::guards::Losses;
use crate::ops::Op;
use crate::schedule::LocalKind;
use crate::small_map::SmallMap;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// References to the nodes that are computed or overwritten, and to their views, less those that are known: of the nodes that
/// take part, of handles, updates and guards, and of the caller. A reference unknown to us makes `open` positive, whatever it is.
struct References<'a> {
    g: &'a Graph,
    gathered: &'a Gathered,
    overwritten: SmallMap<u64>,
    views: FxHashSet<u64>,
    open: i64,
}

pub(super) fn is_closed(g: &Graph, gathered: &Gathered, wanted: &Wanted<'_>) -> bool {
    let mut references = References { g, gathered, overwritten: SmallMap::default(), views: FxHashSet::default(), open: 0 };
    for u in wanted.updates {
        // The leaf refers to it.
        references.open -= references.overwritten.insert(u.leaf.current(g).id(), ()) as i64;
    }
    // A loss that is not asked for here may have to be kept for what else it guards.
    let asked: SmallMap<u64> = gathered.losses.iter().map(|(loss, _)| loss.id()).collect();
    let mut losses = Losses::default();
    for local in &gathered.locals {
        let node = &local.node.0;
        if references.counts(node) {
            references.open += Arc::strong_count(node) as i64;
            if local.kind == LocalKind::Compute {
                references.open -= node.own_holders(g) as i64;
            }
        }
        node.srcs.get(g).iter().for_each(|s| references.know(s));
        if let Some(guards) = &node.guards {
            losses.add_references(guards, |loss, _| {
                if asked.contains(&loss.id()) {
                    references.know(loss);
                }
            });
        }
    }
    wanted.roots.iter().for_each(|t| references.know(t));
    wanted.updates.iter().flat_map(|u| u.references()).for_each(|t| references.know(t));
    gathered.losses.iter().for_each(|(loss, _)| references.know(loss));
    references.open == 0
}

impl References<'_> {
    fn counts(&self, base: &Node) -> bool {
        let &(epoch, local) = base.mark.get(self.g);
        let computed = || self.gathered.locals[local as usize].kind == LocalKind::Compute;
        epoch == self.g.epoch && (computed() || self.overwritten.contains(&base.id))
    }

    /// Counts a known reference; and what a view refers to in turn, when it is met first.
    fn know(&mut self, t: &Tensor) {
        if !self.counts(base_node(t)) {
            return;
        }
        let mut t = t;
        loop {
            self.open -= 1;
            if !matches!(t.op(), Op::View(_)) || !self.views.insert(t.id()) {
                return;
            }
            // To the base; the one to what it is a view of follows.
            self.open += Arc::strong_count(&t.0) as i64 - t.0.own_holders(self.g) as i64 - 1;
            let Some(shown) = t.0.srcs.get(self.g).first() else { return };
            t = shown;
        }
    }
}
