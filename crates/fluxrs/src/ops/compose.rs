//! Small ops made of others: clip, roll, shapes by other names, and what layers and losses call most.

use super::apply::select;
use super::matmul::matmul;
use super::place::concatenate;
use super::{Elementwise, Op};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape;
use smallvec::SmallVec;

/// `x` with what is below `low` replaced by it, and what is above `high`; NaN stays NaN.
pub fn clip(x: &Tensor, low: Option<&Tensor>, high: Option<&Tensor>) -> Result<Tensor> {
    let mut out = x.clone();
    for bound in [low, high].into_iter().flatten() {
        if let Op::Number(n) = bound.op() {
            n.check("clip", x.dtype())?;
        }
    }
    // At a bound the gradient is x's: `minimum` and `maximum` would halve it.
    for (bound, beyond) in [(low, Elementwise::less), (high, Elementwise::greater)] {
        let Some(bound) = bound else { continue };
        let beyond = beyond.apply(&[&out, bound])?;
        let cut = if may_be_nan(bound) { Elementwise::logical_or.apply(&[&beyond, &is_nan(bound, x)?])? } else { beyond };
        out = select(&cut, bound, &out)?;
    }
    Ok(out)
}

/// True if a bound of `x` is NaN.
fn is_nan(bound: &Tensor, x: &Tensor) -> Result<Tensor> {
    let bound = if bound.is_number() { &bound.fill_on(x.device(), DType::F32) } else { bound };
    Elementwise::isnan.apply(&[bound])
}

fn may_be_nan(x: &Tensor) -> bool {
    match x.op() {
        Op::Number(n) => n.as_f64().is_nan(),
        _ => x.dtype().is_float(),
    }
}

/// x Wᵀ + b, for tensors of one type and device that fit; None for others, which are to be converted, or refused.
pub fn affine(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    let alike = |t: &Tensor| t.dtype() == w.dtype() && t.device() == w.device();
    let fits = w.ndim() == 2 && x.ndim() > 0 && x.shape()[x.ndim() - 1] == w.shape()[1];
    if !fits || !alike(x) || !alike(b) {
        return Ok(None);
    }
    let product = match x.ndim() {
        1 => matmul(w, x)?,
        _ => matmul(x, &w.transpose(None)?)?,
    };
    Elementwise::add.apply(&[&product, b]).map(Some)
}

/// Σ (x − y)² / n, for floating tensors of one shape and device; None for others, which are to be converted, or refused.
pub fn squared_error(x: &Tensor, y: &Tensor) -> Result<Option<Tensor>> {
    if x.shape() != y.shape() || x.device() != y.device() || !x.dtype().is_float() {
        return Ok(None);
    }
    let difference = Elementwise::subtract.apply(&[x, y])?;
    let sum = Elementwise::square.apply(&[&difference])?.sum(None, false)?;
    Elementwise::divide.apply(&[&sum, &Tensor::number(x.size() as i64)]).map(Some)
}

impl Tensor {
    /// The elements shifted along axes, those that fall off coming in at the other end; without axes, in the flattened tensor.
    pub fn roll(&self, shifts: &[isize], axes: Option<&[isize]>) -> Result<Tensor> {
        let Some(axes) = axes else {
            let n = self.size().max(1) as i128;
            let shift = shifts.iter().map(|&s| s as i128).sum::<i128>().rem_euclid(n) as isize;
            return Ok(self.as_array().reshape_to(&[self.size()]).roll(&[shift], Some(&[0]))?.reshape_to(self.shape()));
        };
        let count = shifts.len().max(axes.len());
        if (shifts.len() != count && shifts.len() != 1) || (axes.len() != count && axes.len() != 1) {
            bail!(Value, "roll: {} shifts for {} axes", shifts.len(), axes.len());
        }
        let mut out = self.clone();
        for k in 0..count {
            let axis = shape::axis("roll", axes[k % axes.len()], self.ndim())?;
            let n = self.shape()[axis];
            let shift = if n == 0 { 0 } else { shifts[k % shifts.len()].rem_euclid(n as isize) as usize };
            if shift > 0 {
                out = concatenate(&[out.narrow(axis, n - shift, shift), out.narrow(axis, 0, n - shift)], axis as isize)?;
            }
        }
        Ok(out)
    }

    /// The elements in row-major order, as a vector.
    pub fn ravel(&self) -> Tensor {
        self.as_array().reshape_to(&[self.size()])
    }

    pub fn swapaxes(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (shape::axis("swapaxes", a, self.ndim())?, shape::axis("swapaxes", b, self.ndim())?);
        let mut perm: SmallVec<[usize; 4]> = (0..self.ndim()).collect();
        perm.swap(a, b);
        Ok(if a == b { self.clone() } else { self.permute(&perm) })
    }

    /// With at least `n` axes, as NumPy's `atleast_1d`, `2d` and `3d` place them: a vector is a row, a matrix one of a last axis of 1.
    pub fn atleast(&self, n: usize) -> Tensor {
        let x = self.as_array();
        match (n, x.shape()) {
            (_, s) if s.len() >= n => x.clone(),
            (3, &[a]) => x.reshape_to(&[1, a, 1]),
            (3, &[a, b]) => x.reshape_to(&[a, b, 1]),
            (_, s) => {
                let wide: SmallVec<[usize; 4]> = std::iter::repeat_n(1, n - s.len()).chain(s.iter().copied()).collect();
                x.reshape_to(&wide)
            }
        }
    }
}
