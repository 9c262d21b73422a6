//! Values with a gradient of their own.

use super::{Op, Pullback};
use crate::dtype::DType;
use crate::graph::{Srcs, Tensor, lock};
use crate::shape::Shape;
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
