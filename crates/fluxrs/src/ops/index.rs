//! Rows by number.

use super::poll::{heard, rows};
use super::rules::choose;
use super::scatter::scatter_rows;
use super::shader::{Pass, Shader, Spec, template};
use super::structured::{offset, offsets, room};
use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::call_site::CallSite;
use crate::device::Device;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::graph::Tensor;
use crate::hash::Hasher;
use crate::pool;
use crate::shape::{self, Shape, show};
use crate::with_element;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// `srcs[0]` (n, …), `srcs[1]` indices of any shape ↦ (indices…, …). Negative indices count from the end.
pub struct Gather {
    of: Indexed,
}

/// The axes that indices stand for, as the caller counts them, with their lengths, and where the call was.
#[derive(Clone)]
pub(super) struct Indexed {
    axes: SmallVec<[(usize, usize); 2]>,
    pub call_site: CallSite,
}

/// The piece of a result that is made of columns far apart in one go.
const ROWS: usize = 512;
const COLUMNS: usize = 16;

/// Indices that are wrong in one of several axes stand for themselves beyond −2⁶² + axis · 2⁴⁸.
const WRONG: i64 = -(1 << 62);
const FIELD: i64 = 1 << 48;

impl Indexed {
    pub fn one(axis: usize, len: usize) -> Indexed {
        Indexed { axes: smallvec![(axis, len)], call_site: CallSite::here() }
    }

    pub fn gradient_of(&self, op: &'static str) -> Indexed {
        Indexed { axes: self.axes.clone(), call_site: self.call_site.gradient_of(op) }
    }

    /// The axes are part of the code, since the error names them.
    pub fn key(&self) -> u64 {
        let mut h = Hasher::new(self.axes.len() as u64);
        for &(axis, len) in &self.axes {
            h.add(axis as u64);
            h.add(len as u64);
        }
        h.finish()
    }

    /// An index as a row number, or the error that names it.
    #[inline]
    pub fn row(&self, op: &str, index: i64, rows: usize) -> Result<usize> {
        let plain = if index < 0 { index + rows as i64 } else { index };
        if plain < 0 || plain >= rows as i64 { Err(self.error(op, index)) } else { Ok(plain as usize) }
    }

    /// The error for the flag of a shader: the index that was asked for, unless it was beyond the device's integers.
    pub fn raised(&self, op: &str, words: [u32; 2]) -> Error {
        match (words[0] as i32, &self.axes[..]) {
            (i32::MIN | i32::MAX, [(axis, len)]) => {
                Error::Index(format!("{op}: an index beyond 32 bits is out of range for axis {axis} of size {len}"))
            }
            (index, _) => self.error(op, index as i64),
        }
    }

    #[cold]
    fn error(&self, op: &str, index: i64) -> Error {
        let field = if self.axes.len() > 1 { (index - WRONG + FIELD / 2).div_euclid(FIELD) } else { 0 };
        let text = match self.axes.get(field as usize) {
            Some((axis, len)) if self.axes.len() == 1 || index < WRONG + FIELD * self.axes.len() as i64 => {
                let index = if self.axes.len() > 1 { index - WRONG - field * FIELD } else { index };
                format!("{op}: index {index} is out of range for axis {axis} of size {len}")
            }
            _ => format!("{op}: an index is out of range"),
        };
        Error::Index(text)
    }
}

