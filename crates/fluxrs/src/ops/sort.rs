//! Order along an axis: argsort and sort.

use super::along::take_along_axis;
use super::poll::{PIECE, Poll};
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::structured::room;
use super::{Half, Op, Operand, OperandMut, Structured};
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::pool;
use crate::shape::{self, Shape};
use crate::with_element;
use smallvec::smallvec;
use std::sync::Arc;

/// Elements below which one thread is enough.
const PARALLEL: usize = pool::grain(1 << 14);

/// Rows longer than this are not sorted by counting on a GPU.
const COUNTED: usize = 1 << 12;

/// `srcs[0]` (…, n) ↦ int64 (…, n): the indices that sort the last axis; equal elements keep their order, NaN is last.
struct Argsort;

/// An integer that orders elements as their sort does, the greatest one for NaN.
trait SortKey: Element + PartialOrd {
    /// True if keys have 32 bits, which leaves as many for the index.
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

/// Elements of a run, which is sorted in one go.
const RUN: usize = 4 * PIECE;

/// Sorts keys that carry their index, no two alike, so that an unstable sort gives the one stable order: in runs, merged pairwise.
pub(super) fn order<K: Ord + Copy + Send + Sync>(keys: &mut Vec<K>, poll: Poll<'_>) -> Result<()> {
    let sort = |run: &mut [K]| {
        poll.before(run.len())?;
        run.sort_unstable();
        Ok(())
    };
    if keys.len() <= RUN {
        return sort(keys);
    }
    pool::each_chunk(keys, RUN, |_, run| sort(run))?;
    let n = keys.len();
    let mut merged = room(n)?;
    poll.pieces(n, 1, |piece| {
        merged.extend_from_slice(&keys[piece]);
        Ok(())
    })?;
    let mut run = RUN;
    while run < n {
        poll.fill(&mut merged, 1, |start, part| {
            let first = start - start % (2 * run);
            let (middle, end) = ((first + run).min(n), (first + 2 * run).min(n));
            merge(&keys[first..middle], &keys[middle..end], start - first, part);
            Ok(())
        })?;
        std::mem::swap(keys, &mut merged);
        run *= 2;
    }
    Ok(())
}

/// The elements of two sorted runs in order, from number `skip` on.
fn merge<K: Ord + Copy>(a: &[K], b: &[K], skip: usize, out: &mut [K]) {
    // Of the first `skip` elements i are a's: so many that none of them is larger than what b has left.
    let (mut i, mut most) = (skip.saturating_sub(b.len()), skip.min(a.len()));
    while i < most {
        let middle = (i + most) / 2;
        if a[middle] < b[skip - middle - 1] { i = middle + 1 } else { most = middle }
    }
    let mut j = skip - i;
    for o in out {
        let from_a = j == b.len() || (i < a.len() && a[i] < b[j]);
        *o = if from_a { a[i] } else { b[j] };
        i += usize::from(from_a);
        j += usize::from(!from_a);
    }
}

/// The results of a sorted row: places and elements, as far as they are asked for.
struct Sorted<'a, T> {
    places: Option<&'a mut [i64]>,
    elements: Option<&'a mut [T]>,
}

fn argsort_by<T: Element, K: Ord + Copy + Send + Sync>(
    x: &[T],
    out: Sorted<'_, T>,
    poll: Poll<'_>,
    key: impl Fn(T, usize) -> K,
    index: impl Fn(K) -> i64 + Sync,
) -> Result<()> {
    let mut keys = room(x.len())?;
    poll.pieces(x.len(), 1, |piece| {
        keys.extend(piece.map(|i| key(x[i], i)));
        Ok(())
    })?;
    order(&mut keys, poll)?;
    if let Some(places) = out.places {
        poll.fill(places, 1, |start, part| {
            part.iter_mut().zip(&keys[start..]).for_each(|(o, &k)| *o = index(k));
            Ok(())
        })?;
    }
    let Some(elements) = out.elements else { return Ok(()) };
    poll.fill(elements, 1, |start, part| {
        part.iter_mut().zip(&keys[start..]).for_each(|(o, &k)| *o = x[index(k) as usize]);
        Ok(())
    })
}

fn argsort_row<T: SortKey>(x: &[T], out: Sorted<'_, T>, poll: Poll<'_>) -> Result<()> {
    if T::SHORT && x.len() <= u32::MAX as usize {
        argsort_by(x, out, poll, |x, i| x.key() << 32 | i as u64, |k| (k & u32::MAX as u64) as i64)
    } else {
        argsort_by(x, out, poll, |x, i| (x.key(), i as i64), |(_, i)| i)
    }
}

fn argsort_rows<T: SortKey>(x: &[T], n: usize, out: Sorted<'_, T>, poll: Poll<'_>) -> Result<()> {
    let sort = |x: &[T], out: &mut Sorted<'_, T>| {
        let mut places = out.places.as_mut().map(|places| places.chunks_exact_mut(n));
        let mut elements = out.elements.as_mut().map(|elements| elements.chunks_exact_mut(n));
        x.chunks_exact(n).try_for_each(|x| {
            let (places, elements) = (places.as_mut().and_then(Iterator::next), elements.as_mut().and_then(Iterator::next));
            argsort_row(x, Sorted { places, elements }, poll)
        })
    };
    let mut out = out;
    if x.len() < PARALLEL {
        return sort(x, &mut out);
    }
    let some = (PIECE / n).max(1) * n;
    let mut places = out.places.map(|places| places.chunks_mut(some));
    let mut elements = out.elements.map(|elements| elements.chunks_mut(some));
    let mut parts = room(x.len().div_ceil(some))?;
    parts.extend(x.chunks(some).map(|x| {
        let (places, elements) = (places.as_mut().and_then(Iterator::next), elements.as_mut().and_then(Iterator::next));
        (x, Sorted { places, elements })
    }));
    pool::each_chunk(&mut parts, 1, |_, part| part.iter_mut().try_for_each(|(x, out)| sort(x, out)))
}

