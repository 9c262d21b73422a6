//! Order along an axis: argsort, sort, the place of an extreme, and elements by index along an axis.

use super::index::Indexed;
use super::structured::{go_on, room};
use super::{Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::call_site::CallSite;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::shape::{self, Shape, show};
use crate::with_element;
use rayon::prelude::*;
use smallvec::smallvec;
use std::ops::AddAssign;
use std::sync::Arc;

/// Elements below which one thread is enough.
const PARALLEL: usize = 1 << 14;

/// `srcs[0]` (…, n) ↦ int64 (…, n): the indices that sort the last axis; equal elements keep their order, NaN is last.
struct Argsort;

/// `srcs[0]` (…, n) ↦ int64 (…): where the largest or smallest element of the last axis is, the first of equals. NaN beats all.
struct Argextreme {
    largest: bool,
}

/// `srcs[0]` (…, n), `srcs[1]` int64 (…, k) ↦ (…, k): elements of the last axis by index.
struct TakeAlong {
    of: Indexed,
}

/// `srcs[0]` (…, k), `srcs[1]` int64 (…, k) ↦ (…, n): the sums of the elements of each index.
struct AddAlong {
    n: usize,
    of: Indexed,
}

/// What orders elements as their sort does: an integer, the greatest one for NaN.
trait SortKey: Element + PartialOrd {
    /// Whether keys have 32 bits, which leaves as many for the index.
    const SHORT: bool;
    fn key(self) -> u64;
}

macro_rules! sort_key {
    ($t:ident, $bits:ident, $x:ident => $key:expr) => {
        impl SortKey for $t {
            const SHORT: bool = $bits::BITS == 32;
            fn key(self) -> u64 {
                let $x = self;
                let key: $bits = $key;
                key as u64
            }
        }
    };
}
/// The bits of a float in the order of the numbers; −0 becomes 0, since the two are equal.
macro_rules! float_key {
    ($x:ident, $bits:ident) => {{
        let sign = 1 << ($bits::BITS - 1);
        let bits = ($x + 0.0).to_bits();
        if $x.is_nan() {
            $bits::MAX
        } else if bits & sign != 0 {
            !bits
        } else {
            bits | sign
        }
    }};
}
sort_key!(u8, u32, x => x as u32);
sort_key!(i32, u32, x => x as u32 ^ 1 << 31);
sort_key!(i64, u64, x => x as u64 ^ 1 << 63);
sort_key!(f32, u32, x => float_key!(x, u32));
sort_key!(f64, u64, x => float_key!(x, u64));

/// Sorts keys that carry their index, no two alike, so that an unstable sort gives the one stable order.
fn order<K: Ord + Send>(keys: &mut [K], alone: bool) {
    if alone { keys.par_sort_unstable() } else { keys.sort_unstable() }
}

fn argsort_row<T: SortKey>(x: &[T], out: &mut [i64], alone: bool) -> Result<()> {
    if T::SHORT && x.len() <= u32::MAX as usize {
        let mut keys: Vec<u64> = room(x.len())?;
        keys.extend(x.iter().enumerate().map(|(i, x)| x.key() << 32 | i as u64));
        order(&mut keys, alone);
        out.iter_mut().zip(keys).for_each(|(o, k)| *o = (k & u32::MAX as u64) as i64);
    } else {
        let mut keys: Vec<(u64, i64)> = room(x.len())?;
        keys.extend(x.iter().enumerate().map(|(i, x)| (x.key(), i as i64)));
        order(&mut keys, alone);
        out.iter_mut().zip(keys).for_each(|(o, (_, i))| *o = i);
    }
    Ok(())
}

fn argsort_rows<T: SortKey>(x: &[T], n: usize, mut result: OperandMut<'_>) -> Result<()> {
    let stop = result.stop;
    let out = result.as_mut_slice::<i64>();
    let sort = |(x, out): (&[T], &mut [i64]), alone: bool| {
        go_on(stop)?;
        argsort_row(x, out, alone)
    };
    if x.len() < PARALLEL || n == x.len() {
        let alone = x.len() >= PARALLEL;
        x.chunks_exact(n).zip(out.chunks_exact_mut(n)).try_for_each(|row| sort(row, alone))
    } else {
        x.par_chunks_exact(n).zip(out.par_chunks_exact_mut(n)).try_for_each(|row| sort(row, false))
    }
}

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn extreme<T: PartialOrd + Copy>(x: &[T], largest: bool) -> i64 {
    let mut best = 0;
    for (i, &x_i) in x.iter().enumerate() {
        let now = x[best];
        if now != now {
            break;
        }
        let better = if largest { x_i > now } else { x_i < now };
        if better || x_i != x_i {
            best = i;
        }
    }
    best as i64
}

impl Structured for Argsort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        let x = srcs[0];
        let &n = x.shape.last().expect("made with an axis");
        if n == 0 { Ok(()) } else { with_element!(x.dtype, T => argsort_rows::<T>(x.as_slice(), n, out)) }
    }

    fn cost(&self, out: &Tensor) -> usize {
        out.size() * 50
    }

    fn shader(&self) -> Option<&'static str> {
        Some("argsort")
    }
}

