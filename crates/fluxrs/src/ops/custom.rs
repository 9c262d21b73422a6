//! Values with a gradient of their own.

use super::{Op, Pullback, View};
use crate::dtype::DType;
use crate::error::Result;
use crate::evaluate::overwritten;
use crate::graph::{Srcs, Tensor, lock, no_grad};
use crate::leaf::by_number;
use crate::shape::Shape;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// `value` as a function of `inputs` whose gradient is `pullback`.
pub fn custom(value: &Tensor, inputs: &[Tensor], pullback: Arc<dyn Pullback>) -> Tensor {
    let srcs: Srcs = std::iter::once(value).chain(inputs).cloned().collect();
    Tensor::node(Op::Custom(pullback), srcs, value.shape().into(), value.dtype())
}

/// The shapes and types that the gradients of a custom node must have.
pub fn input_shapes(out: &Tensor) -> Vec<(Shape, DType)> {
    let srcs = out.0.srcs.get(&lock()).clone();
    srcs.iter().skip(1).map(|s| (s.shape().into(), s.dtype())).collect()
}

/// An error if an input is a parameter that was updated since: what a pullback computes of it again would not be the same.
pub fn inputs_are_current(out: &Tensor) -> Result<()> {
    let srcs = out.0.srcs.get(&lock()).clone();
    for s in srcs.iter().skip(1).filter(|s| s.0.leaf != 0) {
        let stale = by_number(s.0.leaf).is_none_or(|leaf| leaf.is_queued() || !leaf.peek().ptr_eq(s));
        if stale {
            return Err(overwritten(&s.0));
        }
    }
    Ok(())
}

/// Between the nodes made before and those made after.
pub fn mark() -> u64 {
    crate::graph::next_id()
}

/// The value of `y`, made by nodes that nobody can differentiate in place of those made since a mark, so that an evaluation
/// keeps nothing of them for a backward pass. Older nodes, and what depends on nothing tracked, are shared.
pub fn untracked(y: &Tensor, since: u64) -> Tensor {
    let mut copies: FxHashMap<u64, Tensor> = FxHashMap::default();
    let mut stack = vec![(y.clone(), false)];
    while let Some((node, entered)) = stack.pop() {
        if copies.contains_key(&node.id()) {
            continue;
        }
        let (srcs, buffer) = {
            let g = lock();
            (node.0.srcs.get(&g).clone(), node.0.value.get(&g).buffer().cloned())
        };
        let srcs = if matches!(node.op(), Op::Custom(_)) { srcs[..1].into() } else { srcs };
        let copy = match buffer {
            _ if node.id() < since => node.clone(),
            Some(_) if !node.is_tracked() || matches!(node.op(), Op::Data) => node.clone(),
            Some(buffer) => Tensor::from_buffer(buffer, node.shape(), node.dtype(), node.device()),
            None if !entered => {
                stack.push((node, true));
                stack.extend(srcs.into_iter().map(|s| (s, false)));
                continue;
            }
            None => copy_of(&node, srcs, &copies),
        };
        copies.insert(node.id(), copy);
    }
    copies[&y.id()].clone()
}

/// A node made of the copies of its srcs; itself if it needs no copy.
fn copy_of(node: &Tensor, srcs: Srcs, copies: &FxHashMap<u64, Tensor>) -> Tensor {
    let new: Srcs = srcs.iter().map(|s| copies[&s.id()].clone()).collect();
    if !node.is_tracked() && new.iter().zip(&srcs).all(|(a, b)| a.ptr_eq(b)) {
        return node.clone();
    }
    let op = match node.op() {
        // A view's base is among what its operands were made of, one of them, or older than all.
        Op::View(v) => Op::View(Box::new(View { base: copies.get(&v.base.id()).unwrap_or(&v.base).clone(), ..(**v).clone() })),
        op => op.clone(),
    };
    no_grad(|| Tensor::node(op, new, node.shape().into(), node.dtype()))
}
