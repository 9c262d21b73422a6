//! Activations made of other ops.

use super::Elementwise;
use super::compose::clip;
use crate::error::Result;
use crate::graph::Tensor;

fn times(x: &Tensor, n: f64) -> Result<Tensor> {
    Elementwise::multiply.apply(&[x, &Tensor::number(n)])
}

/// log sigmoid(x) = −log(1 + e⁻ˣ), for any x.
pub fn logsigmoid(x: &Tensor) -> Result<Tensor> {
    let minus = Elementwise::negative.apply(&[x])?;
    Elementwise::negative.apply(&[&Elementwise::softplus.apply(&[&minus])?])
}

/// x Φ(x) ≈ x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))). Source: arXiv 1606.08415.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    const TWO_ROOT: f64 = 1.5957691216057308; // 2 √(2/π): ½ (1 + tanh u) is σ(2u), which does not cancel
    // Beyond, the result is −0 or x, and the cube would overflow.
    const FAR: f64 = 64.0;
    let x = &clip(&x.cast(x.dtype().to_float()), Some(&Tensor::number(-FAR)), None)?;
    let near = &clip(x, None, Some(&Tensor::number(FAR)))?;
    let cube = times(&Elementwise::multiply.apply(&[&Elementwise::square.apply(&[near])?, near])?, 0.044715)?;
    let inner = times(&Elementwise::add.apply(&[near, &cube])?, TWO_ROOT)?;
    Elementwise::multiply.apply(&[x, &Elementwise::sigmoid.apply(&[&inner])?])
}

/// λ · elu(x, α), with λ ≈ 1.0507 and α ≈ 1.6733. Source: arXiv 1706.02515.
pub fn selu(x: &Tensor) -> Result<Tensor> {
    const Λ: f64 = 1.0507009873554804934193349852946;
    const Α: f64 = 1.6732632423543772848170429916717;
    times(&Elementwise::elu.apply(&[x, &Tensor::number(Α)])?, Λ)
}
