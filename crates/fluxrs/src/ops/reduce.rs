//! Reductions over any axes: sum, product, maximum, minimum, any, all.

use super::Op;
use super::rules::{apart_from_zero, choose};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use smallvec::smallvec;
use std::ops::RangeInclusive;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    Sum,
    Prod,
    Max,
    Min,
    Any,
    All,
}

impl Reduction {
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Prod => "prod",
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::Any => "any",
            Reduction::All => "all",
        }
    }

    /// The value of an empty reduction, if there is one.
    pub fn empty(self) -> Option<i64> {
        match self {
            Reduction::Sum | Reduction::Any => Some(0),
            Reduction::Prod | Reduction::All => Some(1),
            Reduction::Max | Reduction::Min => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reduce {
    pub kind: Reduction,
    /// Bit a: axis a is reduced.
    pub axes: u64,
}

impl Reduce {
    pub fn reduces(&self, axis: usize) -> bool {
        self.axes >> axis & 1 == 1
    }

    pub(crate) fn gradient(&self, x: &Tensor, out: &Tensor, g: &Tensor) -> Option<Tensor> {
        let mut kept = Shape::from_slice(x.shape());
        (0..x.ndim()).filter(|&a| self.reduces(a)).for_each(|a| kept[a] = 1);
        let wide = |t: &Tensor| t.reshape_to(&kept).broadcast_shape(x.shape());
        match self.kind {
            Reduction::Sum => Some(wide(g)),
            // Equal maxima share the gradient evenly, and it stays with them, whatever it is; beside NaN all is NaN.
            Reduction::Max | Reduction::Min => {
                let hit = x.equal(&wide(out));
                let count = hit.cast(x.dtype()).reduce_axes(Reduction::Sum, self.axes);
                let rest = choose(&out.equal(out), 0.0, out);
                Some(choose(&hit, wide(&(g / count)), wide(&rest)))
            }
            Reduction::Prod => Some(product_gradient(x, self.axes, g)),
            Reduction::Any | Reduction::All => None,
        }
    }
}

/// Each element's gradient is `g` times the product of the others: a tree of products going up and
/// down again, so that zeros, and gradients of any order, come out right.
fn product_gradient(x: &Tensor, axes: u64, g: &Tensor) -> Tensor {
    let (kept, gone): (Vec<usize>, Vec<usize>) = (0..x.ndim()).partition(|&a| axes >> a & 1 == 0);
    let perm: Vec<usize> = kept.iter().chain(&gone).copied().collect();
    let moved = x.permute(&perm);
    let mut flat: Shape = kept.iter().map(|&a| x.shape()[a]).collect();
    flat.push(gone.iter().map(|&a| x.shape()[a]).product());
    let last = kept.len();

    let mut levels = vec![moved.reshape_to(&flat)];
    while levels.last().unwrap().shape()[last] > 1 {
        let below = levels.last().unwrap();
        let n = below.shape()[last];
        let (left, right) = (below.narrow(last, 0, n / 2), below.narrow(last, n / 2, n / 2));
        let mut above = left * right;
        if n % 2 == 1 {
            let odd = below.narrow(last, n - 1, 1);
            above = super::place::concatenate(&[above, odd], -1).expect("one shape but for the axis");
        }
        levels.push(above);
    }
    let mut one = Shape::from_slice(g.shape());
    one.push(1);
    let mut down = g.reshape_to(&one);
    if x.size() == 0 {
        return g.filled_in(0.0, x.shape());
    }
    for below in levels.iter().rev().skip(1) {
        let n = below.shape()[last];
        let (left, right) = (below.narrow(last, 0, n / 2), below.narrow(last, n / 2, n / 2));
        let half = down.narrow(last, 0, n / 2);
        let mut parts = vec![&half * right, half * left];
        if n % 2 == 1 {
            parts.push(down.narrow(last, n / 2, 1));
        }
        down = super::place::concatenate(&parts, -1).expect("one shape but for the axis");
    }
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
    down.reshape_to(moved.shape()).permute(&inverse)
}

/// Rows that are summed with what makes them before they are added up, and the size from which on a further kernel is worth it: so a
/// loss needs no pass of its own over what it is the sum of.
const ROW: RangeInclusive<usize> = 64..=8192;
const LARGE: usize = 1 << 15;

impl Tensor {
    /// True for the sum of all of a large tensor with rows. The order of a sum is that of its nodes, so the shape alone decides.
    fn sums_by_rows(&self, axes: u64) -> bool {
        let shape = self.shape();
        let all = axes.count_ones() as usize == shape.len();
        all && shape.len() > 1 && ROW.contains(&shape[shape.len() - 1]) && self.size() >= LARGE
    }

    /// Reduces over a mask of axes, without them in the result.
    pub(crate) fn reduce_axes(&self, kind: Reduction, axes: u64) -> Tensor {
        if axes == 0 {
            return self.clone();
        }
        if kind == Reduction::Sum && self.sums_by_rows(axes) {
            let rows = self.reduce_axes(kind, 1 << (self.ndim() - 1));
            return rows.reduce_axes(kind, axes >> 1);
        }
        let shape: Shape = (0..self.ndim()).filter(|a| axes >> a & 1 == 0).map(|a| self.shape()[a]).collect();
        let op = Op::Reduce(Reduce { kind, axes });
        Tensor::within(op, smallvec![self.clone()], shape, self.dtype())
    }

    pub fn reduce(&self, kind: Reduction, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let list = shape::axes(kind.name(), axes, self.ndim())?;
        let x = match kind {
            Reduction::Any | Reduction::All => self.to_bool(),
            // Sums and products of small integers would overflow in their own type: NumPy widens them.
            Reduction::Sum | Reduction::Prod if !self.dtype().is_float() => self.cast(DType::I64),
            _ => self.clone(),
        };
        if kind.empty().is_none() && list.iter().any(|&a| self.shape()[a] == 0) {
            bail!(Value, "{}: an axis of length 0 has no {} (shape {})", kind.name(), kind.name(), show(self.shape()));
        }
        let out = x.reduce_axes(kind, list.iter().fold(0, |m, &a| m | 1 << a));
        if !keepdims {
            return Ok(out);
        }
        let mut kept = Shape::from_slice(self.shape());
        list.iter().for_each(|&a| kept[a] = 1);
        Ok(out.reshape_to(&kept))
    }

    pub fn sum(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        self.reduce(Reduction::Sum, axes, keepdims)
    }

    pub fn mean(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let list = shape::axes("mean", axes, self.ndim())?;
        let n: usize = list.iter().map(|&a| self.shape()[a]).product();
        let x = self.cast(self.dtype().to_float());
        Ok(x.reduce(Reduction::Sum, axes, keepdims)? / n as f64)
    }

    /// The mean of squared distances from the mean; `ddof` is taken off the count.
    pub fn var(&self, axes: Option<&[isize]>, ddof: f64, keepdims: bool) -> Result<Tensor> {
        let list = shape::axes("var", axes, self.ndim())?;
        let n: usize = list.iter().map(|&a| self.shape()[a]).product();
        let centred = self.try_sub(&self.mean(axes, true)?)?;
        Ok(centred.square().sum(axes, keepdims)? / (n as f64 - ddof).max(0.0))
    }

    pub fn std(&self, axes: Option<&[isize]>, ddof: f64, keepdims: bool) -> Result<Tensor> {
        let var = self.var(axes, ddof, keepdims).map_err(|e| e.renamed("var", "std"))?;
        Ok(apart_from_zero(&var, 0.0, Tensor::sqrt))
    }

    /// log Σ exp x, without overflow.
    pub fn logsumexp(&self, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
        let x = self.cast(self.dtype().to_float());
        let list = shape::axes("logsumexp", axes, self.ndim())?;
        // The shift is a constant: it drops out of value and gradient. Where all is −inf, or something is +inf, it is 0.
        let shift = match list.iter().any(|&a| x.shape()[a] == 0) {
            true => Tensor::number(0.0),
            false => crate::graph::no_grad(|| {
                let top = x.reduce(Reduction::Max, axes, true)?;
                Ok(choose(&top.isfinite(), &top, 0.0))
            })?,
        };
        let sum = (&x - &shift).exp().sum(axes, true)?;
        let total = apart_from_zero(&sum, f64::NEG_INFINITY, Tensor::log) + shift;
        if keepdims {
            return Ok(total);
        }
        let kept: Shape = (0..self.ndim()).filter(|a| !list.contains(a)).map(|a| self.shape()[a]).collect();
        Ok(total.reshape_to(&kept))
    }

    /// exp x / Σ exp x along an axis.
    pub fn softmax(&self, axis: isize) -> Result<Tensor> {
        let (x, top) = self.shifted("softmax", axis)?;
        let e = (x - top).exp();
        let total = e.sum(Some(&[axis]), true)?;
        Ok(e / total)
    }

    /// x − log Σ exp x along an axis.
    pub fn logsoftmax(&self, axis: isize) -> Result<Tensor> {
        let (x, top) = self.shifted("logsoftmax", axis)?;
        let shifted = x - top;
        let total = shifted.exp().sum(Some(&[axis]), true)?.log();
        Ok(shifted - total)
    }

    /// The tensor in a float type and its maximum along an axis, a constant.
    fn shifted(&self, op: &str, axis: isize) -> Result<(Tensor, Tensor)> {
        shape::axis(op, axis, self.ndim())?;
        let x = self.cast(self.dtype().to_float());
        let n = x.shape()[shape::axis(op, axis, x.ndim())?];
        let top = match n {
            0 => Tensor::number(0.0),
            _ => crate::graph::no_grad(|| x.reduce(Reduction::Max, Some(&[axis]), true))?,
        };
        Ok((x, top))
    }
}