impl Structured for Gather {
    fn name(&self) -> &'static str {
        "take"
    }

    fn key(&self) -> u64 {
        self.of.key()
    }

    fn call_site(&self) -> Option<&CallSite> {
        Some(&self.of.call_site)
    }

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| scatter_rows(g, &srcs[1], srcs[0].shape(), self.of.gradient_of(self.name())))
    }

    /// Of one table the rows of all steps are one gather, whose gradient is one sum.
    fn over_steps(&self, srcs: &[Tensor], all: &[Option<&Tensor>]) -> Option<Result<Tensor>> {
        let (None, Some(index)) = (all[0], all[1]) else { return None };
        Some(gather_rows(&srcs[0], index, self.of.clone()))
    }

    fn reads_through_map(&self, _: usize) -> bool {
        true
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn gather<T: Element>(of: &Indexed, x: Operand<'_>, index: Operand<'_>, mut out: OperandMut<'_>) -> Result<()> {
            let (width, poll) = (shape::size(&x.shape[1..]), out.poll);
            let straight = shape::is_contiguous(&x.shape[1..], &x.strides[1..]);
            let places = if straight { Vec::new() } else { offsets(&x.shape[1..], &x.strides[1..])? };
            // SAFETY: i is within the shape of the index.
            let row = |i: usize| of.row("take", unsafe { index.get(offset(i, index.shape, index.strides)) }, x.shape[0]);
            let out = out.as_mut_slice::<T>();
            if width == 0 {
                // Of rows without elements, too, there are only so many.
                return poll.pieces(shape::size(index.shape), 1, |mut piece| piece.try_for_each(|i| row(i).map(drop)));
            }
            if straight {
                return poll.fill(out, 1, |start, mut part| {
                    for (i, columns) in rows(start..start + part.len(), width) {
                        let to = part.split_off_mut(..columns.len()).expect("rows cover the part");
                        let start = row(i)? as isize * x.strides[0] as isize + columns.start as isize;
                        // SAFETY: `row` gives one within the shape of x, whose rows are contiguous.
                        to.copy_from_slice(unsafe { x.run(start, columns.len()) });
                    }
                    Ok(())
                });
            }
            // Columns of x lie far apart: each is read for many rows while it is in cache.
            let tall = |t: usize, part: &mut [T]| {
                for (k, places) in places.chunks(COLUMNS).enumerate() {
                    poll.before(part.len() / width * COLUMNS)?;
                    for (i, to) in part.chunks_exact_mut(width).enumerate() {
                        let start = row(t * ROWS + i)? as isize * x.strides[0] as isize;
                        // SAFETY: `row` and the places are within the shape of x.
                        to[k * COLUMNS..].iter_mut().zip(places).for_each(|(to, place)| *to = unsafe { x.get(start + place) });
                    }
                }
                Ok(())
            };
            pool::each_chunk(out, ROWS * width, tall)
        }
        with_element!(out.dtype, T => gather::<T>(&self.of, srcs[0], srcs[1], out))
    }

    fn looks_at_operands(&self) -> bool {
        true
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let (rows, width) = (srcs[0].shape[0], shape::size(&srcs[0].shape[1..]));
        if width == 0 {
            return Ok(Shader::from(numbers(srcs[1].size(), rows)).raising());
        }
        let pass = Pass::threads(template!("gather"), out.size(), 256).sizes([("rows", rows), ("width", width)]);
        Ok(Shader::from(pass.operand("x", 0).operand("index", 1).result("out")).raising())
    }

    fn raised(&self, words: [u32; 2]) -> Error {
        self.of.raised(self.name(), words)
    }
}

/// Looks at the numbers of rows that have no elements.
pub(super) fn numbers(taken: usize, rows: usize) -> Pass {
    Pass::threads(template!("numbers"), taken, 256).sizes([("rows", rows)]).operand("index", 1)
}

