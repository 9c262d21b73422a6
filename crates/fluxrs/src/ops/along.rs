//! Elements by index along an axis, and the adjoint of that.

use super::index::{Indexed, brought};
use super::poll::{PIECE, rows};
use super::scatter::{Scatter, floats};
use super::shader::{Pass, Shader, Spec, template};
use super::structured::offset;
use super::{Half, Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::pool;
use crate::shape::{self, Shape, show};
use crate::with_element;
use smallvec::smallvec;
use std::ops::AddAssign;
use std::sync::Arc;

/// `srcs[0]` (…, n), `srcs[1]` int64 (…, k) ↦ (…, k): elements of the last axis by index.
struct TakeAlong {
    of: Indexed,
}

/// `srcs[0]` (…, k), `srcs[1]` int64 (…, k) ↦ (…, n): the sums of the elements of each index.
struct AddAlong {
    n: usize,
    of: Indexed,
}

impl Structured for TakeAlong {
    fn name(&self) -> &'static str {
        "take_along_axis"
    }

    fn key(&self) -> u64 {
        self.of.key()
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.of.call_site)
    }

    fn half(&self) -> Option<Half> {
        Some(Half::Elements)
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| add_along(g, &srcs[1], srcs[0].shape()[srcs[0].ndim() - 1], self.of.gradient_of(self.name())))
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn take<T: Element>(of: &Indexed, x: Operand<'_>, index: Operand<'_>, mut out: OperandMut<'_>) -> Result<()> {
            let (last, poll) = (x.shape.len() - 1, out.poll);
            let (n, k) = (x.shape[last], index.shape[last]);
            let (x_step, index_step) = (x.strides[last] as isize, index.strides[last] as isize);
            let start = |of: Operand<'_>, row: usize| offset(row, &of.shape[..last], &of.strides[..last]);
            let out = out.as_mut_slice::<T>();
            poll.pieces(out.len(), k, |piece| {
                for (row, columns) in rows(piece, k) {
                    let (x_row, index_row) = (start(x, row), start(index, row));
                    for j in columns {
                        // SAFETY: row and j are within the shape of the index, and `row` gives an element of the row of x.
                        unsafe {
                            let i = of.row("take_along_axis", index.get(index_row + j as isize * index_step), n)?;
                            out[row * k + j] = x.get(x_row + i as isize * x_step);
                        }
                    }
                }
                Ok(())
            })
        }
        with_element!(out.dtype, T => take::<T>(&self.of, srcs[0], srcs[1], out))
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let pass = Pass::threads(template!("take_along"), out.size(), 256);
        let pass = pass.sizes([("length", srcs[0].last()), ("taken", srcs[1].last())]);
        Ok(Shader::from(pass.operand("x", 0).operand("index", 1).result("out")).raising())
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        self.of.raised(self.name(), words)
    }
}

