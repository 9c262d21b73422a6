//! Rows by number: gather and its adjoint, scatter-add.

use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use crate::with_element;
use smallvec::smallvec;
use std::sync::Arc;

/// `srcs[0]` (n, …), `srcs[1]` indices of any shape ↦ (indices…, …). Negative indices count from the end.
pub struct Gather;

/// `srcs[0]` rows (indices…, …), `srcs[1]` indices ↦ (n, …): the sums of the rows of each index, zeros where there are none.
pub struct ScatterAdd {
    pub rows: usize,
}

/// An index as a row number, or the error that names it.
pub(super) fn row(op: &str, index: i64, rows: usize) -> Result<usize> {
    let plain = if index < 0 { index + rows as i64 } else { index };
    if plain < 0 || plain >= rows as i64 {
        return Err(Error::Index(format!("{op}: index {index} is out of range for an axis of length {rows}")));
    }
    Ok(plain as usize)
}

impl Structured for Gather {
    fn name(&self) -> &'static str {
        "take"
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| scatter_rows(g, &srcs[1], srcs[0].shape()))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn gather<T: Element>(x: &[T], rows: usize, index: &[i64], out: &mut [T]) -> Result<()> {
            if out.is_empty() {
                return Ok(());
            }
            let width = out.len() / index.len();
            for (to, &i) in out.chunks_exact_mut(width).zip(index) {
                let at = row("take", i, rows)? * width;
                to.copy_from_slice(&x[at..at + width]);
            }
            Ok(())
        }
        let mut out = out;
        let rows = srcs[0].shape[0];
        with_element!(out.dtype, T => gather::<T>(srcs[0].as_slice(), rows, srcs[1].as_slice(), out.as_mut_slice()))
    }

    fn shader(&self) -> Option<&'static str> {
        Some("gather")
    }
}

impl Structured for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn key(&self) -> u64 {
        self.rows as u64
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| gather_rows(g, &srcs[1]))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn scatter<T: Element + std::ops::AddAssign>(x: &[T], rows: usize, index: &[i64], out: &mut [T]) -> Result<()> {
            out.fill(T::default());
            if x.is_empty() {
                return Ok(());
            }
            let width = x.len() / index.len();
            for (from, &i) in x.chunks_exact(width).zip(index) {
                let at = row("scatter_add", i, rows)? * width;
                out[at..at + width].iter_mut().zip(from).for_each(|(o, &f)| *o += f);
            }
            Ok(())
        }
        let mut out = out;
        let (x, index) = (srcs[0], srcs[1].as_slice());
        match out.dtype {
            DType::F32 => scatter::<f32>(x.as_slice(), self.rows, index, out.as_mut_slice()),
            DType::F64 => scatter::<f64>(x.as_slice(), self.rows, index, out.as_mut_slice()),
            DType::I32 => scatter::<i32>(x.as_slice(), self.rows, index, out.as_mut_slice()),
            DType::I64 => scatter::<i64>(x.as_slice(), self.rows, index, out.as_mut_slice()),
            DType::Bool => bail!(Type, "scatter_add: bool rows cannot be added"),
        }
    }

    fn shader(&self) -> Option<&'static str> {
        Some("scatter_add")
    }
}