/// Sorts the rows of `srcs[0]` into what is asked for.
fn argsort(x: Operand<'_>, places: Option<OperandMut<'_>>, elements: Option<OperandMut<'_>>) -> Result<()> {
    let n = *x.shape.last().expect("made with an axis");
    let Some(poll) = places.as_ref().or(elements.as_ref()).map(|out| out.poll).filter(|_| n > 0) else { return Ok(()) };
    let (mut places, mut elements) = (places, elements);
    with_element!(x.dtype, T => {
        let (places, elements) = (places.as_mut().map(|out| out.as_mut_slice()), elements.as_mut().map(|out| out.as_mut_slice()));
        argsort_rows::<T>(x.as_slice(), n, Sorted { places, elements }, poll)
    })
}

impl Structured for Argsort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        argsort(srcs[0], Some(out), None)
    }

    fn half(&self) -> Option<Half> {
        Some(Half::Places)
    }

    fn cpu_elements(&self, srcs: &[Operand<'_>], places: Option<OperandMut<'_>>, elements: OperandMut<'_>) -> Result<()> {
        argsort(srcs[0], places, Some(elements))
    }

    fn cost(&self, _: &[&[usize]], out: &[usize]) -> usize {
        shape::size(out).saturating_mul(50)
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let key = match srcs[0].dtype {
            DType::F32 => "fx_key_float(word)",
            DType::Bool => "word",
            _ => "word ^ 0x80000000u",
        };
        let key = format!("fn key(word: u32) -> u32 {{\n    return {key};\n}}\n");
        let length = out.last();
        if length > COUNTED {
            return Ok(bitonic(key, out.size(), length));
        }
        let pass = Pass::threads(template!("argsort"), out.size(), 256).sizes([("length", length)]).code(key);
        Ok(pass.operand("x", 0).places().into())
    }
}

/// Every pair of elements at every distance of a bitonic network, a pass a distance: the indices, padded to a power of two, are
/// made, put in order, and handed out.
fn bitonic(key: String, elements: usize, length: usize) -> Shader {
    let (mut passes, padded) = ordered(&key, 0, elements / length, length);
    let give = Pass::threads(template!("bitonic_give"), elements, 256).sizes([("padded", padded), ("length", length)]);
    passes.push(give.bind("order", Binding::Room(0, "u32")).operand("x", 0).places());
    Shader { passes, rooms: vec![elements / length * padded], raises: false }
}

/// Passes that leave in room 0 the indices that sort each of some rows of an operand, and the words between two rows there.
pub(super) fn ordered(key: &str, operand: usize, rows: usize, length: usize) -> (Vec<Pass>, usize) {
    let order = |pass: Pass| pass.bind("order", Binding::Room(0, "u32"));
    if length <= 512 {
        let own = "fn out(i: u32, place: u32) {\n    order[i] = place;\n}\n\nfn elements(i: u32, word: u32) {\n}\n\n";
        let pass = Pass::threads(template!("argsort"), rows * length, 256).sizes([("length", length)]).code(key).code(own);
        return (vec![order(pass.operand("x", operand))], length);
    }
    let padded = length.next_power_of_two();
    let make = Pass::threads(template!("bitonic_make"), rows * padded, 256).sizes([("padded", padded)]);
    let mut passes = vec![order(make)];
    let runs = (1..).map(|k| 1 << k).take_while(|&run: &usize| run <= padded);
    let distances = |run: usize| (0..run.ilog2()).rev().map(move |k| (run, 1 << k));
    for (run, distance) in runs.flat_map(distances) {
        let sizes = [("padded", padded), ("length", length), ("run", run), ("distance", distance)];
        let pass = Pass::threads(template!("bitonic"), rows * padded / 2, 256).sizes(sizes).code(key);
        passes.push(order(pass.operand("x", operand)));
    }
    (passes, padded)
}

impl Tensor {
    /// The indices that sort an axis (or the flattened tensor); equal elements keep their order, NaN is last.
    pub fn argsort(&self, axis: Option<isize>) -> Result<Tensor> {
        let x = self.as_array();
        let (x, axis) = match axis {
            None => (x.reshape_to(&[x.size()]), -1),
            Some(axis) => (x.clone(), shape::axis("argsort", axis, x.ndim())? as isize),
        };
        let x = x.moveaxis(axis, -1)?;
        let shape = Shape::from(x.shape());
        Tensor::within(Op::Structured(Arc::new(Argsort)), smallvec![x], shape, DType::I64).moveaxis(-1, axis)
    }

    /// The elements of an axis (or of the flattened tensor) in increasing order, NaN last.
    pub fn sort(&self, axis: Option<isize>) -> Result<Tensor> {
        let Some(axis) = axis else { return self.as_array().reshape_to(&[self.size()]).sort(Some(0)) };
        shape::axis("sort", axis, self.ndim())?;
        take_along_axis(self, &self.argsort(Some(axis))?, Some(axis))
    }
}