impl Structured for AddAlong {
    fn name(&self) -> &'static str {
        "add_along_axis"
    }

    fn key(&self) -> u64 {
        self.of.key() ^ self.n as u64
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.of.call_site)
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| take_along(g, &srcs[1], self.of.gradient_of(self.name())))
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn add<T: Element + AddAssign>(op: &AddAlong, x: Operand<'_>, index: &[i64], mut out: OperandMut<'_>) -> Result<()> {
            let (k, poll) = (x.shape[x.shape.len() - 1], out.poll);
            let (x, out) = (x.as_slice::<T>(), out.as_mut_slice::<T>());
            let row = |x: &[T], index: &[i64], out: &mut [T]| {
                index.iter().zip(x).try_for_each(|(&i, &x)| {
                    out[op.of.row("add_along_axis", i, op.n)?] += x;
                    Ok(())
                })
            };
            if out.is_empty() {
                return index.iter().try_for_each(|&i| op.of.row("add_along_axis", i, op.n).map(drop));
            }
            let some = (PIECE / (op.n + k)).max(1);
            pool::each_chunk(out, some * op.n, |t, out| {
                let at = t * some * k;
                if some > 1 {
                    poll.before(out.len() / op.n * (op.n + k))?;
                    out.fill(T::default());
                    return out.chunks_exact_mut(op.n).enumerate().try_for_each(|(r, out)| {
                        let from = at + r * k;
                        row(&x[from..from + k], &index[from..from + k], out)
                    });
                }
                poll.clear(out)?;
                poll.pieces(k, 1, |piece| row(&x[at..][piece.clone()], &index[at..][piece], out))
            })
        }
        match out.dtype {
            DType::F32 => add::<f32>(self, srcs[0], srcs[1].as_slice(), out),
            DType::F64 => add::<f64>(self, srcs[0], srcs[1].as_slice(), out),
            other => bail!(Type, "add_along_axis: floats are needed, got {other}"),
        }
    }

    fn looks_at_operands(&self) -> bool {
        true
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        floats(out.dtype)?;
        let lines = shape::size(&out.shape[..out.shape.len() - 1]);
        Ok(Scatter { lines, taken: srcs[0].last(), rows: self.n, width: 1 }.shader().raising())
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        self.of.raised(self.name(), words)
    }
}

fn take_along(x: &Tensor, index: &Tensor, of: Indexed) -> Tensor {
    let shape = Shape::from(index.shape());
    Tensor::within(Op::Structured(Arc::new(TakeAlong { of })), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

/// The elements of the last axis at places that an op has found in it.
pub(super) fn take_places(x: &Tensor, places: &Tensor) -> Tensor {
    take_along(x, places, Indexed::one(x.ndim() - 1, x.shape()[x.ndim() - 1]))
}

fn add_along(x: &Tensor, index: &Tensor, n: usize, of: Indexed) -> Tensor {
    let mut shape = Shape::from(index.shape());
    *shape.last_mut().expect("made with an axis") = n;
    Tensor::within(Op::Structured(Arc::new(AddAlong { n, of })), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

/// `x[…, index[…, j, …], …]` along one axis: the other axes of the two broadcast. Without an axis both are flat.
pub fn take_along_axis(x: &Tensor, index: &Tensor, axis: Option<isize>) -> Result<Tensor> {
    const OP: &str = "take_along_axis";
    if !index.dtype().is_int() {
        bail!(Type, "{OP}: indices must be integers, got {}; use astype('int64')", index.dtype());
    }
    // Indices follow what they index: a NumPy array of them comes from the CPU.
    let index = &brought(index, x.device())?;
    let Some(axis) = axis else {
        if index.ndim() != 1 {
            bail!(Shape, "{OP}: without an axis the indices must have one, got shape {}", show(index.shape()));
        }
        return Ok(take_along(&x.as_array().reshape_to(&[x.size()]), &index.cast(DType::I64), Indexed::one(0, x.size())));
    };
    let axis = shape::axis(OP, axis, x.ndim())?;
    if index.ndim() != x.ndim() {
        bail!(
            Shape,
            "{OP}: tensor and indices need the same number of axes, got shapes {} and {}",
            show(x.shape()),
            show(index.shape())
        );
    }
    let (x, index) = (x.moveaxis(axis as isize, -1)?, index.cast(DType::I64).moveaxis(axis as isize, -1)?);
    let last = x.ndim() - 1;
    let lead = shape::broadcast(OP, &x.shape()[..last], &index.shape()[..last])?;
    let with = |n: usize| -> Shape { lead.iter().copied().chain([n]).collect() };
    let (n, k) = (x.shape()[last], index.shape()[last]);
    let wide = |x: &Tensor, n: usize| x.broadcast_to(&with(n)).map_err(|e| e.renamed("broadcast_to", OP));
    take_along(&wide(&x, n)?, &wide(&index, k)?, Indexed::one(axis, n)).moveaxis(-1, axis as isize)
}