impl Structured for Argextreme {
    fn name(&self) -> &'static str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        fn rows<T: Element + PartialOrd>(x: &[T], n: usize, out: &mut [i64], largest: bool) {
            let one = |(x, o): (&[T], &mut i64)| *o = extreme(x, largest);
            if x.len() < PARALLEL {
                x.chunks_exact(n).zip(out).for_each(one);
            } else {
                x.par_chunks_exact(n).zip(out).with_min_len((PARALLEL / n).max(1)).for_each(one);
            }
        }
        let x = srcs[0];
        let n = *x.shape.last().expect("made with an axis");
        with_element!(x.dtype, T => rows::<T>(x.as_slice(), n, out.as_mut_slice(), self.largest));
        Ok(())
    }

    fn cost(&self, out: &Tensor) -> usize {
        out.size() * 16
    }

    fn shader(&self) -> Option<&'static str> {
        Some("argextreme")
    }
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

    fn gradient(&self, i: usize, srcs: &[Tensor], _: &Tensor, g: &Tensor) -> Option<Tensor> {
        (i == 0).then(|| add_along(g, &srcs[1], srcs[0].shape()[srcs[0].ndim() - 1], self.of.gradient_of(self.name())))
    }

    fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        fn take<T: Element>(of: &Indexed, x: &[T], n: usize, index: &[i64], k: usize, out: &mut [T]) -> Result<()> {
            for (r, (out, index)) in out.chunks_exact_mut(k).zip(index.chunks_exact(k)).enumerate() {
                for (o, &i) in out.iter_mut().zip(index) {
                    *o = x[r * n + of.row("take_along_axis", i, n)?];
                }
            }
            Ok(())
        }
        let (x, index) = (srcs[0], srcs[1]);
        let (n, k) = (x.shape[x.shape.len() - 1], index.shape[index.shape.len() - 1].max(1));
        with_element!(out.dtype, T => take::<T>(&self.of, x.as_slice(), n, index.as_slice(), k, out.as_mut_slice()))
    }

    fn shader(&self) -> Option<&'static str> {
        Some("take_along")
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

    fn cpu(&self, srcs: &[Operand<'_>], mut out: OperandMut<'_>) -> Result<()> {
        fn add<T: Element + AddAssign>(op: &AddAlong, x: &[T], index: &[i64], k: usize, out: &mut [T]) -> Result<()> {
            out.fill(T::default());
            for (r, (x, index)) in x.chunks_exact(k).zip(index.chunks_exact(k)).enumerate() {
                for (&x, &i) in x.iter().zip(index) {
                    out[r * op.n + op.of.row("add_along_axis", i, op.n)?] += x;
                }
            }
            Ok(())
        }
        let (x, index) = (srcs[0], srcs[1].as_slice());
        let k = x.shape[x.shape.len() - 1].max(1);
        match out.dtype {
            DType::F32 => add::<f32>(self, x.as_slice(), index, k, out.as_mut_slice()),
            DType::F64 => add::<f64>(self, x.as_slice(), index, k, out.as_mut_slice()),
            other => bail!(Type, "add_along_axis: floats are needed, got {other}"),
        }
    }

    fn shader(&self) -> Option<&'static str> {
        Some("add_along")
    }
}

