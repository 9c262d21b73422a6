//! Deferred gradients: the gradient of a result by a leaf is one node, `Op::Gradient`, made of the result and of the leaf's nodes in
//! its history. What it is in other ops follows from that history, so it is written out only when it is needed:
//!
//! - A graph with deferred gradients has a key of its own. If there is a plan for the key, that runs, and nothing is written out: a
//!   training step costs a few nodes for its backward pass instead of some for every op.
//! - If there is none, `evaluate::deferred` writes the gradients out *beside* the graph, gathers both and makes a plan of the whole,
//!   which is kept under the key of the graph alone.
//! - Where the key does not say what a gradient is made of, because a part of the history has a value already, it is gathered
//!   *instead* of its node.
//!
//! The graph itself never changes by this: what is written out is kept in a [`Written`] for as long as it is looked at.

use super::{Target, backward, root};
use crate::error::Result;
use crate::graph::{self, Graph, Node, Srcs, Tensor, Value, no_grad};
use crate::guards::Guards;
use crate::ops::{Deferred, Op};
use crate::shape::Shape;
use crate::small_map::SmallMap;
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

/// The gradients by these leaves, deferred. None where what they are made of does not follow from the history alone: with a seed, a
/// gradient defined outside, values that are there already or no more, and while every op is computed at once.
pub(super) fn defer(y: &Tensor, seed: Option<&Tensor>, targets: &[Target]) -> Option<Vec<Option<Tensor>>> {
    if seed.is_some() || !y.is_tracked() || crate::ENGINE.is_eager() || graph::level() > 0 {
        return None;
    }
    let mut found: SmallMap<u64, Srcs> = SmallMap::default();
    for t in targets {
        let Target::Leaf(number) = t else { return None };
        // A leaf that is a target twice is left to the walk.
        if !found.insert(*number, Srcs::new()) {
            return None;
        }
    }
    let mut g = graph::lock();
    g.epoch += 1;
    let seen = (g.epoch, 0);
    let mut stack: SmallVec<[&Tensor; 32]> = smallvec![y];
    y.0.mark.set(&mut g, seen);
    let mut looks = 0;
    while let Some(node) = stack.pop() {
        looks += 1;
        if matches!(node.op(), Op::Data) {
            if matches!(node.0.value.get(&g), Value::Overwritten) {
                return None;
            }
            if let Some(hits) = found.get_mut(&node.0.leaf) {
                hits.push(node.clone());
            }
            continue;
        }
        let is_outside = matches!(node.op(), Op::Custom(_)) || matches!(node.op(), Op::Scan(scan) if scan.body.has_custom);
        if is_outside || !matches!(node.0.value.get(&g), Value::Pending) {
            return None;
        }
        // SAFETY: the srcs of a tracked node never change while it lives, and every node here lives as long as `y`.
        for src in unsafe { node.0.srcs.lasting() } {
            if src.is_tracked() && src.0.mark.get(&g).0 != seen.0 {
                src.0.mark.set(&mut g, seen);
                stack.push(src);
            }
        }
    }
    drop(g);
    crate::work::count(looks);
    let guards = Guards::of(y);
    let call = graph::next_id();
    let gradient = |&(leaf, ref hits): &(u64, Srcs)| {
        let value = hits.first()?;
        let mut srcs: Srcs = smallvec![y.clone()];
        hits.iter().for_each(|hit| srcs.push(hit.clone()));
        let (op, shape) = (Op::Gradient(Deferred { leaf, call }), Shape::from_slice(value.shape()));
        Some(Tensor::guarded(op, srcs, shape, value.dtype(), value.device(), Some(guards.clone())))
    };
    Some(found.entries().map(gradient).collect())
}

/// Gradients in other ops, by the numbers of the nodes that stand for them.
#[derive(Default)]
pub(crate) struct Written(FxHashMap<u64, Tensor>);

impl Written {
    /// The gradient that a node stands for.
    pub fn of(&self, node: &Node) -> Option<&Tensor> {
        if matches!(node.op, Op::Gradient(_)) { self.0.get(&node.id) } else { None }
    }

    /// The srcs that a node's value is computed from: of a gradient that is written out, that alone.
    pub fn operands<'a>(&'a self, g: &'a Graph, node: &'a Node) -> &'a [Tensor] {
        self.of(node).map_or_else(|| node.operands(g), std::slice::from_ref)
    }
}

/// Writes out the gradients that these nodes stand for; those of one call together.
pub(crate) fn write_out(gradients: &[Tensor], out: &mut Written) -> Result<()> {
    let mut calls: SmallMap<u64, Vec<(usize, Target)>> = SmallMap::default();
    for (i, node) in gradients.iter().enumerate() {
        let Op::Gradient(Deferred { call, leaf }) = node.op() else { unreachable!("only gradients are deferred") };
        calls.entry(*call).push((i, Target::Leaf(*leaf)));
    }
    for (_, asked) in calls.into_entries() {
        let (members, targets): (Vec<usize>, Vec<Target>) = asked.into_iter().unzip();
        let y = gradients[members[0]].0.srcs.get(&graph::lock())[0].clone();
        let written = graph::unbounded(|| no_grad(|| backward(&root(&y, None), &targets, false)))?;
        for (i, gradient) in members.into_iter().zip(written) {
            // A rule may find that there is none.
            out.0.insert(gradients[i].id(), gradient.unwrap_or_else(|| gradients[i].zeros_like()));
        }
    }
    Ok(())
}
