//! Programs that the fuzzer found wrong, or that show what it looks for, one test each.

#[path = "../common/check.rs"]
mod common;
mod fusion;
mod gradients;
mod threads;
mod updates;

use fluxrs::Tensor;
use fluxrs::evaluate::Handle;
use fluxrs::leaf::Leaf;
use fluxrs::tape::{Target, gradient};
use std::sync::Arc;

fn floats(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape).unwrap()
}

fn param(values: &[f32], shape: &[usize]) -> Arc<Leaf> {
    Leaf::of(&floats(values, shape), true).unwrap()
}

/// The gradient of `y` by a leaf, held.
fn slope(y: &Tensor, leaf: &Leaf) -> Handle {
    let g = gradient(y, None, &[Target::Leaf(leaf.number())], false).unwrap();
    Handle::new(g[0].clone().unwrap())
}
