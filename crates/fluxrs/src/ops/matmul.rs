//! Matrix products by NumPy's shape rules.

use super::reduce::Reduction;
use super::{Elementwise, Op};
use crate::bail;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use smallvec::smallvec;

/// `a @ b`: vectors are rows on the left and columns on the right, leading axes broadcast.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.ndim() == 0 || b.ndim() == 0 {
        bail!(
            Shape,
            "matmul: both sides need at least one axis, got shapes {} and {}; use * to multiply by a number",
            show(a.shape()),
            show(b.shape())
        );
    }
    super::apply::check_devices("matmul", &[a, b])?;
    let dtype = a.dtype().promote(b.dtype());
    if dtype == DType::Bool {
        // Of truth values, as NumPy's: whether any product is true.
        return Ok(matmul(&a.cast(DType::I64), &b.cast(DType::I64))?.to_bool());
    }
    let (a, b) = (a.cast(dtype), b.cast(dtype));
    let k = a.shape()[a.ndim() - 1];
    let kb = if b.ndim() == 1 { b.shape()[0] } else { b.shape()[b.ndim() - 2] };
    if k != kb {
        let hint = if b.ndim() == 2 && b.shape()[1] == k { "; did you mean x @ W.T?" } else { "" };
        bail!(
            Shape,
            "matmul: shapes {} and {} do not fit: the inner sizes are {k} and {kb}{hint}",
            show(a.shape()),
            show(b.shape())
        );
    }
    if k > 1 && a.ndim().max(b.ndim()) <= 2 {
        return product(&a, &b);
    }
    if b.ndim() == 1 {
        let mut shape = Shape::from_slice(a.shape());
        shape.pop();
        let rows = shape::size(&shape);
        return Ok(product(&a.reshape_to(&[rows, k]), &b.reshape_to(&[k, 1]))?.reshape_to(&shape));
    }
    let n = b.shape()[b.ndim() - 1];
    if a.ndim() == 1 {
        let mut shape = Shape::from_slice(b.shape());
        shape.remove(b.ndim() - 2);
        return Ok(matmul(&a.reshape_to(&[1, k]), &b)?.reshape_to(&shape));
    }
    if b.ndim() == 2 {
        // One product instead of a batch of them.
        let mut shape = Shape::from_slice(a.shape());
        shape.pop();
        let rows = shape::size(&shape);
        shape.push(n);
        return Ok(product(&a.reshape_to(&[rows, k]), &b)?.reshape_to(&shape));
    }
    let m = a.shape()[a.ndim() - 2];
    let Ok(lead) = shape::broadcast("matmul", &a.shape()[..a.ndim() - 2], &b.shape()[..b.ndim() - 2]) else {
        bail!(
            Shape,
            "matmul: shapes {} and {} do not fit: all axes but the last two must be equal or 1",
            show(a.shape()),
            show(b.shape())
        );
    };
    let full = |r: usize, c: usize| -> Shape { lead.iter().copied().chain([r, c]).collect() };
    let wide = |x: &Tensor, to: Shape| x.broadcast_to(&to).map_err(|e| e.renamed("broadcast_to", "matmul"));
    product(&wide(&a, full(m, k))?, &wide(&b, full(k, n))?)
}

/// m, k and n of a product of operands of these shapes: a vector is a row on the left and a column on the right.
pub(crate) fn sizes(a: &[usize], b: &[usize]) -> (usize, usize, usize) {
    let (m, k) = if let [.., m, k] = *a { (m, k) } else { (1, a[0]) };
    (m, k, if b.len() > 1 { b[b.len() - 1] } else { 1 })
}

/// The node itself: shapes (…, m, k) and (…, k, n) with equal leading axes, or vectors.
fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, k, n) = sizes(a.shape(), b.shape());
    if k == 1 && a.ndim() > 1 && b.ndim() > 1 {
        // An outer product is elementwise, and fuses as such.
        return Elementwise::multiply.apply(&[a, b]).map_err(|e| e.renamed("multiply", "matmul"));
    }
    let mut shape = Shape::from_slice(&a.shape()[..a.ndim() - 1]);
    if b.ndim() > 1 {
        shape.push(n);
    }
    if k == 0 {
        shape::check("matmul", &shape)?;
        return empty_product(a, b);
    }
    Tensor::node(Op::Matmul, smallvec![a.clone(), b.clone()], shape, a.dtype())
}

/// A product of an inner size of 0: zeros, which derive from both operands all the same.
fn empty_product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let multiply = |a: &Tensor, b: &Tensor| Elementwise::multiply.apply(&[a, b]);
    let terms = match (a.ndim(), b.ndim()) {
        (_, 1) => return Ok(last_sum(&multiply(a, b)?, 1)),
        (1, _) => multiply(&a.expand_dims(&[-1])?, b)?,
        _ => multiply(&a.expand_dims(&[-1])?, &b.expand_dims(&[-3])?)?,
    };
    Ok(last_sum(&terms, 2))
}

/// The sum over the axis that is the `n`-th from the end.
fn last_sum(x: &Tensor, n: usize) -> Tensor {
    x.reduce_axes(Reduction::Sum, 1 << (x.ndim() - n))
}

/// A·B: dA = g·Bᵀ, dB = Aᵀ·g. For an operand that is a transposed view the transpose of that is made, so that the gradient
/// arrives in the order in which the operand's own elements lie.
pub(crate) fn gradient(i: usize, srcs: &[Tensor], g: &Tensor) -> Tensor {
    let (a, b) = (&srcs[0], &srcs[1]);
    let product = |x: &Tensor, y: &Tensor| product(x, y).expect("the shape of an operand");
    match (i, a.ndim(), b.ndim()) {
        (0, 1, 1) => return g * b,
        (_, 1, 1) => return g * a,
        (0, 1, _) => return product(b, g),
        (_, _, 1) if i == 1 => return product(g, a),
        (0, _, 1) => return outer(a, g, b),
        (_, 1, _) => return outer(b, a, g),
        _ => {}
    }
    match (i, is_transposed(&srcs[i])) {
        (0, false) => product(g, &b.swap_last()),
        (0, true) => product(b, &g.swap_last()).swap_last(),
        (_, false) => product(&a.swap_last(), g),
        (_, true) => product(&g.swap_last(), a).swap_last(),
    }
}

/// x·yᵀ, the gradient towards `w`.
fn outer(w: &Tensor, x: &Tensor, y: &Tensor) -> Tensor {
    let column = |v: &Tensor| v.reshape_to(&[v.size(), 1]);
    if is_transposed(w) { (column(y) * x).swap_last() } else { column(x) * y }
}

/// True if the columns of the last two axes lie side by side in memory.
fn is_transposed(x: &Tensor) -> bool {
    match x.op() {
        Op::View(view) => matches!(view.map.strides[..], [.., 1, step] if step != 1),
        _ => false,
    }
}
