//! Products and sizes of vectors and matrices, made of other ops: dot, outer, kron, trace, norm, diagm.

use super::create::diagonal_matrix;
use super::matmul::matmul;
use super::reduce::Reduction;
use super::rules::{apart_from_zero, choose};
use super::{Elementwise, Op, apply, place::common_dtype};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};

fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Elementwise::multiply.apply(&[a, b])
}

fn flat(x: &Tensor) -> Tensor {
    x.reshape_to(&[x.size()])
}

/// NumPy's `dot`: of vectors the sum of products, of matrices the matrix product, with a number a plain product; else sums over the last
/// axis of `a` and the last but one of `b`.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.ndim() == 0 || b.ndim() == 0 {
        return multiply(a, b).map_err(|e| e.renamed("multiply", "dot"));
    }
    if b.ndim() <= 2 {
        return matmul(a, b).map_err(|e| e.renamed("matmul", "dot"));
    }
    tensordot_as("dot", a, b, &[-1], &[-2])
}

/// The sum of the products of all elements of two tensors of one shape: Flux's `dot`, NumPy's `vdot`.
pub fn vdot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.size() != b.size() {
        bail!(Shape, "vdot: shapes {} and {} have {} and {} elements", show(a.shape()), show(b.shape()), a.size(), b.size());
    }
    let dtype = common_dtype("vdot", &[a.clone(), b.clone()])?;
    let total = multiply(&flat(&a.cast(dtype)), &flat(&b.cast(dtype)))?;
    Ok(total.reduce_axes(if dtype == DType::Bool { Reduction::Any } else { Reduction::Sum }, 1))
}

/// The sum of products over these axes of `a` and `b`, pair by pair; the axes left of `a` stand before those of `b`.
pub fn tensordot(a: &Tensor, b: &Tensor, axes_a: &[isize], axes_b: &[isize]) -> Result<Tensor> {
    tensordot_as("tensordot", a, b, axes_a, axes_b)
}

fn tensordot_as(op: &str, a: &Tensor, b: &Tensor, axes_a: &[isize], axes_b: &[isize]) -> Result<Tensor> {
    if axes_a.len() != axes_b.len() {
        bail!(Value, "{op}: {} axes of the first operand and {} of the second", axes_a.len(), axes_b.len());
    }
    let plain = |x: &Tensor, axes: &[isize]| -> Result<Vec<usize>> {
        shape::axes(op, Some(axes), x.ndim())?;
        axes.iter().map(|&k| shape::axis(op, k, x.ndim())).collect()
    };
    let (sum_a, sum_b) = (plain(a, axes_a)?, plain(b, axes_b)?);
    if sum_a.iter().zip(&sum_b).any(|(&i, &j)| a.shape()[i] != b.shape()[j]) {
        bail!(
            Shape,
            "{op}: axes {axes_a:?} of shape {} and {axes_b:?} of shape {} differ in length",
            show(a.shape()),
            show(b.shape())
        );
    }
    let rest = |x: &Tensor, gone: &[usize]| -> Vec<usize> { (0..x.ndim()).filter(|k| !gone.contains(k)).collect() };
    let (keep_a, keep_b) = (rest(a, &sum_a), rest(b, &sum_b));
    let size = |x: &Tensor, axes: &[usize]| -> usize { axes.iter().map(|&k| x.shape()[k]).product() };
    let rows = a.permute(&[keep_a.clone(), sum_a.clone()].concat()).reshape_to(&[size(a, &keep_a), size(a, &sum_a)]);
    let columns = b.permute(&[sum_b.clone(), keep_b.clone()].concat()).reshape_to(&[size(b, &sum_b), size(b, &keep_b)]);
    let shape: Shape = keep_a.iter().map(|&k| a.shape()[k]).chain(keep_b.iter().map(|&k| b.shape()[k])).collect();
    shape::check(op, &shape)?;
    Ok(matmul(&rows, &columns).map_err(|e| e.renamed("matmul", op))?.reshape_to(&shape))
}

/// Two operands as arrays: a number has the type that it has beside the other.
fn arrays(op: &str, a: &Tensor, b: &Tensor) -> Result<[Tensor; 2]> {
    let common = apply::common_dtype(&[a, b]);
    let array = |x: &Tensor, other: &Tensor| match x.op() {
        Op::Number(n) => n.check(op, common).map(|()| x.fill_on(other.device(), common)),
        _ => Ok(x.clone()),
    };
    Ok([array(a, b)?, array(b, a)?])
}

