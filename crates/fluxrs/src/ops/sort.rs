//! Order along an axis: argsort, sort, the place of an extreme.

use super::along::take_along_axis;
use super::poll::{PIECE, Poll};
use super::shader::{Binding, Pass, Shader, Spec, template};
use super::structured::room;
use super::{Half, Op, Operand, OperandMut, Structured};
use crate::bail;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::graph::Tensor;
use crate::pool;
use crate::shape::{self, Shape, show};
use crate::with_element;
use smallvec::smallvec;
use std::ops::Range;
use std::sync::Arc;

/// Elements below which one thread is enough.
const PARALLEL: usize = pool::grain(1 << 14);

/// Rows longer than this are not sorted by counting on a GPU.
const COUNTED: usize = 1 << 12;

/// `srcs[0]` (…, n) ↦ int64 (…, n): the indices that sort the last axis; equal elements keep their order, NaN is last.
struct Argsort;

/// `srcs[0]` (…, n) ↦ int64 (…): where the largest or smallest element of the last axis is, the first of equals. NaN beats all.
struct Argextreme {
    largest: bool,
}

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

#[expect(clippy::eq_op, reason = "only NaN differs from itself")]
fn extreme<T: PartialOrd + Copy>(x: &[T], largest: bool, poll: Poll<'_>) -> Result<i64> {
    let mut best = 0;
    let mut find = |piece: Range<usize>| {
        for i in piece {
            let (x_i, now) = (x[i], x[best]);
            if now != now {
                break;
            }
            let better = if largest { x_i > now } else { x_i < now };
            if better || x_i != x_i {
                best = i;
            }
        }
        Ok(())
    };
    // A piece of several rows has polled for them.
    if x.len() <= PIECE {
        find(0..x.len())?
    } else {
        poll.pieces(x.len(), 1, find)?
    }
    Ok(best as i64)
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

impl Structured for Argextreme {
    fn name(&self) -> &'static str {
        if self.largest { "argmax" } else { "argmin" }
    }

    fn gradient(&self, _: usize, _: &[Tensor], _: &Tensor, _: &Tensor) -> Option<Tensor> {
        None
    }

    fn cpu(&self, srcs: &[Operand<'_>], out: OperandMut<'_>) -> Result<()> {
        fn each<T: Element + PartialOrd>(x: &[T], n: usize, mut out: OperandMut<'_>, largest: bool) -> Result<()> {
            let poll = out.poll;
            poll.fill(out.as_mut_slice(), n, |first, part| {
                let found = part.iter_mut().zip(x[first * n..].chunks_exact(n));
                found.into_iter().try_for_each(|(o, x)| extreme(x, largest, poll).map(|best| *o = best))
            })
        }
        let x = srcs[0];
        let n = *x.shape.last().expect("made with an axis");
        with_element!(x.dtype, T => each::<T>(x.as_slice(), n, out, self.largest))
    }

    fn cost(&self, srcs: &[&[usize]], _: &[usize]) -> usize {
        shape::size(srcs[0])
    }

    fn shader(&self, srcs: &[Spec<'_>], out: Spec<'_>) -> Result<Shader, String> {
        let sign = if self.largest { ">" } else { "<" };
        let nan = if srcs[0].dtype.is_float() { "fx_isnan(x)" } else { "false" };
        let code = format!(
            "fn better(x: x_type, best: x_type) -> bool {{\n    return x {sign} best;\n}}\n\n\
             fn is_nan(x: x_type) -> bool {{\n    return {nan};\n}}\n"
        );
        let (rows, length) = (out.size(), srcs[0].last());
        let pass = |items: usize, own: &str| {
            let pass = Pass::threads(template!("argextreme"), items, 64).code(code.clone()).code(own);
            pass.sizes([("length", length), ("pieces", pieces(length))]).operand("x", 0)
        };
        if pieces(length) == 1 {
            return Ok(pass(rows, WHOLE).result("out").into());
        }
        // A long row in pieces, and then the places that were found there.
        let places = |pass: Pass| pass.bind("places", Binding::Room(0, "u32"));
        let first = places(pass(rows * pieces(length), ONE));
        let second = places(pass(rows, OF_PIECES)).result("out");
        Ok(Shader { passes: vec![first, second], rooms: vec![rows * pieces(length)], raises: false })
    }
}

/// The pieces that a long row is gone through in, each by a thread: as many as each has elements.
fn pieces(length: usize) -> usize {
    if length > 1024 { length.isqrt() } else { 1 }
}

const WHOLE: &str = "fn count(i: u32) -> u32 {\n    return args.length;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return k;\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i * args.length;\n}\n\n";
/// Neighbours go through neighbouring elements.
const ONE: &str = "fn count(i: u32) -> u32 {\n    return (args.length - i % args.pieces - 1u) / args.pieces + 1u;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return k * args.pieces + i % args.pieces;\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i / args.pieces * args.length;\n}\n\n\
     fn out(i: u32, place: u32) {\n    places[i] = place;\n}\n\n";
const OF_PIECES: &str = "fn count(i: u32) -> u32 {\n    return args.pieces;\n}\n\n\
     fn place(i: u32, k: u32) -> u32 {\n    return places[i * args.pieces + k];\n}\n\n\
     fn start(i: u32) -> u32 {\n    return i * args.length;\n}\n\n";

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
    let out = Tensor::within(Op::Structured(Arc::new(op)), smallvec![moved.clone()], lead.into(), DType::I64);
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
        Tensor::within(Op::Structured(Arc::new(Argsort)), smallvec![x], shape, DType::I64).moveaxis(-1, axis)
    }

    /// The elements of an axis (or of the flattened tensor) in increasing order, NaN last.
    pub fn sort(&self, axis: Option<isize>) -> Result<Tensor> {
        let Some(axis) = axis else { return self.as_array().reshape_to(&[self.size()]).sort(Some(0)) };
        shape::axis("sort", axis, self.ndim())?;
        take_along_axis(self, &self.argsort(Some(axis))?, Some(axis))
    }
}
