//! Activations made of other ops.

use super::Elementwise;
use super::compose::clip;
use crate::bail;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape;

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

/// x Φ(x), with Φ the distribution function of the normal distribution. Source: arXiv 1606.08415.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    // Beyond, Φ is 0 or 1: so the result is −0 or x, and no infinity meets a 0.
    const FAR: f64 = 64.0;
    let x = &clip(&x.cast(x.dtype().to_float()), Some(&Tensor::number(-FAR)), None)?;
    let near = clip(x, None, Some(&Tensor::number(FAR)))?;
    Elementwise::multiply.apply(&[x, &Elementwise::normcdf.apply(&[&near])?])
}

/// a · σ(b) of the halves a and b of an axis, of even length. Source: arXiv 1612.08083.
pub fn glu(x: &Tensor, axis: isize) -> Result<Tensor> {
    let axis = shape::axis("glu", axis, x.ndim())?;
    let n = x.shape()[axis];
    if !n.is_multiple_of(2) {
        bail!(Shape, "glu: axis {axis} has length {n}; it is divided in halves, so an even one is needed");
    }
    let x = x.cast(x.dtype().to_float());
    let gate = Elementwise::sigmoid.apply(&[&x.narrow(axis, n / 2, n / 2)])?;
    Elementwise::multiply.apply(&[&x.narrow(axis, 0, n / 2), &gate])
}

/// λ · elu(x, α), with λ ≈ 1.0507 and α ≈ 1.6733. Source: arXiv 1706.02515.
pub fn selu(x: &Tensor) -> Result<Tensor> {
    const Λ: f64 = 1.0507009873554804934193349852946;
    const Α: f64 = 1.6732632423543772848170429916717;
    times(&Elementwise::elu.apply(&[x, &Tensor::number(Α)])?, Λ)
}