/// The products of every element of `a` with every element of `b`, both flattened: (m, n).
pub fn outer(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [a, b] = arrays("outer", a, b)?;
    let product = multiply(&a.reshape_to(&[a.size(), 1]), &b.reshape_to(&[1, b.size()]));
    product.map_err(|e| e.renamed("multiply", "outer"))
}

/// The Kronecker product: every element of `a` replaced by itself times `b`.
pub fn kron(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [a, b] = &arrays("kron", a, b)?;
    let ndim = a.ndim().max(b.ndim());
    let padded = |x: &Tensor| -> Shape { std::iter::repeat_n(1, ndim - x.ndim()).chain(x.shape().iter().copied()).collect() };
    let (sa, sb) = (padded(a), padded(b));
    let wide_a: Shape = sa.iter().flat_map(|&n| [n, 1]).collect();
    let wide_b: Shape = sb.iter().flat_map(|&n| [1, n]).collect();
    shape::check("kron", &wide_a)?;
    let product = multiply(&a.reshape_to(&wide_a), &b.reshape_to(&wide_b));
    let product = product.map_err(|e| e.renamed("multiply", "kron"))?;
    let shape: Shape = sa.iter().zip(&sb).map(|(a, b)| a * b).collect();
    Ok(product.reshape_to(&shape))
}

/// A square matrix with the vector `x` on its k-th diagonal, zeros elsewhere.
pub fn diagm(x: &Tensor, k: isize) -> Result<Tensor> {
    let &[n] = x.shape() else {
        bail!(Shape, "diagm: a vector is needed, got shape {}; for the diagonal of a matrix use diagonal", show(x.shape()));
    };
    let n = n.saturating_add(k.unsigned_abs());
    shape::check("diagm", &[n, n])?;
    Ok(diagonal_matrix(x, n, n, k))
}

/// The sum of the k-th diagonal over the first two axes.
pub fn trace(x: &Tensor, k: isize) -> Result<Tensor> {
    x.diagonal(k, 0, 1).map_err(|e| e.renamed("diagonal", "trace"))?.sum(Some(&[-1]), false)
}

/// (Σ |x|^p)^(1/p) over some axes or all of them; the greatest |x| for p = ∞, the smallest for −∞, the count of non-zeros for 0.
/// The gradient at 0 is 0.
pub fn norm(x: &Tensor, p: f64, axes: Option<&[isize]>, keepdims: bool) -> Result<Tensor> {
    shape::axes("norm", axes, x.ndim())?;
    let x = x.as_array();
    let x = x.cast(x.dtype().to_float());
    let number = Tensor::number;
    if p.is_infinite() {
        let empty = x.size() == 0 && axes.is_none();
        let kind = if p > 0.0 { Reduction::Max } else { Reduction::Min };
        // Of no elements the greatest size is 0, as the sums of the others are.
        let all = || x.abs().reduce(kind, axes, keepdims).map_err(|e| e.renamed(kind.name(), "norm"));
        return if empty && p > 0.0 { x.sum(axes, keepdims) } else { all() };
    }
    if p == 0.0 {
        // Of a zero the sign, which is 0, so that the count is tracked and has a gradient: 0.
        return choose(&x.not_equal(&number(0.0)), 1.0, x.sign()).sum(axes, keepdims);
    }
    if p == 1.0 {
        return x.abs().sum(axes, keepdims);
    }
    if p == 2.0 {
        let total = x.square().sum(axes, keepdims)?;
        return Ok(apart_from_zero(&total, 0.0, Tensor::sqrt));
    }
    if p.is_nan() {
        bail!(Value, "norm: p must be a number, got NaN");
    }
    let at_zero = if p > 0.0 { 0.0 } else { f64::INFINITY };
    let powers = apart_from_zero(&x.abs(), at_zero, |a| a.power(&number(p)));
    let root = if p > 0.0 { 0.0 } else { f64::INFINITY };
    Ok(apart_from_zero(&powers.sum(axes, keepdims)?, root, |t| t.power(&number(1.0 / p))))
}