/// Rows of `x` (along axis 0) by an int64 tensor of indices.
pub(crate) fn gather_rows(x: &Tensor, index: &Tensor) -> Tensor {
    let mut shape = Shape::from(index.shape());
    shape.extend_from_slice(&x.shape()[1..]);
    Tensor::node(Op::Structured(Arc::new(Gather)), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

/// The adjoint of `gather_rows` from a tensor of this shape.
pub(crate) fn scatter_rows(rows: &Tensor, index: &Tensor, shape: &[usize]) -> Tensor {
    let op = ScatterAdd { rows: shape[0] };
    Tensor::node(Op::Structured(Arc::new(op)), smallvec![rows.clone(), index.clone()], shape.into(), rows.dtype())
}

/// Elements of `x` along an axis by number: the axis is replaced by the axes of `index`.
pub fn take(x: &Tensor, index: &Tensor, axis: isize) -> Result<Tensor> {
    if !index.dtype().is_int() {
        bail!(Type, "take: indices must be integers, got {}; use astype('int64')", index.dtype());
    }
    let axis = shape::axis("take", axis, x.ndim())?;
    // Indices follow what they index: a NumPy array of them comes from the CPU.
    let index = crate::transfer::to_device(index, x.device())?.cast(DType::I64);
    if x.shape()[axis] == 0 && index.size() > 0 {
        bail!(Index, "take: axis {axis} of shape {} has no elements", show(x.shape()));
    }
    let rows = gather_rows(&x.moveaxis(axis as isize, 0)?, &index);
    // The index's axes stand in front; they belong where the axis was.
    let (k, n) = (index.ndim(), rows.ndim());
    let perm: Vec<usize> = (k..k + axis).chain(0..k).chain(k + axis..n).collect();
    Ok(if axis == 0 { rows } else { rows.permute(&perm) })
}

/// Elements at one index tensor for each of the leading axes; the index tensors broadcast together.
pub fn take_at(x: &Tensor, indices: &[Tensor]) -> Result<Tensor> {
    if indices.len() > x.ndim() {
        bail!(Index, "indexing: {} indices for a tensor of shape {}", indices.len(), show(x.shape()));
    }
    if let Some(bad) = indices.iter().find(|i| !i.dtype().is_int()) {
        bail!(Type, "indexing: indices must be integers or bools, got {}", bad.dtype());
    }
    let indices: Vec<Tensor> = indices.iter().map(|i| crate::transfer::to_device(i, x.device())).collect::<Result<_>>()?;
    let mut shape = Shape::new();
    for i in &indices {
        shape = shape::broadcast("indexing", &shape, i.shape())?;
    }
    // One index into the leading axes seen as one; if any part is out of range it is an index that no axis has.
    let mut flat: Option<(Tensor, Tensor)> = None;
    for (i, &n) in indices.iter().zip(x.shape()) {
        let (plain, inside) = wrap_index(&i.cast(DType::I64), n);
        flat = Some(match flat {
            None => (plain, inside),
            Some((f, before)) => (f * n as i64 + plain, before.logical_and(&inside)),
        });
    }
    let Some((flat, inside)) = flat else { return Ok(x.clone()) };
    // Other devices have 32 bits for it.
    let outside = if x.device().is_cpu() { i64::MAX / 4 } else { i64::from(i32::MAX) };
    let flat = super::rules::choose(&inside, flat, outside);
    let lead = indices.len();
    let mut rows: Shape = smallvec![shape::size(&x.shape()[..lead])];
    rows.extend_from_slice(&x.shape()[lead..]);
    Ok(gather_rows(&x.reshape_to(&rows), &flat.broadcast_shape(&shape)))
}

/// Where a mask is true: the indices along each axis, in row-major order, as int64. Looks at the values, so it evaluates.
pub fn nonzero(mask: &Tensor) -> Result<Vec<Tensor>> {
    let mask = mask.as_array().to_bool();
    let n = mask.size();
    let host = crate::transfer::to_host(&mask)?;
    let truth = &host.as_slice::<u8>()[..n];
    let found: Vec<usize> = (0..n).filter(|&i| truth[i] != 0).collect();
    let layout = shape::contiguous(mask.shape());
    let along = |(&n, &step): (&usize, &i64)| -> Result<Tensor> {
        let index: Vec<i64> = found.iter().map(|&i| i as i64 / step % n as i64).collect();
        Tensor::from_slice(&index, &[found.len()])
    };
    mask.shape().iter().zip(&layout).map(along).collect()
}

/// Negative indices counted from the end, 0 for what is out of range; and what is not.
fn wrap_index(index: &Tensor, n: usize) -> (Tensor, Tensor) {
    use super::rules::choose;
    let number = |x: i64| Tensor::number(x);
    let n = n as i64;
    let inside = index.less(&number(n)).logical_and(&index.greater_equal(&number(-n)));
    let within = choose(&inside, index, 0i64);
    (choose(&within.less(&number(0)), &within + n, &within), inside)
}