/// Rows of `x` (along axis 0) by an int64 tensor of indices.
pub(super) fn gather_rows(x: &Tensor, index: &Tensor, of: Indexed) -> Result<Tensor> {
    let mut shape = Shape::from(index.shape());
    shape.extend_from_slice(&x.shape()[1..]);
    Tensor::node(Op::Structured(Arc::new(Gather { of })), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

/// Indices follow what they index: a NumPy array of them comes from the CPU. One that is beyond the integers of a device is out of
/// range there, not in need of another device.
pub(super) fn brought(index: &Tensor, device: Device) -> Result<Tensor> {
    let fits = device.is_cpu() || !index.device().is_cpu() || index.dtype() != DType::I64;
    let bounded = || index.maximum(&Tensor::number(i32::MIN as i64)).minimum(&Tensor::number(i32::MAX as i64));
    crate::ENGINE.to_device(&if fits { index.clone() } else { bounded() }, device)
}

/// Elements of `x` along an axis by number: the axis is replaced by the axes of `index`.
pub fn take(x: &Tensor, index: &Tensor, axis: isize) -> Result<Tensor> {
    if !index.dtype().is_int() {
        bail!(Type, "take: indices must be integers, got {}; use astype('int64')", index.dtype());
    }
    let axis = shape::axis("take", axis, x.ndim())?;
    let index = brought(index, x.device())?.cast(DType::I64);
    if x.shape()[axis] == 0 && index.size() > 0 {
        bail!(Index, "take: axis {axis} of shape {} has no elements", show(x.shape()));
    }
    let rows = gather_rows(&x.moveaxis(axis as isize, 0)?, &index, Indexed::one(axis, x.shape()[axis]))?;
    // The index's axes stand in front; they belong where the axis was.
    let (k, n) = (index.ndim(), rows.ndim());
    let perm: Vec<usize> = (k..k + axis).chain(0..k).chain(k + axis..n).collect();
    Ok(if axis == 0 { rows } else { rows.permute(&perm) })
}

/// Elements at one index tensor for each of the leading axes; the index tensors broadcast together.
pub fn take_at(x: &Tensor, indices: &[Tensor]) -> Result<Tensor> {
    take_along_axes(x, indices, &(0..indices.len()).collect::<Vec<_>>())
}

/// As `take_at`, where the leading axes have other numbers for the caller.
pub fn take_along_axes(x: &Tensor, indices: &[Tensor], axes: &[usize]) -> Result<Tensor> {
    if indices.len() > x.ndim() {
        bail!(Index, "indexing: {} indices for a tensor of shape {}", indices.len(), show(x.shape()));
    }
    if let Some(bad) = indices.iter().find(|i| !i.dtype().is_int()) {
        bail!(Type, "indexing: indices must be integers or bools, got {}", bad.dtype());
    }
    let indices: Vec<Tensor> = indices.iter().map(|i| brought(i, x.device())).collect::<Result<_>>()?;
    let mut shape = Shape::new();
    for i in &indices {
        shape = shape::broadcast("indexing", &shape, i.shape())?;
    }
    if indices.is_empty() {
        return Ok(x.clone());
    }
    let (lead, rest) = x.shape().split_at(indices.len());
    let rows: Shape = std::iter::once(shape::size(lead)).chain(rest.iter().copied()).collect();
    let of = Indexed { axes: axes.iter().copied().zip(lead.iter().copied()).collect(), call_site: CallSite::here() };
    let index = flat_index(&indices, lead).broadcast_to(&shape)?;
    gather_rows(&x.reshape_to(&rows), &index, of).map_err(|e| e.renamed("take", "indexing"))
}

/// One index into several axes seen as one, or what says which of them is out of range.
fn flat_index(indices: &[Tensor], lengths: &[usize]) -> Tensor {
    let number = |n: i64| Tensor::number(n);
    if let [only] = indices {
        return only.cast(DType::I64);
    }
    let (mut flat, mut checks) = (None, Vec::new());
    for (k, (index, &n)) in indices.iter().zip(lengths).enumerate() {
        let (index, n) = (index.cast(DType::I64), n as i64);
        let inside = index.less(&number(n)).logical_and(&index.greater_equal(&number(-n)));
        // An index out of range is 0 in between, so that no sum of it leaves its type.
        let within = choose(&inside, &index, 0i64);
        let plain = choose(&within.less(&number(0)), &within + n, &within);
        // A GPU's integers have 32 bits: there the index itself does not fit beside the axis.
        let wrong = match index.device().is_cpu() {
            true => index.maximum(&number(1 - FIELD / 2)).minimum(&number(FIELD / 2 - 1)) + (WRONG + k as i64 * FIELD),
            false => number(i32::MIN as i64),
        };
        checks.push((inside, wrong));
        flat = Some(match flat {
            None => plain,
            Some(f) => f * n + plain,
        });
    }
    // The first wrong one is named.
    let flat = flat.expect("one index at least");
    checks.into_iter().rev().fold(flat, |rest, (inside, wrong)| choose(&inside, rest, wrong))
}

/// Where a mask is true: the indices along each axis, in row-major order, as int64. Looks at the values, so it evaluates.
pub fn nonzero(mask: &Tensor) -> Result<Vec<Tensor>> {
    let mask = mask.as_array().to_bool();
    let n = mask.size();
    let host = crate::ENGINE.to_host(&mask)?;
    let truth = &host.as_slice::<u8>()[..n];
    let layout = shape::contiguous(mask.shape());
    heard(|poll| {
        let mut count = 0;
        poll.pieces(n, 1, |piece| {
            count += truth[piece].iter().filter(|&&t| t != 0).count();
            Ok(())
        })?;
        let mut found = room(count)?;
        poll.pieces(n, 1, |piece| {
            found.extend(piece.filter(|&i| truth[i] != 0).map(|i| i as i64));
            Ok(())
        })?;
        let along = |(&n, &step): (&usize, &i64)| -> Result<Tensor> {
            let mut index = room(count)?;
            poll.pieces(count, 1, |piece| {
                index.extend(found[piece].iter().map(|i| i / step % n as i64));
                Ok(())
            })?;
            Tensor::from_slice(&index, &[count])
        };
        mask.shape().iter().zip(&layout).map(along).collect()
    })
}
