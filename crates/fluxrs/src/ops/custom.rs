//! Values with a gradient of their own.

use super::{Op, Pullback};
use crate::dtype::DType;
use crate::graph::{Srcs, Tensor, lock, no_grad};
use crate::shape::Shape;
use std::sync::Arc;

/// `value` as a function of `inputs` whose gradient is `pullback`.
pub fn custom(value: &Tensor, inputs: &[Tensor], pullback: Arc<dyn Pullback>) -> Tensor {
    let srcs: Srcs = std::iter::once(value).chain(inputs).cloned().collect();
    Tensor::within(Op::Custom(pullback), srcs, value.shape().into(), value.dtype())
}

/// The result of a function that ran in a [`Checkpoint`](crate::graph::Checkpoint) scope, which `pullback` runs again. Once its value
/// is there, nothing of the function's graph is held.
pub fn checkpointed(y: &Tensor, inputs: &[Tensor], pullback: Arc<dyn Pullback>) -> Tensor {
    custom(&no_grad(|| y.copied()), inputs, pullback)
}

/// The shapes and types that the gradients of a custom node must have.
pub fn input_shapes(out: &Tensor) -> Vec<(Shape, DType)> {
    let srcs = out.0.srcs.get(&lock()).clone();
    srcs.iter().skip(1).map(|s| (s.shape().into(), s.dtype())).collect()
}