fn take_along(x: &Tensor, index: &Tensor, of: Indexed) -> Tensor {
    let shape = Shape::from(index.shape());
    Tensor::node(Op::Structured(Arc::new(TakeAlong { of })), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

fn add_along(x: &Tensor, index: &Tensor, n: usize, of: Indexed) -> Tensor {
    let mut shape = Shape::from(index.shape());
    *shape.last_mut().expect("made with an axis") = n;
    Tensor::node(Op::Structured(Arc::new(AddAlong { n, of })), smallvec![x.clone(), index.clone()], shape, x.dtype())
}

/// `x[…, index[…, j, …], …]` along one axis: the other axes of the two broadcast. Without an axis both are flat.
pub fn take_along_axis(x: &Tensor, index: &Tensor, axis: Option<isize>) -> Result<Tensor> {
    const OP: &str = "take_along_axis";
    if !index.dtype().is_int() {
        bail!(Type, "{OP}: indices must be integers, got {}; use astype('int64')", index.dtype());
    }
    // Indices follow what they index: a NumPy array of them comes from the CPU.
    let index = &crate::transfer::to_device(index, x.device())?;
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
    take_along(&x.broadcast_shape(&with(n)), &index.broadcast_shape(&with(k)), Indexed::one(axis, n)).moveaxis(-1, axis as isize)
}

fn arg_of(op: Argextreme, x: &Tensor, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
    let name = op.name();
    let array = x.as_array();
    let (moved, mut kept) = match axis {
        None => (array.reshape_to(&[array.size()]), Shape::from_elem(1, array.ndim())),
        Some(a) => {
            let a = shape::axis(name, a, array.ndim())?;
            let mut kept = Shape::from(array.shape());
            kept[a] = 1;
            (array.moveaxis(a as isize, -1)?, kept)
        }
    };
    let (&n, lead) = moved.shape().split_last().expect("a flat tensor has an axis");
    if n == 0 {
        bail!(Value, "{name}: an axis of length 0 has no {} element (shape {})", &name[3..], show(x.shape()));
    }
    let out = Tensor::node(Op::Structured(Arc::new(op)), smallvec![moved.clone()], lead.into(), DType::I64);
    if !keepdims {
        kept = lead.into();
    }
    Ok(out.reshape_to(&kept))
}

impl Tensor {
    /// Where the largest element is, along an axis or in the flattened tensor; the first of equals, NaN before all.
    pub fn argmax(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        arg_of(Argextreme { largest: true }, self, axis, keepdims)
    }

    /// Where the smallest element is, as `argmax`.
    pub fn argmin(&self, axis: Option<isize>, keepdims: bool) -> Result<Tensor> {
        arg_of(Argextreme { largest: false }, self, axis, keepdims)
    }

    /// The indices that sort an axis (or the flattened tensor); equal elements keep their order, NaN is last.
    pub fn argsort(&self, axis: Option<isize>) -> Result<Tensor> {
        let x = self.as_array();
        let (x, axis) = match axis {
            None => (x.reshape_to(&[x.size()]), -1),
            Some(axis) => (x.clone(), shape::axis("argsort", axis, x.ndim())? as isize),
        };
        let x = x.moveaxis(axis, -1)?;
        let shape = Shape::from(x.shape());
        Tensor::node(Op::Structured(Arc::new(Argsort)), smallvec![x], shape, DType::I64).moveaxis(-1, axis)
    }

    /// The elements of an axis (or of the flattened tensor) in increasing order, NaN last.
    pub fn sort(&self, axis: Option<isize>) -> Result<Tensor> {
        let Some(axis) = axis else { return self.as_array().reshape_to(&[self.size()]).sort(Some(0)) };
        shape::axis("sort", axis, self.ndim())?;
        take_along_axis(self, &self.argsort(Some(axis))?, Some(axis))
    }
}
